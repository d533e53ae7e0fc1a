//! Looking at consumers of events, and helping them past what they cannot digest.

use kernel::{EventId, OrgId, Position, Principal, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::consumer::stall::{self, Skip, SkipError, SkippedEvent, Stall};
use store::consumer::{Filter, Lag, lag};

use crate::form::VISIBLE_TEXT;
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::subtree;
use crate::system::System;

/// Why a wish about a consumer is not granted.
#[derive(Debug, thiserror::Error)]
enum NotGranted {
    #[error("there is no consumer `{0}`; `list_consumers` lists them")]
    NoSuchConsumer(String),
    #[error("`{0}` is not stalled, so there is nothing to try again")]
    NotStalled(String),
    #[error("{0}")]
    NotStalledThere(String),
    #[error("{0}; ask again")]
    Busy(String),
}

impl Refusal for NotGranted {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchConsumer(_) => Reason::not_found("no_such_consumer").at("/consumer"),
            Self::NotStalled(_) => Reason::conflict("not_stalled").at("/consumer"),
            Self::NotStalledThere(_) => Reason::conflict("not_stalled_there").at("/position"),
            Self::Busy(_) => Reason::conflict("busy").at("/consumer"),
        }
    }
}

/// List what follows the event log: each reaction and projection, its lag, and what is in its way.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListConsumers {}

/// The consumers of events.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConsumerList {
    /// The last sealed position.
    pub head: Position,
    /// The consumers, by name; one that is divided has a line for each lane.
    pub items: Vec<ConsumerView>,
    /// What they cannot digest, by consumer.
    pub stalls: Vec<StallView>,
}

/// A consumer, or one lane of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConsumerView {
    /// Its name, for example `pulse.draft_roster_template`; with the lane, such as `#2/4`, if it
    /// has several.
    pub consumer: String,
    /// `live`, `catching_up`, `stalled` (an event is in the way of all others), or `unattended`
    /// (no node works it, for example while its domain is in quarantine).
    pub state: String,
    /// Whether this node works it; on others, it stands by.
    pub is_here: bool,
    /// The last position handled.
    pub position: Position,
    /// Events that wait for it; those of no concern to it do not count. An estimate beyond 10,000
    /// positions.
    pub lag_events: u64,
    /// How old the oldest of them is, in seconds.
    pub lag_seconds: u64,
    /// Organisations whose events wait because of one that it cannot digest.
    pub stalled_organisations: u32,
    /// When its cursor last moved.
    pub updated_at: Timestamp,
}

/// An event that a consumer cannot digest.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StallView {
    /// The consumer's name.
    pub consumer: String,
    /// Where the event is; absent while what waited behind it is caught up.
    pub position: Option<Position>,
    /// The event.
    pub event_id: Option<EventId>,
    /// The organisation whose events wait.
    pub org_id: OrgId,
    /// Whether only they wait, and not those of other organisations.
    pub is_parked: bool,
    /// Why it cannot be digested.
    pub error: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when.
    pub stalled_at: Timestamp,
    /// When it is tried again.
    pub next_attempt_at: Timestamp,
}

impl From<Stall> for StallView {
    fn from(stall: Stall) -> Self {
        Self {
            consumer: stall.consumer,
            position: stall.position,
            event_id: stall.event_id,
            org_id: stall.org_id,
            is_parked: stall.is_parked,
            error: stall.error,
            attempts: stall.attempts,
            stalled_at: stall.stalled_at,
            next_attempt_at: stall.next_attempt_at,
        }
    }
}

impl Action for ListConsumers {
    const SPEC: Spec = Spec::read("list_consumers", "/consumers").needs(Access::Operate);
    type Output = ConsumerList;
    async fn act(self, system: &System) -> Result<ConsumerList> {
        list(system).await
    }
}

/// All consumers of the catalog, as the tables have them.
pub(crate) async fn list(system: &System) -> Result<ConsumerList> {
    let mut reading = store::begin_reading(system.pool()).await?;
    let head = store::read::head(&mut reading).await?;
    let stalls = stall::list(&mut reading).await?;
    let mut items = Vec::new();
    for following in system.catalog().domains().iter().flat_map(subtree::cursors) {
        let filter = Filter::events(following.filter);
        let lags = lag::of_consumer(&mut reading, &following.name, &filter, head).await?;
        items.extend(lags.into_iter().map(|lag| view(system, lag, &stalls)));
    }
    reading.rollback().await?;
    items.sort_by(|one, other| one.consumer.cmp(&other.consumer));
    Ok(ConsumerList { head, items, stalls: stalls.into_iter().map(StallView::from).collect() })
}

fn view(system: &System, lag: Lag, stalls: &[Stall]) -> ConsumerView {
    let own: Vec<&Stall> = stalls.iter().filter(|stall| lag.is_about(stall)).collect();
    let is_held = own.iter().any(|stall| !stall.is_parked);
    let state = match lag.holder {
        None => "unattended",
        Some(_) if is_held => "stalled",
        Some(_) if lag.events > 0 => "catching_up",
        Some(_) => "live",
    };
    ConsumerView {
        state: state.to_owned(),
        is_here: lag.holder == Some(system.log().holder()),
        position: lag.position,
        lag_events: lag.events,
        lag_seconds: lag.seconds,
        stalled_organisations: u32::try_from(own.len()).unwrap_or(u32::MAX),
        updated_at: lag.updated_at,
        consumer: lag.name,
    }
}

/// Have a consumer try the event it cannot digest now, instead of when its time is up.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryConsumer {
    /// The consumer's name, for example `pulse.draft_roster_template`.
    #[schemars(length(min = 1, max = 200))]
    pub consumer: String,
}

/// What is tried again.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// The consumer's name.
    pub consumer: String,
    /// How many events are tried now.
    pub events: u64,
}

impl Action for RetryConsumer {
    const SPEC: Spec =
        Spec::invoke("retry_consumer", "/consumers/{consumer}/retry").needs(Access::Operate);
    type Output = Retried;
    async fn act(self, system: &System) -> Result<Retried> {
        must_exist(system, &self.consumer)?;
        let events = stall::retry(system.pool(), &self.consumer).await?;
        if events == 0 {
            return Err(NotGranted::NotStalled(self.consumer).into());
        }
        Ok(Retried { consumer: self.consumer, events })
    }
}

/// Have a consumer leave out the event that it cannot digest, for ever.
///
/// What would have followed from the event does not happen. The skip is refused unless the consumer
/// is stalled at exactly this event, and is kept with its reason.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipEvent {
    /// The consumer's name, for example `pulse.draft_roster_template`.
    #[schemars(length(min = 1, max = 200))]
    pub consumer: String,
    /// Where the event is, as `list_consumers` tells it.
    #[schemars(range(min = 1))]
    pub position: i64,
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
}

/// An event that a consumer leaves out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SkippedView {
    /// The consumer's name.
    pub consumer: String,
    /// Where the event is.
    pub position: Position,
    /// The event.
    pub event_id: EventId,
    /// The organisation it belongs to.
    pub org_id: OrgId,
    /// Why it was skipped.
    pub reason: String,
    /// Who skipped it.
    pub skipped_by: String,
    /// Why it could not be digested.
    pub error: Option<String>,
    /// When it was skipped.
    pub skipped_at: Timestamp,
}

impl From<SkippedEvent> for SkippedView {
    fn from(skipped: SkippedEvent) -> Self {
        Self {
            consumer: skipped.consumer,
            position: skipped.position,
            event_id: skipped.event_id,
            org_id: skipped.org_id,
            reason: skipped.reason,
            skipped_by: skipped.skipped_by,
            error: skipped.error,
            skipped_at: skipped.skipped_at,
        }
    }
}

impl Action for SkipEvent {
    const SPEC: Spec =
        Spec::invoke("skip_event", "/consumers/{consumer}/skip").needs(Access::Operate).destroys();
    type Output = SkippedView;
    async fn act(self, system: &System) -> Result<SkippedView> {
        must_exist(system, &self.consumer)?;
        let order = Skip {
            consumer: self.consumer,
            position: Position(self.position),
            reason: self.reason,
            skipped_by: actor(),
        };
        let skipped = stall::skip(system.pool(), &order).await.map_err(skip_error)?;
        let (consumer, position) = (&skipped.consumer, skipped.position);
        tracing::warn!(consumer, %position, reason = order.reason, "an operator skips an event");
        Ok(skipped.into())
    }
}

fn skip_error(error: SkipError) -> Error {
    match error {
        SkipError::NotStalledThere { .. } => NotGranted::NotStalledThere(error.to_string()).into(),
        SkipError::Busy { .. } => NotGranted::Busy(error.to_string()).into(),
        SkipError::Database(error) => error.into(),
    }
}

/// Who asked for the action that is under way.
pub(super) fn actor() -> String {
    let name = super::ACTOR.try_with(|principal| match principal {
        Principal::User { user_id, .. } => format!("user {user_id}"),
        Principal::System { name } => name.clone(),
        Principal::Anonymous => "nobody".to_owned(),
    });
    name.unwrap_or_else(|_| "the platform".to_owned())
}

/// List the events that consumers leave out by order of an operator, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSkippedEvents {
    /// Only those of this consumer.
    #[serde(default)]
    pub consumer: Option<String>,
    /// How many to list; 50 unless told.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: u32,
}

const fn fifty() -> u32 {
    50
}

/// Events that consumers leave out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SkippedEvents {
    /// The events, the last one skipped first.
    pub items: Vec<SkippedView>,
}

impl Action for ListSkippedEvents {
    const SPEC: Spec = Spec::read("list_skipped_events", "/skipped_events").needs(Access::Operate);
    type Output = SkippedEvents;
    async fn act(self, system: &System) -> Result<SkippedEvents> {
        let mut reading = store::begin_reading(system.pool()).await?;
        let consumer = self.consumer.as_deref();
        let skipped = stall::list_skipped(&mut reading, consumer, self.limit).await?;
        reading.rollback().await?;
        Ok(SkippedEvents { items: skipped.into_iter().map(SkippedView::from).collect() })
    }
}

fn must_exist(system: &System, consumer: &str) -> Result<()> {
    let mut known = system.catalog().domains().iter().flat_map(subtree::cursors);
    let is_known = known.any(|following| following.name == consumer);
    is_known.then_some(()).ok_or_else(|| NotGranted::NoSuchConsumer(consumer.to_owned()).into())
}
