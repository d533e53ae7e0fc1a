//! The feed: how sealed events of the log become live events of the bus.

use bus::{BusEvent, Heading, Source};
use futures_util::FutureExt as _;
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
        move |after, limit| {
            let log = followed.clone();
            async move {
                let events = after_position(&log, after, limit).await?;
                Ok(events.iter().map(live_event).collect())
            }
            .boxed()
        },
    )
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
