//! Reactions: whenever this event is sealed, that work is caused. A function from a fact to a job.
//!
//! The cursor of the subscription and the jobs it causes commit together, so each reaction is
//! enqueued exactly once; the job's unique key says so a second time.

use std::sync::Arc;

use kernel::{DomainName, Event, EventType, Recorded};
use store::SealedEvent;

use crate::job::{Arguments, Job, JobDraft};
use crate::refusal::{Error, Result};

type React = Arc<dyn Fn(&SealedEvent) -> Result<Option<JobDraft>> + Send + Sync>;

/// A subscription of a domain: the persistent name, the event, and what follows from it.
#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) name: &'static str,
    pub(crate) event: EventType,
    react: React,
}

impl Subscription {
    pub(crate) fn new<E: Event, J: Job>(
        name: &'static str,
        arguments: Arc<Arguments>,
        react: fn(&Recorded<E>) -> Option<J>,
    ) -> Self {
        let react = move |sealed: &SealedEvent| {
            let event = sealed.recorded::<E>().map_err(Error::failure)?;
            react(&event).map(|job| JobDraft::of(&job, &arguments)).transpose()
        };
        Self { name, event: E::TYPE, react: Arc::new(react) }
    }

    /// The job that `domain` does because of `sealed`, if any.
    ///
    /// # Errors
    /// A refusal when the event is the last its chain of causes may have; a failure when it cannot
    /// be read or causes a job whose arguments break their schema, which stalls this subscription
    /// for the organisation.
    pub(crate) fn consequence(
        &self,
        domain: DomainName,
        sealed: &SealedEvent,
    ) -> Result<Option<jobs::NewJob>> {
        let Some(draft) = (self.react)(sealed)? else {
            return Ok(None);
        };
        let scope = sealed.scope.caused_by(sealed.event_id, domain.as_str())?;
        let unique_key = format!("{domain}.{}:{}", self.name, sealed.event_id);
        Ok(Some(draft.into_new(domain, scope, Some(unique_key))))
    }
}
