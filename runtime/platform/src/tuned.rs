//! Tuned: the page that holds now, and the limits of each domain that follow from it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use jobs::{Limits, Queues};
use kernel::DomainName;
use otp::config::{QueueTuning, Tuning};
use tokio::sync::Mutex;

use crate::catalog::Catalog;
use crate::dispatch::RETRY_AFTER;
use crate::places::{Place, Places};
use crate::refusal::{Error, Reason, Result};
use crate::tree::Parts;

/// What limits a queue over all nodes, as the page says.
pub(crate) fn queue_limits(page: &QueueTuning) -> Limits {
    let milliseconds = |period: Duration| u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    Limits {
        global_limit: page.global_limit,
        // The reader of the page takes nothing else.
        partition_by: page.partition_by.as_deref().and_then(|text| text.parse().ok()),
        partition_limit: page.partition_limit,
        rate_limit: page.rate_limit,
        partition_rate_limit: page.partition_rate_limit,
        rate_period_ms: page.rate_period.map(milliseconds),
    }
}

/// supervision.toml as it holds now.
pub(crate) struct Tuned {
    tuning: RwLock<Arc<Tuning>>,
    places: HashMap<&'static str, Arc<Places>>,
    /// Where an edited page is read from.
    pub(crate) page: PathBuf,
    /// Held by whoever applies an edited page.
    pub(crate) reloading: Mutex<()>,
    /// What the tree is made of. Held by the tree, which also holds the owner of this.
    pub(crate) parts: OnceLock<Weak<Parts>>,
}

impl Tuned {
    pub(crate) fn new(catalog: &Catalog, tuning: Tuning, page: PathBuf) -> Self {
        let places = catalog.domains().iter().map(|domain| {
            let name = domain.name().as_str();
            (name, Places::new(tuning.domain(name).in_flight_max))
        });
        Self {
            places: places.collect(),
            tuning: RwLock::new(Arc::new(tuning)),
            page,
            reloading: Mutex::default(),
            parts: OnceLock::new(),
        }
    }

    pub(crate) fn now(&self) -> Arc<Tuning> {
        // Only whole pages are ever put there, so a panic elsewhere has left none half-written.
        Arc::clone(&self.tuning.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets another page hold from now on, for whatever asks, and answers the one until now.
    pub(crate) fn replace(&self, queues: &Queues, tuning: Arc<Tuning>) -> Arc<Tuning> {
        for (name, places) in &self.places {
            let limits = tuning.domain(name);
            places.set_max(limits.in_flight_max);
            queues.set_limit(name, limits.queue_limit);
            queues.set_limits(name, queue_limits(&limits.queue));
        }
        let mut held = self.tuning.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, tuning)
    }

    /// A place among the operations a domain serves at once; given back when dropped.
    pub(crate) fn enter(&self, domain: DomainName) -> Result<Place> {
        let places = self.places.get(domain.as_str()).ok_or_else(|| {
            Error::refused(
                Reason::not_found("unknown_domain"),
                format!("there is no domain {domain}"),
            )
        })?;
        places.take().ok_or_else(|| {
            let message = format!("{domain} already serves {} operations at once", places.max());
            Error::unavailable(message, RETRY_AFTER)
        })
    }
}
