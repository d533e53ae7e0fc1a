//! The controller of applications as others hold it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::controller::{Answer, Controller, Request};
use super::error::ApplicationError;
use super::ledger::{ApplicationEntry, Ledger};
use super::{Application, Environment};
use crate::clock::Clock;
use crate::config::{Known, Tuning};
use crate::exit::ExitReason;
use crate::root::Root;
use crate::signal::Signals;
use crate::tree::Tree;

/// How all applications came to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The application whose end, or failed start, was the end of all; `None` when they were
    /// stopped by [`Applications::stop_all`], or the root above them was killed.
    pub application: Option<String>,
    /// Why that application, or the root, ended.
    pub reason: ExitReason,
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.application {
            Some(name) => write!(formatter, "application `{name}` ended: {}", self.reason),
            None => write!(formatter, "all applications were stopped: {}", self.reason),
        }
    }
}

/// The controller of applications; clones are handles on the same one.
///
/// It does one thing after another, in the order it was asked: while one application starts or
/// stops, other requests wait, except that [`Applications::stop_all`] and the end of an application
/// that ends all interrupt a start. Dropping the value leaves the applications running.
#[derive(Clone)]
pub struct Applications {
    shared: Arc<Shared>,
    requests: mpsc::UnboundedSender<Request>,
    tree: Tree,
}

/// What the controller and its handles look at.
pub(super) struct Shared {
    ledger: Mutex<Ledger>,
    /// Raised when all are to be stopped.
    pub(super) signals: Signals,
    pub(super) ended: watch::Sender<Option<Ended>>,
}

impl Shared {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic while the ledger was held left nothing half-written: it holds plain values.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Applications {
    /// A controller without applications, with a tree of its own.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::in_tree(Root::prepare(clock))
    }

    /// A controller in a tree that somebody already listens to (see [`Root::prepare`]).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the controller is what ends with its root")]
    pub fn in_tree(tree: Tree) -> Self {
        let (requests, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            ledger: Mutex::default(),
            signals: Signals::default(),
            ended: watch::Sender::new(None),
        });
        tokio::spawn(Controller::run(shared.clone(), tree.clone(), inbox));
        Self { shared, requests, tree }
    }

    /// How long each application may take to stop when all are stopped, hooks included, before what
    /// is left of it is killed; no limit unless said otherwise.
    #[must_use]
    pub fn shutdown_timeout(self, limit: Duration) -> Self {
        self.shared.ledger().shutdown_timeout = Some(limit);
        self
    }

    /// Adds an application without starting it.
    ///
    /// # Errors
    ///
    /// When there is one of that name, or the name cannot be part of a path.
    pub fn add(&self, application: Application) -> Result<(), ApplicationError> {
        self.shared.ledger().add(application)
    }

    /// Starts one application and waits until its tree is up.
    ///
    /// # Errors
    ///
    /// When it is unknown or running, when one it depends on is not running, or when it does not
    /// start; if it is permanent, or transient, that last is the end of all others too.
    pub async fn start(&self, name: &str) -> Result<(), ApplicationError> {
        let name = name.to_owned();
        self.ask(|answer| Request::Start(name, answer)).await
    }

    /// Starts one application and before it, depth first and in the order they are listed, all it
    /// depends on. Says which were started, in that order; those that were running are not.
    ///
    /// # Errors
    ///
    /// When any is unknown or they depend on each other in a circle: then nothing was started. When
    /// one does not start: then those that were started for it have been stopped again, in reverse.
    pub async fn ensure_all_started(&self, name: &str) -> Result<Vec<String>, ApplicationError> {
        let names = Some(vec![name.to_owned()]);
        self.ask(|answer| Request::EnsureAllStarted(names, answer)).await
    }

    /// Starts all applications there are, each after what it depends on, otherwise in the order
    /// they were added. Answers like [`Applications::ensure_all_started`].
    pub async fn start_all(&self) -> Result<Vec<String>, ApplicationError> {
        self.ask(|answer| Request::EnsureAllStarted(None, answer)).await
    }

    /// Stops one application, hooks included, and nothing else: not those that depend on it either.
    ///
    /// # Errors
    ///
    /// When it is unknown or not running.
    pub async fn stop(&self, name: &str) -> Result<(), ApplicationError> {
        let name = name.to_owned();
        self.ask(|answer| Request::Stop(name, answer)).await
    }

    /// Stops all applications, one after another in the reverse of the order they were started in,
    /// and then the controller; says how they came to be stopped.
    pub async fn stop_all(&self) -> Ended {
        self.shared.signals.stopping().raise();
        // A controller that has ended needs no request.
        let _ = self.requests.send(Request::StopAll);
        self.ended().await
    }

    /// Waits until all applications are stopped and says which one was the reason, if any.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await.map(|ended| ended.clone()) {
            Ok(Some(ended)) => ended,
            // This handle keeps the sender, so there will be an end to hear of.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Those that run, in the order they were started.
    #[must_use]
    pub fn which(&self) -> Vec<ApplicationEntry> {
        self.shared.ledger().which()
    }

    /// All there are, in the order they were added.
    #[must_use]
    pub fn loaded(&self) -> Vec<ApplicationEntry> {
        self.shared.ledger().loaded()
    }

    /// The environment of an application.
    ///
    /// # Errors
    ///
    /// When it is unknown.
    pub fn environment(&self, name: &str) -> Result<Environment, ApplicationError> {
        Ok(self.shared.ledger().entry(name)?.environment.clone())
    }

    /// Tells a reader of the operator's page which applications there are.
    #[must_use]
    pub fn known(&self, known: Known) -> Known {
        let ledger = self.shared.ledger();
        ledger.entries().fold(known, |known, entry| {
            known.application(entry.application.name(), entry.application.environment.clone())
        })
    }

    /// Applies the operator's page: environments change at once, start types and patience at the
    /// next start. Says whose environment changed; those that run have been told
    /// ([`Application::config_change`]), in start order.
    ///
    /// # Errors
    ///
    /// When all are stopped, or about to be.
    pub async fn configure(&self, page: &Tuning) -> Result<Vec<String>, ApplicationError> {
        let applications = page.applications();
        self.ask(|answer| Request::Configure(applications, answer)).await
    }

    /// The tree all applications are part of.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.tree.clone()
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Result<T, ApplicationError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).map_err(|_| ApplicationError::Ended)?;
        answered.await.unwrap_or(Err(ApplicationError::Ended))
    }
}

impl fmt::Debug for Applications {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Applications").field("loaded", &self.loaded()).finish()
    }
}
