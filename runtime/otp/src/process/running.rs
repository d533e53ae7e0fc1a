//! A process that was started and has not been reaped yet.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::{Instant, sleep, timeout};

use super::end::OsExit;
use super::output::{Source, Stream};
use super::spawn::{SpawnError, spawn};
use super::{LineSink, OsProcessSpec, StopSignal};
use crate::ExitReason;

/// How often the readiness probe is asked.
const PROBE_INTERVAL: Duration = Duration::from_millis(15);
/// The wait before a process that exited early is started again: the first, and the longest.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);
/// How long the last words of an exited process are waited for; a grandchild may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why a process did not become ready.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("{program} ended before it was ready: {end}{}", said(last))]
    EndedEarly { program: String, end: String, last: String },
    #[error("{program} was not ready within {} ms{}", within.as_millis(), said(last))]
    NotReady { program: String, within: Duration, last: String },
    #[error("{program} cannot become ready: {problem}")]
    NeverReady { program: String, problem: String },
}

/// The last thing a process printed is usually why it failed.
fn said(last: &str) -> String {
    if last.is_empty() { String::new() } else { format!("; it said: {last}") }
}

/// The process, its output and its group. Dropping it kills what is left of the group.
pub(super) struct Running {
    // First, so that it is dropped while its leader still guards the id of the group.
    group: Group,
    child: Child,
    output: Output,
}

struct Output {
    out: Source<ChildStdout>,
    err: Source<ChildStderr>,
    sink: Arc<LineSink>,
}

impl Output {
    async fn follow(&mut self) {
        tokio::join!(self.out.follow(&*self.sink), self.err.follow(&*self.sink));
    }

    /// Follows for as long as somebody else is awaited beside it.
    async fn follow_on(&mut self) -> std::convert::Infallible {
        self.follow().await;
        std::future::pending().await
    }

    fn last(&self) -> String {
        let last = if self.err.last().is_empty() {
            &self.out
        } else {
            return self.err.last().into();
        };
        last.last().to_owned()
    }
}

impl Running {
    /// Starts a process and waits until it is ready.
    pub(super) async fn start(spec: &OsProcessSpec) -> Result<Self, ProcessError> {
        let started = Instant::now();
        let mut retry_after = RETRY_AFTER;
        loop {
            let mut running = Self::spawn(spec).await?;
            match running.ready(spec).await {
                Ok(()) => return Ok(running),
                Err(error @ ProcessError::EndedEarly { .. })
                    if started.elapsed() + retry_after < spec.retry_within =>
                {
                    tracing::debug!(%error, "starting a process again");
                    sleep(retry_after).await;
                    retry_after = (retry_after * 2).min(RETRY_AFTER_MAX);
                }
                Err(error) => {
                    running.stop(spec.stop_signal, spec.patience).await;
                    return Err(error);
                }
            }
        }
    }

    async fn spawn(spec: &OsProcessSpec) -> Result<Self, ProcessError> {
        let mut child = spawn(spec).await?;
        let group = Group(child.id().and_then(pid));
        let out = child.stdout.take().expect("standard output was asked to be a pipe");
        let err = child.stderr.take().expect("standard error was asked to be a pipe");
        let output = Output {
            out: Source::new(Stream::Out, out),
            err: Source::new(Stream::Err, err),
            sink: Arc::clone(&spec.sink),
        };
        Ok(Self { group, child, output })
    }

    async fn ready(&mut self, spec: &OsProcessSpec) -> Result<(), ProcessError> {
        let program = || spec.program.display().to_string();
        let Some(probe) = &spec.probe else {
            return Ok(());
        };
        let id = self.child.id().unwrap_or_default();
        let probing = async {
            loop {
                match probe(id).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => sleep(PROBE_INTERVAL).await,
                    Err(problem) => return Err(problem),
                }
            }
        };
        tokio::select! {
            biased;
            end = end_of(&mut self.child, &mut self.group) => {
                self.last_words().await;
                let last = self.output.last();
                Err(ProcessError::EndedEarly { program: program(), end, last })
            }
            never = self.output.follow_on() => match never {},
            probed = timeout(spec.ready_within, probing) => match probed {
                Ok(Ok(())) => Ok(()),
                Ok(Err(problem)) => {
                    Err(ProcessError::NeverReady { program: program(), problem })
                }
                Err(_) => Err(ProcessError::NotReady {
                    program: program(),
                    within: spec.ready_within,
                    last: self.output.last(),
                }),
            },
        }
    }

    /// Its process id, until it has ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end that nobody asked for.
    pub(super) async fn ended(&mut self) -> Result<(), ExitReason> {
        let status = tokio::select! {
            biased;
            never = self.output.follow_on() => match never {},
            status = wait(&mut self.child, &mut self.group) => status,
        };
        self.last_words().await;
        match status {
            Ok(status) => OsExit::of(status).map_or(Ok(()), |end| Err(ExitReason::Os(end))),
            Err(error) => Err(ExitReason::Failed(format!("lost sight of the process: {error}"))),
        }
    }

    /// Asks the process to stop, and kills its group when the patience is over.
    pub(super) async fn stop(&mut self, signal: StopSignal, patience: Duration) {
        self.group.ask(signal);
        let stopping = async {
            tokio::select! {
                biased;
                never = self.output.follow_on() => match never {},
                _ = wait(&mut self.child, &mut self.group) => {}
            }
        };
        if timeout(patience, stopping).await.is_err() {
            tracing::warn!(
                patience_ms = patience.as_millis(),
                "killing a process that does not stop"
            );
            self.group.kill();
            // A killed process cannot linger; what is waited for is only its reaping.
            drop(wait(&mut self.child, &mut self.group).await);
        }
        self.last_words().await;
    }

    async fn last_words(&mut self) {
        // Whatever is not said by now is lost, and nothing else depends on it.
        drop(timeout(LAST_WORDS, self.output.follow()).await);
    }
}

/// Waits for the process and takes the rest of its group along.
async fn wait(child: &mut Child, group: &mut Group) -> std::io::Result<ExitStatus> {
    let status = child.wait().await?;
    // At once: the id of an empty group may in time be given to a stranger.
    group.kill();
    group.0 = None;
    Ok(status)
}

async fn end_of(child: &mut Child, group: &mut Group) -> String {
    wait(child, group).await.map_or_else(|error| error.to_string(), describe)
}

fn describe(status: ExitStatus) -> String {
    OsExit::of(status).map_or_else(|| "exit:0".to_owned(), |end| end.to_string())
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// The process group, named after the process that leads it; `None` once that was reaped.
struct Group(Option<Pid>);

impl Group {
    /// Signals the process itself; it knows best what to tell its own children.
    fn ask(&self, signal: StopSignal) {
        let signal = match signal {
            StopSignal::Terminate => Signal::TERM,
            StopSignal::Interrupt => Signal::INT,
            StopSignal::Quit => Signal::QUIT,
        };
        if let Some(leader) = self.0 {
            // It may have ended in between, and then there is nobody left to ask.
            let _ = kill_process(leader, signal);
        }
    }

    fn kill(&self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
