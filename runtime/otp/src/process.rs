//! An operating-system process as a supervised child.
//!
//! A database server or an extracted domain fails in its own ways: it exits, is killed, hangs, or
//! ignores a request to stop. This child turns each of them into the words a supervisor knows. Its
//! start is over when the readiness probe says so, its exit status is the exit reason, its stop is
//! a signal with patience and a kill after it, and whatever way it ends nothing of it is left: no
//! zombie, no orphan in its process group, and no server that outlives the platform.
//!
//! **Invariant:** every process started here is in a group of its own, so that a Ctrl-C at the
//! terminal reaches the platform alone and the tree is stopped in its own order.

mod end;
mod output;
mod running;
mod spawn;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;

use crate::{ChildSpec, ExitReason, Process, RunContext, Shutdown, StartError};

pub use end::{OsExit, UnknownEnd};
pub use output::Stream;
use running::Running;

/// How long a started process may take until it is ready, unless the specification says otherwise.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a process may take to stop, unless the specification says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the supervisor waits beyond the patience: the time that the kill and the reaping take.
const KILL_MARGIN: Duration = Duration::from_secs(2);

/// The signal that asks a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopSignal {
    /// `SIGTERM`, what most programs expect.
    #[default]
    Terminate,
    /// `SIGINT`; to Postgres a fast shutdown.
    Interrupt,
    /// `SIGQUIT`.
    Quit,
}

/// A user of the operating system, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OsUser {
    /// User id.
    pub uid: u32,
    /// Id of the user's own group.
    pub gid: u32,
}

type Probe =
    dyn Fn(u32) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send>> + Send + Sync;
type TakeSocket = dyn Fn(UnixStream) + Send + Sync;
type LineSink = dyn Fn(Stream, &str) + Send + Sync;

/// How a process is started, known to be ready, and stopped.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use otp::process::OsProcessSpec;
/// use otp::{Clock, ExitReason, OsExit, Restart, Root, SupervisorSpec};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shell = OsProcessSpec::new("/bin/sh").args(["-c", "sleep 0.1; exit 3"]);
/// let shell = shell.patience(Duration::from_secs(1)).child("shell").restart(Restart::Temporary);
/// let root = Root::start(SupervisorSpec::default().child(shell), Clock::system()).await?;
///
/// let shell = root.tree().pid("root/shell").expect("it is up");
/// assert_eq!(shell.gone().await, ExitReason::Os(OsExit::Status(3)));
/// # root.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct OsProcessSpec {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    env_clear: bool,
    env_without: Vec<OsString>,
    current_dir: Option<PathBuf>,
    user: Option<OsUser>,
    memory_max: Option<u64>,
    socket: Option<Arc<TakeSocket>>,
    stop_signal: StopSignal,
    is_killed_with_us: bool,
    patience: Duration,
    probe: Option<Arc<Probe>>,
    ready_within: Duration,
    retry_within: Duration,
    sink: Arc<LineSink>,
}

impl OsProcessSpec {
    /// A process that runs `program`, found as a shell would find it.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        let name = program.display().to_string();
        Self {
            program,
            args: Vec::new(),
            env: Vec::new(),
            env_clear: false,
            env_without: Vec::new(),
            current_dir: None,
            user: None,
            memory_max: None,
            socket: None,
            stop_signal: StopSignal::default(),
            is_killed_with_us: false,
            patience: PATIENCE,
            probe: None,
            ready_within: READY_WITHIN,
            retry_within: Duration::ZERO,
            sink: Arc::new(move |stream, line| output::log(&name, stream, line)),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Lets the process see no environment variable but those set with [`env`](Self::env).
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self
    }

    /// Keeps these environment variables of ours from the process.
    #[must_use]
    pub fn without_env<N: Into<OsString>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.env_without.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the directory in which the process starts.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(directory.into());
        self
    }

    /// Runs the process as this user instead of ours; only root may ask for that.
    #[must_use]
    pub fn user(mut self, user: OsUser) -> Self {
        self.user = Some(user);
        self
    }

    /// Lets the process have no more than so many bytes of memory of its own.
    ///
    /// An allocation beyond them fails, by which most programs abort. Linux only; elsewhere a start
    /// with a bound fails.
    #[must_use]
    pub fn memory_max(mut self, bytes: u64) -> Self {
        self.memory_max = Some(bytes);
        self
    }

    /// Gives the process one end of a socket as its standard input, and `take` the other end, at
    /// every start anew. Each side reads the end of the stream when the other is gone.
    ///
    /// Without it, the standard input is empty.
    #[must_use]
    pub fn socket(mut self, take: impl Fn(UnixStream) + Send + Sync + 'static) -> Self {
        self.socket = Some(Arc::new(take));
        self
    }

    /// Sets the signal that asks the process to stop. It also gets it when the platform dies.
    #[must_use]
    pub fn stop_signal(mut self, signal: StopSignal) -> Self {
        self.stop_signal = signal;
        self
    }

    /// Has the process killed when the platform dies, where it would get the signal to stop.
    ///
    /// For a process that can be trusted with nothing any more by then. Linux only, as is the
    /// signal to stop: elsewhere a process has to notice by itself.
    #[must_use]
    pub fn killed_with_us(mut self) -> Self {
        self.is_killed_with_us = true;
        self
    }

    /// Sets how long the process may take to stop before its whole group is killed.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets what tells that the process, given by its id, is ready, and how long that may take.
    ///
    /// `Ok(false)` means not yet; an error means never, and ends the start.
    #[must_use]
    pub fn ready<F>(
        mut self,
        within: Duration,
        probe: impl Fn(u32) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<bool, String>> + Send + 'static,
    {
        self.ready_within = within;
        self.probe = Some(Arc::new(move |id| Box::pin(probe(id))));
        self
    }

    /// Starts the process again, for so long, when it exits before it is ready.
    ///
    /// For programs that cannot start while leftovers of their predecessor are still going away.
    #[must_use]
    pub fn retry_within(mut self, within: Duration) -> Self {
        self.retry_within = within;
        self
    }

    /// Sets what happens with each line of output, instead of an entry in the log.
    #[must_use]
    pub fn on_line(mut self, sink: impl Fn(Stream, &str) + Send + Sync + 'static) -> Self {
        self.sink = Arc::new(sink);
        self
    }

    /// The child that runs this process.
    #[must_use]
    pub fn child(self, id: impl Into<Arc<str>>) -> ChildSpec {
        let patience = self.patience.saturating_add(KILL_MARGIN);
        let label = self.program.display().to_string();
        let spec = Arc::new(self);
        ChildSpec::process(id, move || OsProcess { spec: Arc::clone(&spec), running: None })
            .shutdown(Shutdown::Timeout(patience))
            .label(&label)
    }
}

/// The child: it holds the process and ends with it.
struct OsProcess {
    spec: Arc<OsProcessSpec>,
    running: Option<Running>,
}

impl Process for OsProcess {
    async fn init(&mut self, context: &RunContext) -> Result<(), StartError> {
        let running = Running::start(&self.spec).await;
        let running = running.map_err(|error| StartError::Failed(error.to_string()))?;
        if let Some(id) = running.id() {
            let label = format!("{}, pid {id}", self.spec.program.display());
            context.tree().relabel(context.path(), &label);
        }
        self.running = Some(running);
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let running = self.running.as_mut().expect("a process runs only after its init");
        tokio::select! {
            ended = running.ended() => {
                self.running = None;
                ended
            }
            () = context.stopping() => {
                self.stop().await;
                Ok(())
            }
        }
    }

    async fn terminate(&mut self, _: &ExitReason) {
        self.stop().await;
    }
}

impl OsProcess {
    async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.stop(self.spec.stop_signal, self.spec.patience).await;
        }
    }
}

#[cfg(test)]
mod tests;
