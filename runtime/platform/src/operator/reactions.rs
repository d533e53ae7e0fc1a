//! Replaying reactions: what past events would cause, and causing what is missing.

use kernel::{EventId, JobId, OrgId, Position};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use store::SealedEvent;

use crate::domain::Domain;
use crate::form::VISIBLE_TEXT;
use crate::operation::{Access, Action, Spec};
use crate::reaction::Subscription;
use crate::refusal::{Error, Kind, Reason, Refusal, Result};
use crate::subtree::event_name;
use crate::system::System;

/// Positions looked through in one call at most; the rest is for the next one.
const POSITIONS_MAX: i64 = 100_000;

/// Why reactions are not replayed.
#[derive(Debug, thiserror::Error)]
enum NotReplayed {
    #[error("there is no domain `{0}`")]
    NoSuchDomain(String),
    #[error("{domain} has no subscription `{name}`; it has {known}")]
    NoSuchSubscription { domain: String, name: String, known: String },
}

impl Refusal for NotReplayed {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchDomain(_) => Reason::not_found("no_such_domain").at("/domain"),
            Self::NoSuchSubscription { .. } => {
                Reason::not_found("no_such_subscription").at("/subscription")
            }
        }
    }
}

/// Show what a subscription makes of past events, and enqueue what is missing if told to.
///
/// Unless `dry_run` is false, nothing is written: the answer lists each job the events would cause,
/// and whether there is one already. Otherwise those that are missing are enqueued; the unique key
/// keeps each of them from being enqueued twice. Jobs that ended long ago are pruned, so the list
/// shows them as missing: look at it first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayReactions {
    /// The domain that reacts.
    #[schemars(length(min = 1, max = 48))]
    pub domain: String,
    /// Its subscription, for example `score_candidates`.
    #[schemars(length(min = 1, max = 48))]
    pub subscription: String,
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
    /// The first position to look at; the beginning of the log unless given.
    #[serde(default = "first")]
    #[schemars(range(min = 1))]
    pub from: i64,
    /// The last position to look at; as far as the subscription itself has come unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub to: Option<i64>,
    /// Only events of this organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrgId>,
    /// Whether to write nothing; true unless given.
    #[serde(default = "yes")]
    pub dry_run: bool,
    /// Events to look at, 1 to 500; 100 unless given.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: u32,
}

const fn first() -> i64 {
    1
}

const fn yes() -> bool {
    true
}

const fn hundred() -> u32 {
    100
}

/// What past events cause.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReactionsReplayed {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// The reactions, in the order of their events. Events that cause nothing are left out.
    pub items: Vec<ReactionView>,
    /// The `from` of the next page, if there is more to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// What one event causes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReactionView {
    /// The event's place in the log.
    pub position: Position,
    /// The event.
    pub event_id: EventId,
    /// The organisation.
    pub org_id: OrgId,
    /// `missing` (it would be enqueued), `enqueued` (it is now), `exists` (there is such a job), or
    /// `refused` (the event causes nothing any more; `message` says why).
    pub outcome: String,
    /// The name of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// What keeps it from being enqueued twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// The job, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Why the event causes nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Action for ReplayReactions {
    const SPEC: Spec =
        Spec::invoke("replay_reactions", "/reactions/replay").needs(Access::Operate).destroys();
    type Output = ReactionsReplayed;
    async fn act(self, system: &System) -> Result<ReactionsReplayed> {
        let (domain, subscription) = find(system, &self.domain, &self.subscription)?;
        let mut transaction = store::begin(system.pool()).await?;
        let (events, next) = self.events(&mut transaction, domain, subscription).await?;
        let mut items = Vec::new();
        for event in &events {
            let react = self.react(system, &mut transaction, domain, subscription, event);
            items.extend(react.await?);
        }
        if self.dry_run {
            transaction.rollback().await?;
        } else {
            transaction.commit().await?;
            system.queues().nudge(domain.name().as_str());
        }
        Ok(ReactionsReplayed { dry_run: self.dry_run, items, next })
    }
}

impl ReplayReactions {
    /// The events of this page, and where the next one begins.
    async fn events(
        &self,
        connection: &mut PgConnection,
        domain: &Domain,
        subscription: &Subscription,
    ) -> Result<(Vec<SealedEvent>, Option<i64>)> {
        let name = format!("{}.{}", domain.name(), subscription.name);
        let cursors = store::cursor::list(connection).await?;
        let cursor = cursors.into_iter().find(|cursor| cursor.name == name);
        // What lies beyond, the subscription itself will come to.
        let reached = cursor.map_or(0, |cursor| cursor.position.0);
        let last = self.to.map_or(reached, |to| to.min(reached));
        let until = last.min(self.from + POSITIONS_MAX - 1);
        let filter = [event_name(subscription.event)];
        let after = Position(self.from - 1);
        let events =
            store::read::matching(connection, after, Position(until), &filter, self.limit).await?;
        let is_full = events.len() >= self.limit as usize;
        let looked = events.last().filter(|_| is_full).map_or(until, |event| event.position.0);
        let next = (looked < last).then_some(looked + 1);
        let is_wanted =
            |event: &SealedEvent| self.org_id.is_none_or(|org_id| event.org_id == org_id);
        Ok((events.into_iter().filter(is_wanted).collect(), next))
    }

    async fn react(
        &self,
        system: &System,
        connection: &mut PgConnection,
        domain: &Domain,
        subscription: &Subscription,
        event: &SealedEvent,
    ) -> Result<Option<ReactionView>> {
        let mut view = ReactionView {
            position: event.position,
            event_id: event.event_id,
            org_id: event.org_id,
            outcome: String::new(),
            job: None,
            args: None,
            unique_key: None,
            job_id: None,
            message: None,
        };
        let job = match subscription.consequence(domain.name(), event) {
            Ok(Some(job)) => job,
            Ok(None) => return Ok(None),
            Err(refused) if refused.kind() == Kind::Conflict => {
                "refused".clone_into(&mut view.outcome);
                view.message = Some(refused.message().to_owned());
                return Ok(Some(view));
            }
            Err(error) => return Err(error),
        };
        let (outcome, job_id) = if self.dry_run {
            match jobs::find_duplicate(connection, &job, system.now()).await? {
                Some(job_id) => ("exists", Some(job_id)),
                None => ("missing", None),
            }
        } else {
            let enqueued = jobs::enqueue(connection, &job, system.now()).await;
            match enqueued.map_err(Error::from)? {
                jobs::Enqueued::New(job_id) => ("enqueued", Some(job_id)),
                jobs::Enqueued::Duplicate(job_id) | jobs::Enqueued::Replaced(job_id) => {
                    ("exists", Some(job_id))
                }
            }
        };
        outcome.clone_into(&mut view.outcome);
        view.job_id = job_id;
        (view.job, view.args, view.unique_key) = (Some(job.name), Some(job.args), job.unique_key);
        Ok(Some(view))
    }
}

fn find<'s>(
    system: &'s System,
    domain: &str,
    name: &str,
) -> Result<(&'s Domain, &'s Subscription)> {
    let found = system.catalog().domain(domain);
    let found = found.ok_or_else(|| NotReplayed::NoSuchDomain(domain.to_owned()))?;
    let known = || found.subscriptions.iter().map(|subscription| subscription.name);
    let subscription = found.subscriptions.iter().find(|subscription| subscription.name == name);
    let subscription = subscription.ok_or_else(|| NotReplayed::NoSuchSubscription {
        domain: domain.to_owned(),
        name: name.to_owned(),
        known: known().collect::<Vec<_>>().join(", "),
    })?;
    Ok((found, subscription))
}
