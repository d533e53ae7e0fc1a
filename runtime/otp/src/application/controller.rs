//! The controller process: starts, stops and watches applications, one thing after another.
//!
//! The trees are temporary children of an ordinary root supervisor; the controller decides their
//! order and what their end means. It looks at ends and requests in turn, and at ends also while it
//! waits for an application to start or stop, because one of them may be the end of all.
//!
//! **Invariant:** the hooks of an application are called exactly once for each time its tree was
//! up, however it ended.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future::ready};
use tokio::sync::{mpsc, oneshot};

use super::environment::Environment;
use super::error::ApplicationError;
use super::handle::{Ended, Shared};
use super::{Hook, ledger::Entry};
use crate::child::{ChildSpec, Restart};
use crate::config::ApplicationTuning;
use crate::exit::{ExitReason, StartError, caught};
use crate::incarnation::Pid;
use crate::request::RequestError;
use crate::root::Root;
use crate::specification::SupervisorSpec;
use crate::strategy::Strategy;
use crate::tree::{ROOT_PATH, Tree};

pub(super) type Answer<T> = oneshot::Sender<Result<T, ApplicationError>>;

/// What the controller is asked for.
pub(super) enum Request {
    Start(String, Answer<()>),
    /// These and what they depend on, or all there are.
    EnsureAllStarted(Option<Vec<String>>, Answer<Vec<String>>),
    Stop(String, Answer<()>),
    StopAll,
    Configure(BTreeMap<String, ApplicationTuning>, Answer<Vec<String>>),
}

/// The end of the tree of one application.
struct Exit {
    name: Arc<str>,
    pid: Pid,
    reason: ExitReason,
}

pub(super) struct Controller {
    shared: Arc<Shared>,
    root: Root,
    exits: FuturesUnordered<BoxFuture<'static, Exit>>,
}

impl Controller {
    /// Lives until all applications are stopped.
    pub(super) async fn run(
        shared: Arc<Shared>,
        tree: Tree,
        mut requests: mpsc::UnboundedReceiver<Request>,
    ) {
        let ended = match Root::start_in(tree, SupervisorSpec::new(Strategy::OneForOne)).await {
            Ok(root) => {
                let exits = FuturesUnordered::new();
                let mut controller = Self { shared: shared.clone(), root, exits };
                let ended = controller.serve_until_the_end(&mut requests).await;
                controller.halt().await;
                ended
            }
            Err(error) => Ended { application: None, reason: ExitReason::failed(error) },
        };
        tracing::info!(%ended, "all applications are stopped");
        // Closed before the end is told, so that whoever heard of it is not kept waiting.
        drop(requests);
        shared.ended.send_replace(Some(ended));
    }

    async fn serve_until_the_end(
        &mut self,
        requests: &mut mpsc::UnboundedReceiver<Request>,
    ) -> Ended {
        let mut handles_left = true;
        loop {
            let root = self.root.pid();
            let ended = tokio::select! {
                biased;
                Some(exit) = self.exits.next() => self.exited(exit).await,
                reason = root.gone() => Some(Ended { application: None, reason }),
                request = requests.recv(), if handles_left => {
                    handles_left = request.is_some();
                    match request {
                        Some(request) => self.serve(request).await,
                        None => None,
                    }
                }
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    async fn serve(&mut self, request: Request) -> Option<Ended> {
        match request {
            Request::Start(name, answer) => {
                let outcome = self.start(&name.into()).await;
                let ended = outcome.as_ref().err().and_then(|error| self.ended_without(error));
                // Whoever asked may have lost interest; here and below.
                let _ = answer.send(outcome);
                ended
            }
            Request::EnsureAllStarted(names, answer) => {
                let outcome = self.ensure_all_started(names.as_deref()).await;
                let ended = outcome.as_ref().err().and_then(|error| self.ended_without(error));
                let _ = answer.send(outcome);
                ended
            }
            Request::Stop(name, answer) => {
                let name = Arc::from(name);
                let running = self.shared.ledger().entry(&name).map(|_| ());
                let outcome = match running {
                    Ok(()) if self.stop(&name).await => Ok(()),
                    Ok(()) => Err(ApplicationError::NotRunning { name: name.to_string() }),
                    Err(error) => Err(error),
                };
                let _ = answer.send(outcome);
                None
            }
            Request::StopAll => Some(Ended { application: None, reason: ExitReason::Shutdown }),
            Request::Configure(tuning, answer) => {
                let _ = answer.send(Ok(self.configure(tuning).await));
                None
            }
        }
    }

    /// Starts one application and waits until it is up.
    async fn start(&mut self, name: &Arc<str>) -> Result<(), ApplicationError> {
        if self.shared.signals.stopping().is_raised() {
            return Err(ApplicationError::Ended);
        }
        let spec = self.shared.ledger().starting(name).map(Entry::specification)?;
        let spec = until(self.shared.clone(), spec);
        let supervisor = self.root.supervisor();
        let up = async { supervisor.ok_or(RequestError::NoProc)?.start_child(spec).await };
        let error = match self.meanwhile(up).await {
            Ok(Some(pid)) => {
                tracing::info!(application = %name, "started");
                self.shared.ledger().up(name, pid.clone());
                let name = name.clone();
                let exit = async move { Exit { name, reason: pid.gone().await, pid } };
                self.exits.push(exit.boxed());
                return Ok(());
            }
            Ok(None) => StartError::Ignore,
            Err(RequestError::StartFailed(error)) => error,
            Err(other) => StartError::failed(other),
        };
        self.shared.ledger().down(name, None);
        if self.shared.signals.stopping().is_raised() {
            return Err(ApplicationError::Ended);
        }
        tracing::error!(application = %name, %error, "did not start");
        Err(ApplicationError::StartFailed { name: name.to_string(), error, stopped: Vec::new() })
    }

    /// Starts what is wanted and all it depends on, or nothing.
    async fn ensure_all_started(
        &mut self,
        wanted: Option<&[String]>,
    ) -> Result<Vec<String>, ApplicationError> {
        let plan = self.shared.ledger().plan(wanted)?;
        let mut started = Vec::new();
        for name in plan {
            if self.shared.ledger().is_running(&name) {
                continue;
            }
            let Err(mut error) = self.start(&name).await else {
                started.push(name);
                continue;
            };
            // All will be stopped in good order, so nothing has to be taken back.
            let ends_all = |name: &Arc<str>| self.shared.ledger().ends_all(name);
            if matches!(error, ApplicationError::Ended) || started.iter().any(ends_all) {
                return Err(error);
            }
            let mut undone = Vec::new();
            for name in started.into_iter().rev() {
                if self.stop(&name).await {
                    undone.push(name.to_string());
                }
            }
            if let ApplicationError::StartFailed { stopped, .. } = &mut error {
                *stopped = undone;
            }
            return Err(error);
        }
        Ok(started.iter().map(ToString::to_string).collect())
    }

    /// Stops one application with its hooks, or calls them after it has ended by itself. Says
    /// whether it was up.
    ///
    /// Once all are to be stopped, it may take as long as that allows, and is killed then.
    async fn stop(&mut self, name: &Arc<str>) -> bool {
        let Some(pid) = self.shared.ledger().pid(name) else {
            return false;
        };
        let Some((prep_stop, stop, environment)) = self.hooks(name) else {
            return false;
        };
        self.shared.ledger().stopping(name);
        let shared = self.shared.clone();
        let supervisor = self.root.supervisor();
        let tree = self.root.tree();
        let orderly = async {
            call(name, "prep_stop", prep_stop, &environment).await;
            if let Some(supervisor) = supervisor {
                // It may have ended by itself, or its root may have.
                let _ = supervisor.terminate_child(&**name).await;
            }
            pid.gone().await;
            call(name, "stop", stop, &environment).await;
        };
        let limit = async {
            shared.signals.stopping().raised().await;
            let limit = shared.ledger().shutdown_timeout;
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let path = pid.path();
        self.meanwhile(async {
            tokio::select! {
                biased;
                () = orderly => {}
                () = limit => {
                    tracing::error!(application = %name, "took too long to stop and is killed");
                    kill_all(&tree, path);
                    pid.gone().await;
                }
            }
        })
        .await;
        self.shared.ledger().down(name, pid.exit_reason());
        tracing::info!(application = %name, "stopped");
        true
    }

    /// Stops all that are up, the last started first.
    async fn halt(&mut self) {
        self.shared.signals.stopping().raise();
        let started = self.shared.ledger().started();
        for name in started.into_iter().rev() {
            self.stop(&name).await;
        }
        self.root.clone().stop().await;
    }

    /// The tree of an application has ended. Says whether that is the end of all.
    async fn exited(&mut self, exit: Exit) -> Option<Ended> {
        if self.shared.ledger().pid(&exit.name).as_ref() != Some(&exit.pid) {
            // It was stopped.
            return None;
        }
        if !self.root.pid().is_alive() {
            return Some(Ended { application: None, reason: self.root.exited().await });
        }
        let Exit { name, reason, .. } = exit;
        let ends_all = self.shared.ledger().started_as(&name).ends_all_after(&reason);
        if reason == ExitReason::Normal {
            tracing::info!(application = %name, %reason, "ended by itself");
        } else {
            tracing::error!(application = %name, %reason, "ended by itself");
        }
        self.stop(&name).await;
        ends_all.then(|| Ended { application: Some(name.to_string()), reason })
    }

    /// Whether a failed start is the end of all.
    fn ended_without(&self, error: &ApplicationError) -> Option<Ended> {
        let ApplicationError::StartFailed { name, error, .. } = error else {
            return None;
        };
        let ends_all = self.shared.ledger().started_as(name).ends_all_without(error);
        let reason = ExitReason::failed(format!("failed to start: {error}"));
        ends_all.then(|| Ended { application: Some(name.clone()), reason })
    }

    /// Waits for `work`. If the end of an application that ends all comes meanwhile, what is waited
    /// for is hurried; the end itself is looked at afterwards.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut late = Vec::new();
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut work => break outcome,
                Some(exit) = self.exits.next() => {
                    let ledger = self.shared.ledger();
                    let is_up = ledger.pid(&exit.name).as_ref() == Some(&exit.pid);
                    if is_up && ledger.started_as(&exit.name).ends_all_after(&exit.reason) {
                        self.shared.signals.stopping().raise();
                    }
                    late.push(exit);
                }
            }
        };
        self.exits.extend(late.into_iter().map(|exit| ready(exit).boxed()));
        outcome
    }

    async fn configure(&mut self, tuning: BTreeMap<String, ApplicationTuning>) -> Vec<String> {
        let changes = self.shared.ledger().configure(tuning);
        let mut names = Vec::new();
        for (name, change) in changes {
            names.push(name.to_string());
            let told = {
                let ledger = self.shared.ledger();
                let entry = ledger.entry(&name).ok().filter(|_| ledger.is_running(&name));
                entry.and_then(|entry| {
                    let hook = entry.application.config_change.clone()?;
                    Some((hook, entry.environment.clone()))
                })
            };
            if let Some((hook, environment)) = told {
                let hook: Hook = Arc::new(move |environment| hook(change.clone(), environment));
                call(&name, "config_change", Some(hook), &environment).await;
            }
        }
        names
    }

    fn hooks(&self, name: &str) -> Option<(Option<Hook>, Option<Hook>, Environment)> {
        let ledger = self.shared.ledger();
        let entry = ledger.entry(name).ok()?;
        let Entry { application, environment, .. } = entry;
        Some((application.prep_stop.clone(), application.stop.clone(), environment.clone()))
    }
}

impl Entry {
    fn specification(&self) -> ChildSpec {
        let (start, environment) = (self.application.start.clone(), self.environment.clone());
        ChildSpec::supervisor_from(self.application.name.clone(), move || start(&environment))
            .restart(Restart::Temporary)
            .shutdown(self.shutdown())
            .label(&self.application.description)
    }
}

/// The same child, whose start ends when all applications are to be stopped.
fn until(shared: Arc<Shared>, spec: ChildSpec) -> ChildSpec {
    let launch = spec.launch.clone();
    let launch = move |birth| {
        let (up, shared) = (launch(birth), shared.clone());
        async move {
            tokio::select! {
                biased;
                outcome = up => outcome,
                () = shared.signals.stopping().raised() => {
                    Err(StartError::failed("all applications are to be stopped"))
                }
            }
        }
        .boxed()
    };
    ChildSpec { launch: Arc::new(launch), ..spec }
}

/// Calls a hook; a panic in it is reported and ignored.
async fn call(name: &str, which: &str, hook: Option<Hook>, environment: &Environment) {
    let Some(hook) = hook else {
        return;
    };
    if let Err(panic) = caught(async { hook(environment.clone()).await }).await {
        tracing::error!(application = %name, hook = which, %panic, "a hook panicked");
    }
}

/// Kills a supervisor and everything below it.
fn kill_all(tree: &Tree, path: &str) {
    debug_assert!(path.starts_with(ROOT_PATH), "an application lives below the root");
    let Some(node) = tree.find(path) else {
        return;
    };
    for node in node.walk() {
        // What is down already needs no kill.
        let _ = tree.kill(&node.path);
    }
}
