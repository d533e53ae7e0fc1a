//! Reloading supervision.toml: the running tree takes the tuning of the edited page.
//!
//! The page is read and checked as at the start of the platform, and one mistake leaves everything
//! as it was. Then every supervisor that the page tunes is given its new specification, from the
//! root downwards, as OTP does on a change of code: nobody is restarted. What starts later, starts
//! with the new page, because specifications are made from the tuning that holds at that time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use otp::SpecError;
use otp::config::{ConfigErrors, Difference, Tuning};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::refusal::{Error, FieldError, Reason};
use crate::system::System;
use crate::tree;

/// How long a supervisor may be busy before its part is reported as still to come.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What an edited supervision.toml changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// The file that was read.
    pub page: String,
    /// What is different now; nothing when the page says what it said before.
    pub changes: Vec<TuningChange>,
}

/// One key with another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TuningChange {
    /// The table of the page, for example `domain.recruit.child.scoring_engine`.
    pub table: String,
    /// The key, for example `max_restarts`.
    pub key: String,
    /// What held until now, defaults included.
    pub before: String,
    /// What holds now.
    pub after: String,
    /// `applied`, or `at next start of` a place in the tree.
    pub effect: String,
}

/// Why a page was not taken. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum NotReloaded {
    /// There is no such file; the platform runs with the page that was built in.
    #[error(
        "there is no page to read: the platform was started with the one built in; write \
         {0} and reload again"
    )]
    NoPage(PathBuf),
    /// The file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The page has mistakes.
    #[error("{0}")]
    Wrong(#[from] ConfigErrors),
    /// What the page says cannot hold for a supervisor.
    #[error("{path} cannot take what the page says: {error}")]
    Contradiction {
        /// The place of the supervisor.
        path: String,
        /// What contradicts what.
        error: SpecError,
    },
    /// There is no tree any more.
    #[error("the platform is stopping")]
    Stopping,
}

impl From<NotReloaded> for Error {
    fn from(not: NotReloaded) -> Self {
        let message = not.to_string();
        match not {
            NotReloaded::NoPage(_) | NotReloaded::Unreadable(..) => {
                Self::refused(Reason::conflict("no_page"), message)
            }
            NotReloaded::Contradiction { .. } => {
                Self::refused(Reason::invalid("wrong_page"), message)
            }
            NotReloaded::Wrong(ConfigErrors(mistakes)) => Self::Refused {
                reason: Reason::invalid("wrong_page"),
                message: match mistakes.len() {
                    1 => "the page has a mistake; nothing is changed".to_owned(),
                    many => format!("the page has {many} mistakes; nothing is changed"),
                },
                fields: mistakes
                    .into_iter()
                    .map(|mistake| FieldError {
                        pointer: String::new(),
                        message: format!("{}:{}: {}", mistake.file, mistake.line, mistake.message),
                    })
                    .collect(),
            },
            NotReloaded::Stopping => Self::unavailable(message, Duration::from_secs(1)),
        }
    }
}

impl System {
    /// Reads supervision.toml again and gives the running tree what is different on it.
    ///
    /// One at a time: a second call waits for the first and then reads the page itself.
    ///
    /// # Errors
    /// [`NotReloaded`]; then nothing is changed.
    pub async fn reload_supervision(&self) -> Result<Reloaded, NotReloaded> {
        let tuned = self.tuned();
        let _alone = tuned.reloading.lock().await;
        let parts = tuned.parts.get().and_then(Weak::upgrade).ok_or(NotReloaded::Stopping)?;
        let file = &tuned.page;
        let known = tree::known(self.catalog());
        let newer = Tuning::parse(&read(file)?, &file.display().to_string(), &known)?;
        let newer = Arc::new(newer);
        let older = tuned.replace(self.queues(), Arc::clone(&newer));
        let specs = tree::tuned(self, &parts);
        let wrong = specs.iter().find_map(|(path, spec)| Some((path.clone(), spec.check().err()?)));
        if let Some((path, error)) = wrong {
            tuned.replace(self.queues(), older);
            return Err(NotReloaded::Contradiction { path, error });
        }
        let mut untold = Vec::new();
        for (path, spec) in specs {
            let told = match self.tree().supervisor(&path) {
                Some(supervisor) => {
                    let told = tokio::time::timeout(ANSWER_WITHIN, supervisor.reconfigure(spec));
                    matches!(told.await, Ok(Ok(_)))
                }
                None => false,
            };
            if !told {
                untold.push(path);
            }
        }
        let effect = |difference| self.change(difference, &untold);
        let changes: Vec<_> = older.differences(&newer, &known).into_iter().map(effect).collect();
        let page = file.display().to_string();
        tracing::info!(page, changes = changes.len(), "supervision.toml is reloaded");
        Ok(Reloaded { page, changes })
    }

    fn change(&self, difference: Difference, untold: &[String]) -> TuningChange {
        let Difference { table, key, before, after } = difference;
        let (place, supervisor) = place_of(&table);
        let effect = match key {
            _ if self.tree().find(&supervisor).is_none() => {
                format!("none: this tree has no {supervisor}")
            }
            // Its process reads the page by itself, when it starts.
            "queue_limit" | "in_flight_max" | "statement_timeout_ms" | "strategy" | "restart"
                if self.has_cell(&table) =>
            {
                format!("at next start of {supervisor}/process")
            }
            "queue_limit" | "in_flight_max" | "statement_timeout_ms" => APPLIED.to_owned(),
            // For all nodes, by the producer of this one.
            key if key.starts_with("queue_") => APPLIED.to_owned(),
            // Asked for at each request, and when the server stops.
            key if table == "edge"
                && (key.ends_with("_per_second")
                    || key.ends_with("_burst")
                    || key.starts_with("drain_")) =>
            {
                APPLIED.to_owned()
            }
            "strategy" | "max_restarts" | "max_seconds" | "shutdown_ms" | "restart"
            | "on_give_up" | "quarantine_ms" => {
                if untold.contains(&supervisor) {
                    format!("at next start of {supervisor}")
                } else {
                    APPLIED.to_owned()
                }
            }
            "runtime" | "threads" | "placement" => "at next start of the platform".to_owned(),
            // What a process was made with, it keeps.
            _ => format!("at next start of {place}"),
        };
        TuningChange { table, key: key.to_owned(), before, after, effect }
    }

    fn has_cell(&self, table: &str) -> bool {
        let domain = table.strip_prefix("domain.").and_then(|rest| rest.split('.').next());
        let domain = domain.and_then(|name| self.catalog().domain(name));
        domain.is_some_and(|domain| self.cell(domain.name()).is_some())
    }
}

const APPLIED: &str = "applied";

fn read(file: &Path) -> Result<String, NotReloaded> {
    std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => NotReloaded::NoPage(file.to_owned()),
        _ => NotReloaded::Unreadable(file.to_owned(), error),
    })
}

/// What a table of the page is about, and the supervisor whose specification says so.
fn place_of(table: &str) -> (String, String) {
    let (table, child) = match table.split_once(".child.") {
        Some((table, child)) => (table, Some(child)),
        None => (table, None),
    };
    let (supervisor, below) = match (table, table.strip_prefix("domain.")) {
        ("root", _) => ("root".to_owned(), ""),
        (_, Some(domain)) => (format!("root/domains/{domain}"), "/children"),
        (section, None) => (format!("root/{section}"), ""),
    };
    match child {
        None => (supervisor.clone(), supervisor),
        Some(child) => (format!("{supervisor}{below}/{child}"), format!("{supervisor}{below}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_about_a_place_in_the_tree_and_told_to_its_supervisor() {
        let cases = [
            ("root", "root", "root"),
            ("root.child.database", "root/database", "root"),
            ("store", "root/store", "root/store"),
            ("edge.child.acceptor", "root/edge/acceptor", "root/edge"),
            ("domains", "root/domains", "root/domains"),
            ("domain.recruit", "root/domains/recruit", "root/domains/recruit"),
            (
                "domain.recruit.child.pool",
                "root/domains/recruit/children/pool",
                "root/domains/recruit/children",
            ),
        ];

        for (table, place, supervisor) in cases {
            assert_eq!(place_of(table), (place.to_owned(), supervisor.to_owned()), "{table}");
        }
    }
}
