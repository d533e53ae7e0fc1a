//! The feed: how sealed events of the log become live events of the bus.

use bus::{BusEvent, Heading, Places, Source, SourceError, TopicFilter};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kernel::{Position, Topic};
use store::{Log, ReadError, SealedEvent, read};

/// What the bridge of the bus follows.
pub(crate) fn of(log: &Log) -> Source {
    let (asked, followed) = (log.clone(), log.clone());
    Source::new(
        log.head(),
        move || {
            let log = asked.clone();
            async move { Ok(sealed_head(&log).await?) }.boxed()
        },
        move |filter, after, limit| {
            let (log, filter) = (followed.clone(), filter.clone());
            async move {
                let events = matching(&log, &filter, after, limit).await?;
                Ok(events.iter().map(live_event).collect())
            }
            .boxed()
        },
    )
}

/// Where the places of durable subscriptions are kept: beside the cursors.
pub(crate) fn places(log: &Log) -> LogPlaces {
    LogPlaces { log: log.clone() }
}

/// Places in the database of the log.
#[derive(Debug)]
pub(crate) struct LogPlaces {
    log: Log,
}

impl Places for LogPlaces {
    fn find(&self, name: &str) -> BoxFuture<'static, Result<Option<Position>, SourceError>> {
        let (log, name) = (self.log.clone(), cursor_of(name));
        async move { Ok(store::place::find(log.pool(), &name).await?) }.boxed()
    }

    fn keep(&self, name: &str, position: Position) -> BoxFuture<'static, Result<(), SourceError>> {
        let (log, name) = (self.log.clone(), cursor_of(name));
        async move {
            let now = log.clock().now();
            Ok(store::place::keep(log.pool(), &name, position, now).await?)
        }
        .boxed()
    }
}

/// The name of a place among the cursors of consumers, which begin with their domain.
fn cursor_of(name: &str) -> String {
    format!("bus/{name}")
}

/// Sealed events after a position, in order, all that match among them.
async fn matching(
    log: &Log,
    filter: &TopicFilter,
    after: Position,
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let TopicFilter::Topic(topic) = filter else {
        return after_position(log, after, limit).await;
    };
    let mut reading = store::begin_reading(log.pool()).await?;
    let events = read::of_topic(&mut reading, topic, after, limit).await?;
    reading.rollback().await?;
    Ok(events)
}

/// The last sealed position, as the database has it.
pub(crate) async fn sealed_head(log: &Log) -> Result<Position, sqlx::Error> {
    let mut reading = store::begin_reading(log.pool()).await?;
    let head = read::head(&mut reading).await?;
    reading.rollback().await?;
    Ok(head)
}

/// Sealed events of all organisations after a position, in order.
pub(crate) async fn after_position(
    log: &Log,
    after: Position,
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let mut reading = store::begin_reading(log.pool()).await?;
    let events = read::after(&mut reading, after, limit).await?;
    reading.rollback().await?;
    Ok(events)
}

/// A sealed event as subscribers get it, so that a missed one is told like a live one.
#[must_use]
pub fn live_event(event: &SealedEvent) -> BusEvent {
    let topic = Topic {
        org_id: event.org_id,
        domain: event.domain.clone(),
        aggregate_id: event.aggregate_id,
    };
    let heading = Heading {
        position: event.position,
        topic,
        event_id: event.event_id,
        event_type: event.event_type.clone(),
        version: event.version,
        correlation_id: event.scope.correlation_id,
        causation_id: event.scope.causation_id,
        recorded_at: event.recorded_at,
    };
    BusEvent::new(heading, String::from_utf8_lossy(&event.payload).as_ref())
}
