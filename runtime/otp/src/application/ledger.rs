//! The ledger of a controller: which applications there are, what each is doing, in which order
//! they were started.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::environment::{Environment, EnvironmentChange, Values};
use super::error::{ApplicationError, nearest};
use super::plan::{self, Needs};
use super::{Application, StartType};
use crate::child::Shutdown;
use crate::config::ApplicationTuning;
use crate::exit::ExitReason;
use crate::incarnation::Pid;

/// What an application is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ApplicationStatus {
    /// Nothing: it was never started, or has ended.
    #[default]
    Stopped,
    /// Its tree is coming up.
    Starting,
    /// This is the top supervisor of its tree.
    Running(Pid),
    /// It is being stopped, or its hooks are called after it has ended.
    Stopping,
}

/// One application, as its controller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// What its end means for all others; from its next start on, if it is running.
    pub start_type: StartType,
    /// What it is doing.
    pub status: ApplicationStatus,
    /// What its tree ended with the last time.
    pub last_exit: Option<ExitReason>,
}

#[derive(Default)]
pub(super) struct Ledger {
    /// In the order they were added.
    entries: Vec<Entry>,
    /// Those that are up, in the order they were started.
    started: Vec<Arc<str>>,
    tuning: BTreeMap<String, ApplicationTuning>,
    pub(super) shutdown_timeout: Option<Duration>,
}

pub(super) struct Entry {
    pub(super) application: Application,
    pub(super) environment: Environment,
    tuning: ApplicationTuning,
    status: ApplicationStatus,
    last_exit: Option<ExitReason>,
    /// The start type of the present or last start.
    started_as: StartType,
}

impl Entry {
    fn start_type(&self) -> StartType {
        self.tuning.start.unwrap_or(self.application.start_type)
    }

    pub(super) fn shutdown(&self) -> Shutdown {
        self.tuning.shutdown.unwrap_or(self.application.shutdown)
    }

    /// The defaults of the code, overridden by the page.
    fn values(&self) -> Values {
        let defaults = self.application.environment.iter();
        let defaults = defaults.filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        let page = self.tuning.environment.iter();
        defaults.chain(page.map(|(key, value)| (key.clone(), value.clone()))).collect()
    }

    fn draw(&self) -> ApplicationEntry {
        ApplicationEntry {
            name: self.application.name.to_string(),
            description: self.application.description.to_string(),
            start_type: self.start_type(),
            status: self.status.clone(),
            last_exit: self.last_exit.clone(),
        }
    }
}

impl Ledger {
    pub(super) fn add(&mut self, application: Application) -> Result<(), ApplicationError> {
        let name = application.name.to_string();
        if name.is_empty() || name.contains('/') {
            return Err(ApplicationError::InvalidName { name });
        }
        if self.entry(&name).is_ok() {
            return Err(ApplicationError::DuplicateName { name });
        }
        let entry = Entry {
            environment: Environment::new(application.name.clone()),
            tuning: self.tuning.get(&name).cloned().unwrap_or_default(),
            status: ApplicationStatus::Stopped,
            last_exit: None,
            started_as: StartType::Temporary,
            application,
        };
        entry.environment.replace(entry.values());
        self.entries.push(entry);
        Ok(())
    }

    pub(super) fn entry(&self, name: &str) -> Result<&Entry, ApplicationError> {
        let found = self.entries.iter().find(|entry| &*entry.application.name == name);
        found.ok_or_else(|| {
            let names = self.entries.iter().map(|entry| entry.application.name());
            ApplicationError::Unknown { name: name.to_owned(), nearest: nearest(name, names) }
        })
    }

    fn entry_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| &*entry.application.name == name)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The order in which the `wanted` ones, or all there are, start; nothing has been started.
    pub(super) fn plan(
        &self,
        wanted: Option<&[String]>,
    ) -> Result<Vec<Arc<str>>, ApplicationError> {
        let known: BTreeMap<&str, Needs<'_, Arc<str>>> = self
            .entries
            .iter()
            .map(|entry| {
                let application = &entry.application;
                let (dependencies, optional) = (&*application.dependencies, &*application.optional);
                (application.name(), Needs { dependencies, optional })
            })
            .collect();
        let wanted: Vec<&str> = match wanted {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => self.entries.iter().map(|entry| entry.application.name()).collect(),
        };
        let order = plan::order(&known, &wanted)?;
        Ok(order.into_iter().map(Arc::from).collect())
    }

    /// Notes that an application is about to start, if it may.
    pub(super) fn starting(&mut self, name: &str) -> Result<&Entry, ApplicationError> {
        let entry = self.entry(name)?;
        if entry.status != ApplicationStatus::Stopped {
            return Err(ApplicationError::AlreadyStarted { name: name.to_owned() });
        }
        for dependency in &entry.application.dependencies {
            let known = self.entry(dependency).map_err(|error| match error {
                ApplicationError::Unknown { name: dependency, nearest } => {
                    let application = name.to_owned();
                    ApplicationError::UnknownDependency { application, dependency, nearest }
                }
                other => other,
            })?;
            // One that has ended may not have been looked at yet.
            if !matches!(&known.status, ApplicationStatus::Running(pid) if pid.is_alive()) {
                return Err(ApplicationError::NotStarted {
                    application: name.to_owned(),
                    dependency: dependency.to_string(),
                });
            }
        }
        if let Some(entry) = self.entry_mut(name) {
            entry.status = ApplicationStatus::Starting;
            entry.started_as = entry.start_type();
        }
        self.entry(name)
    }

    pub(super) fn is_running(&self, name: &str) -> bool {
        self.pid(name).is_some()
    }

    pub(super) fn pid(&self, name: &str) -> Option<Pid> {
        match &self.entry(name).ok()?.status {
            ApplicationStatus::Running(pid) => Some(pid.clone()),
            _ => None,
        }
    }

    pub(super) fn started_as(&self, name: &str) -> StartType {
        self.entry(name).map(|entry| entry.started_as).unwrap_or_default()
    }

    /// Whether it has ended by itself, which has not been looked at yet and is the end of all.
    pub(super) fn ends_all(&self, name: &str) -> bool {
        let reason = self.pid(name).and_then(|pid| pid.exit_reason());
        reason.is_some_and(|reason| self.started_as(name).ends_all_after(&reason))
    }

    pub(super) fn up(&mut self, name: &str, pid: Pid) {
        if let Some(entry) = self.entry_mut(name) {
            entry.status = ApplicationStatus::Running(pid);
            let name = entry.application.name.clone();
            self.started.push(name);
        }
    }

    pub(super) fn stopping(&mut self, name: &str) {
        if let Some(entry) = self.entry_mut(name) {
            entry.status = ApplicationStatus::Stopping;
        }
    }

    pub(super) fn down(&mut self, name: &str, reason: Option<ExitReason>) {
        self.started.retain(|started| &**started != name);
        if let Some(entry) = self.entry_mut(name) {
            entry.status = ApplicationStatus::Stopped;
            entry.last_exit = reason.or(entry.last_exit.take());
        }
    }

    /// The names of those that are up, in the order they were started.
    pub(super) fn started(&self) -> Vec<Arc<str>> {
        self.started.clone()
    }

    pub(super) fn which(&self) -> Vec<ApplicationEntry> {
        let entries = self.started.iter().filter_map(|name| self.entry(name).ok());
        entries.map(Entry::draw).collect()
    }

    pub(super) fn loaded(&self) -> Vec<ApplicationEntry> {
        self.entries.iter().map(Entry::draw).collect()
    }

    /// Applies a page, and says whose environment it changed: those that run, in start order, then
    /// the others.
    pub(super) fn configure(
        &mut self,
        tuning: BTreeMap<String, ApplicationTuning>,
    ) -> Vec<(Arc<str>, EnvironmentChange)> {
        let mut changes = Vec::new();
        for entry in &mut self.entries {
            entry.tuning = tuning.get(entry.application.name()).cloned().unwrap_or_default();
            let change = entry.environment.replace(entry.values());
            if !change.is_empty() {
                changes.push((entry.application.name.clone(), change));
            }
        }
        self.tuning = tuning;
        let place = |name: &Arc<str>| self.started.iter().position(|started| started == name);
        changes.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
        changes
    }
}
