//! What recurs: jobs that a domain does by the clock, declared beside the rest of it.
//!
//! A recurring job works for nobody in particular: its scope is that of the nil organisation. One
//! that serves every organisation goes round them with [`System::rounds`](crate::System::rounds).
//! Operators may change, pause and delete what is declared, and add entries for one organisation.

use jobs::schedule::Schedule;
use jobs::{CronEntry, Crontab, Missed};
use kernel::DomainName;

use crate::catalog::Catalog;
use crate::job::Job;

/// When a job recurs, and what becomes of ticks that cannot be taken at their time.
///
/// # Examples
///
/// ```
/// use platform::{Every, Missed};
///
/// // On working days at two in the morning, as clocks in Sydney show it; not made up for.
/// let every = Every::new("0 2 * * mon-fri").zone("Australia/Sydney").missed(Missed::Skip);
/// # let _ = every;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Every {
    schedule: &'static str,
    zone: Option<&'static str>,
    name: Option<&'static str>,
    missed: Missed,
    is_exclusive: bool,
    priority: Option<i16>,
    tags: &'static [&'static str],
}

impl Every {
    /// By a cron expression of five fields (`0 2 * * mon-fri`), a short form (`@daily`) or a period
    /// (`every 5 minutes`).
    #[must_use]
    pub const fn new(schedule: &'static str) -> Self {
        Self {
            schedule,
            zone: None,
            name: None,
            missed: Missed::Latest,
            is_exclusive: false,
            priority: None,
            tags: &[],
        }
    }

    /// By the clocks of this time zone of the IANA database; UTC otherwise.
    #[must_use]
    pub const fn zone(mut self, zone: &'static str) -> Self {
        self.zone = Some(zone);
        self
    }

    /// Under this name, which is persistent; that of the job otherwise. For a job that recurs in
    /// more than one way.
    #[must_use]
    pub const fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// What becomes of ticks that were missed; one job makes up for all of them otherwise.
    #[must_use]
    pub const fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Passes over a tick while the job of an earlier one is not finished.
    #[must_use]
    pub const fn exclusive(mut self) -> Self {
        self.is_exclusive = true;
        self
    }

    /// With jobs of this priority, from 0 (first) to 9 (last); that of their kind otherwise.
    #[must_use]
    pub const fn priority(mut self, priority: i16) -> Self {
        self.priority = Some(priority);
        self
    }

    /// With jobs that have these tags.
    #[must_use]
    pub const fn tags(mut self, tags: &'static [&'static str]) -> Self {
        self.tags = tags;
        self
    }

    /// The entry for a job of a domain, or why there can be none.
    pub(crate) fn entry<J: Job>(&self, domain: DomainName, job: &J) -> Result<CronEntry, String> {
        let name = format!("{domain}.{}", self.name.unwrap_or(J::NAME));
        let refuse = |problem: String| format!("{name} recurs `{}`: {problem}", self.schedule);
        let schedule =
            Schedule::parse(self.schedule, self.zone).map_err(|error| refuse(error.to_string()))?;
        let args = serde_json::to_value(job).map_err(|error| refuse(error.to_string()))?;
        let entry = CronEntry {
            args,
            max_attempts: J::MAX_ATTEMPTS,
            timeout: J::TIMEOUT,
            priority: self.priority.unwrap_or(J::PRIORITY),
            tags: self.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            missed: self.missed,
            is_exclusive: self.is_exclusive,
            ..CronEntry::new(&name, schedule, domain.as_str(), J::NAME)
        };
        entry.check().map_err(|error| refuse(error.to_string()))?;
        Ok(entry)
    }
}

impl From<&'static str> for Every {
    fn from(schedule: &'static str) -> Self {
        Self::new(schedule)
    }
}

/// What the domains of a catalog declare.
pub(crate) fn crontab(catalog: &Catalog) -> Crontab {
    let domains = catalog.domains().iter();
    Crontab::new(domains.flat_map(|domain| domain.schedules.iter().cloned()).collect())
}
