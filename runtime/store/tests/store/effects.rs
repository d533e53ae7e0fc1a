//! Consumers that leave an effect for every event, to be counted.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kernel::Position;
use sqlx::PgConnection;
use store::consumer::{ConsumeError, Consumer, ConsumerStatus};
use store::{Log, SealedEvent, cursor};
use tokio::sync::watch;

use crate::database::{TestLog, within};

/// A log, and a table in which consumers leave their effects.
pub(crate) async fn log_with_effects() -> TestLog {
    let log = TestLog::create().await;
    sqlx::raw_sql(
        "create table public.effects (consumer text not null, position bigint not null,
            place bigint generated always as identity);
         grant select, insert on public.effects to finnest_runtime",
    )
    .execute(&log.owner)
    .await
    .expect("the owner may make tables");
    log
}

pub(crate) async fn leave_effect(
    connection: &mut PgConnection,
    consumer: &str,
    event: &SealedEvent,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into public.effects (consumer, position) values ($1, $2)")
        .bind(consumer)
        .bind(event.position.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// A consumer of opened job orders that leaves one effect per event, unless `refuse` has a reason.
pub(crate) fn consumer(
    name: &'static str,
    log: &Log,
    refuse: impl Fn(&SealedEvent) -> Option<ConsumeError> + Send + Sync + 'static,
) -> Consumer {
    let refuse = Arc::new(refuse);
    Consumer::new(name, log, move |connection, events| -> BoxFuture<'_, _> {
        let refuse = refuse.clone();
        async move {
            for event in &events {
                leave_effect(connection, name, event).await?;
                if let Some(error) = refuse(event) {
                    return Err(error);
                }
            }
            Ok(())
        }
        .boxed()
    })
    .filter([("recruit".to_owned(), "job_order_opened".to_owned())])
}

pub(crate) fn willing(name: &'static str, log: &Log) -> Consumer {
    consumer(name, log, |_| None)
}

pub(crate) async fn effects(log: &TestLog, consumer: &str) -> Vec<i64> {
    sqlx::query_scalar("select position from public.effects where consumer = $1 order by place")
        .bind(consumer)
        .fetch_all(&log.owner)
        .await
        .expect("the owner may look")
}

pub(crate) async fn cursor_of(log: &TestLog, name: &str) -> i64 {
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let cursors = cursor::list(&mut reading).await.expect("cursors can be read");
    let cursor = cursors.into_iter().find(|cursor| cursor.name == name);
    cursor.map_or(-1, |cursor| cursor.position.0)
}

pub(crate) async fn reaches(status: &mut watch::Receiver<ConsumerStatus>, position: i64) {
    within(status.wait_for(|status| status.position >= Position(position)))
        .await
        .expect("the consumer tells what it does");
}

pub(crate) fn refused(reason: &'static str) -> ConsumeError {
    ConsumeError::Refused(reason.into())
}
