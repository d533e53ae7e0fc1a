//! Applications: parts of a program that start, stop and fail as a whole, in an order of their own.
//!
//! An [`Application`] is a supervision tree with a name, the names of those it needs, and a word on
//! what its end means for the rest. [`Applications`] is the controller of all of them: it starts
//! what an application needs before it, stops in the reverse of the order it started in, and, when
//! the end of one means the end of all, stops the others and says which one it was and why
//! ([`Applications::ended`]). The controller is a value; two of them do not know of each other.
//!
//! Each application lives in one tree at `root/<name>`, where [`Tree`](crate::Tree) shows it.
//!
//! # What the end of an application means
//!
//! | [`StartType`] | it ended by itself | it cannot be started |
//! |---|---|---|
//! | `Temporary` (default) | it is reported | an error for whoever started it |
//! | `Transient` | unless with `normal`, all others are stopped | the same, unless it declined |
//! | `Permanent` | all others are stopped | the same |
//!
//! A supervisor that gives up ends with `shutdown`, so a transient application is in practice as
//! good as a permanent one; that is OTP's rule and kept. An explicit [`Applications::stop`] never
//! takes others along, not even those that depend on what is stopped: as in OTP, who stops by hand
//! is expected to know the order. [`Applications::stop_all`] is the one that minds it.
//!
//! # Stopping
//!
//! [`Application::prep_stop`] is called, then the supervision tree is stopped and awaited without a
//! limit (or [`Application::shutdown`]), then [`Application::stop`] is called. Both hooks are
//! called as well when the tree ended by itself. A panic in a hook is reported and ignored. When
//! all are stopped, [`Applications::shutdown_timeout`] limits each of them, hooks included; what
//! is left of an application then is killed.
//!
//! # Examples
//!
//! Three applications, of which the last cannot start:
//!
//! ```
//! use otp::{Application, Applications, Clock, StartError, Strategy, SupervisorSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tree = || SupervisorSpec::new(Strategy::OneForOne);
//! let applications = Applications::new(Clock::system());
//! applications.add(
//!     Application::new("web", move |_| Err(StartError::failed("port 80 is taken")))
//!         .depends_on(["store"]),
//! )?;
//! applications.add(
//!     Application::new("store", move |environment| {
//!         let connections: u32 = environment.get("connections")?;
//!         assert_eq!(connections, 4);
//!         Ok(tree())
//!     })
//!     .env("connections", 4)
//!     .depends_on(["clock"]),
//! )?;
//! applications.add(Application::new("clock", move |_| Ok(tree())))?;
//!
//! let error = applications.ensure_all_started("web").await.unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "application `web` did not start: port 80 is taken; stopped again: `store`, `clock`",
//! );
//!
//! assert_eq!(applications.ensure_all_started("store").await?, ["clock", "store"]);
//! assert!(applications.tree().pid("root/store").is_some());
//! applications.stop_all().await;
//! # Ok(())
//! # }
//! ```

mod controller;
mod environment;
mod error;
mod handle;
mod ledger;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::child::Shutdown;
use crate::exit::{ExitReason, StartError};
use crate::specification::SupervisorSpec;

pub use environment::{Environment, EnvironmentChange, EnvironmentError};
pub use error::ApplicationError;
pub use handle::{Applications, Ended};
pub use ledger::{ApplicationEntry, ApplicationStatus};

/// What the end of an application means for all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartType {
    /// Any end, and a start that failed, stops all others.
    Permanent,
    /// Any end but `normal`, and a start that failed, stops all others.
    Transient,
    /// Nothing: it is reported.
    #[default]
    Temporary,
}

impl StartType {
    /// Whether all others are stopped when an application ended by itself for `reason`.
    #[must_use]
    pub const fn ends_all_after(self, reason: &ExitReason) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => !matches!(reason, ExitReason::Normal),
            Self::Temporary => false,
        }
    }

    /// Whether all others are stopped when an application did not start.
    #[must_use]
    pub const fn ends_all_without(self, error: &StartError) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => !matches!(error, StartError::Ignore),
            Self::Temporary => false,
        }
    }
}

type Start = Arc<dyn Fn(&Environment) -> Result<SupervisorSpec, StartError> + Send + Sync>;
type Hook = Arc<dyn Fn(Environment) -> BoxFuture<'static, ()> + Send + Sync>;
type ChangeHook =
    Arc<dyn Fn(EnvironmentChange, Environment) -> BoxFuture<'static, ()> + Send + Sync>;

/// A part of a program that starts, stops and fails as a whole, described.
#[derive(Clone)]
pub struct Application {
    name: Arc<str>,
    description: Arc<str>,
    dependencies: Vec<Arc<str>>,
    optional: Vec<Arc<str>>,
    start_type: StartType,
    shutdown: Shutdown,
    /// `None` is a key without a default.
    environment: BTreeMap<String, Option<Value>>,
    start: Start,
    prep_stop: Option<Hook>,
    stop: Option<Hook>,
    config_change: Option<ChangeHook>,
}

impl Application {
    /// An application without dependencies whose tree `start` specifies at every start.
    pub fn new(
        name: impl Into<Arc<str>>,
        start: impl Fn(&Environment) -> Result<SupervisorSpec, StartError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            description: Arc::from(""),
            dependencies: Vec::new(),
            optional: Vec::new(),
            start_type: StartType::default(),
            shutdown: Shutdown::Infinity,
            environment: BTreeMap::new(),
            start: Arc::new(start),
            prep_stop: None,
            stop: None,
            config_change: None,
        }
    }

    /// What it is, in a few words for an operator.
    #[must_use]
    pub fn describe(mut self, description: &str) -> Self {
        self.description = description.into();
        self
    }

    /// Adds applications that must be running before it starts; they start in this order.
    #[must_use]
    pub fn depends_on<N: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.dependencies.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds applications that [`Applications::ensure_all_started`] starts before it if there are
    /// any of that name. It starts without those that are unknown.
    #[must_use]
    pub fn optionally<N: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.optional.extend(names.into_iter().map(Into::into));
        self
    }

    /// What its end means for all others; nothing unless said otherwise.
    #[must_use]
    pub const fn start_type(mut self, start_type: StartType) -> Self {
        self.start_type = start_type;
        self
    }

    /// How its tree is told to stop; it may take as long as it needs unless said otherwise.
    #[must_use]
    pub const fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Adds a key to its environment, with the value it has unless the operator's page has another.
    /// A value there must be of the same type; `null` allows any.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, default: impl Into<Value>) -> Self {
        self.environment.insert(key.into(), Some(default.into()));
        self
    }

    /// Adds a key to its environment that only the operator's page can give a value.
    #[must_use]
    pub fn env_required(mut self, key: impl Into<String>) -> Self {
        self.environment.insert(key.into(), None);
        self
    }

    /// What is done before its tree is stopped, while everything in it still runs; and after its
    /// tree has ended by itself.
    #[must_use]
    pub fn prep_stop<W>(self, hook: impl Fn(Environment) -> W + Send + Sync + 'static) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        Self { prep_stop: Some(Arc::new(move |environment| hook(environment).boxed())), ..self }
    }

    /// What is done when its tree is gone, whatever ended it.
    ///
    /// It must not call the [`Applications`] it is part of, which waits for it.
    #[must_use]
    pub fn stop<W>(self, hook: impl Fn(Environment) -> W + Send + Sync + 'static) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        Self { stop: Some(Arc::new(move |environment| hook(environment).boxed())), ..self }
    }

    /// What is done when a new page has changed its environment while it runs; the environment has
    /// the new values by then.
    #[must_use]
    pub fn config_change<W>(
        self,
        hook: impl Fn(EnvironmentChange, Environment) -> W + Send + Sync + 'static,
    ) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let hook: ChangeHook =
            Arc::new(move |change, environment| hook(change, environment).boxed());
        Self { config_change: Some(hook), ..self }
    }

    /// Its name, unique among the applications of one controller.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Application")
            .field("name", &self.name)
            .field("dependencies", &self.dependencies)
            .field("optional", &self.optional)
            .field("start_type", &self.start_type)
            .finish_non_exhaustive()
    }
}
