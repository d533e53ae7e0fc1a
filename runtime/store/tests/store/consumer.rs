//! Consuming: every event has its effect once, in order, whatever dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kernel::{OrgId, Position};
use serde_json::json;
use sqlx::PgConnection;
use store::consumer::{ConsumeError, Consumer, ConsumerError, ConsumerState, Start};
use store::{Log, SealedEvent, cursor, sealer};
use tokio::sync::watch;

use crate::database::{TestLog, opened, supervise, told, within};

/// A log, and a table in which consumers leave their effects.
async fn log_with_effects() -> TestLog {
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

async fn leave_effect(
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
fn consumer(
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

fn willing(name: &'static str, log: &Log) -> Consumer {
    consumer(name, log, |_| None)
}

async fn effects(log: &TestLog, consumer: &str) -> Vec<i64> {
    sqlx::query_scalar("select position from public.effects where consumer = $1 order by place")
        .bind(consumer)
        .fetch_all(&log.owner)
        .await
        .expect("the owner may look")
}

async fn cursor_of(log: &TestLog, name: &str) -> i64 {
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let cursors = cursor::list(&mut reading).await.expect("cursors can be read");
    let cursor = cursors.into_iter().find(|cursor| cursor.name == name);
    cursor.map_or(-1, |cursor| cursor.position.0)
}

async fn reaches(status: &mut watch::Receiver<store::consumer::ConsumerStatus>, position: i64) {
    within(status.wait_for(|status| status.position >= Position(position)))
        .await
        .expect("the consumer tells what it does");
}

fn refused(reason: &'static str) -> ConsumeError {
    ConsumeError::Refused(reason.into())
}

#[tokio::test]
async fn every_event_has_its_effect_once_and_in_order() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 20).await;
    let consumer = willing("once", &log.log);

    let first = consumer.run_once().await.expect("nothing is in the way");
    let second = consumer.run_once().await.expect("nothing is in the way");

    assert_eq!((first.applied, second.applied), (20, 0));
    assert_eq!(effects(&log, "once").await, (1..=20).collect::<Vec<_>>());
    assert_eq!(cursor_of(&log, "once").await, 20);
}

#[tokio::test]
async fn an_effect_that_fails_leaves_neither_effect_nor_cursor() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 1).await;
    let consumer = consumer("fails", &log.log, |_| Some(refused("not today")));

    let failed = consumer.run_once().await;

    assert!(matches!(failed, Err(ConsumerError::Stalled { position: Position(1), .. })));
    assert_eq!(effects(&log, "fails").await, Vec::<i64>::new());
    assert_eq!(cursor_of(&log, "fails").await, 0);
}

#[tokio::test]
async fn a_consumer_that_dies_between_effect_and_commit_repeats_neither() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 5).await;
    // The future is dropped after the effects were written, as when a process is killed.
    let reached = Arc::new(tokio::sync::Notify::new());
    let told = reached.clone();
    let dying = Consumer::new("dies", &log.log, move |connection, events| -> BoxFuture<'_, _> {
        let told = told.clone();
        async move {
            for event in &events {
                leave_effect(connection, "dies", event).await?;
            }
            told.notify_one();
            std::future::pending().await
        }
        .boxed()
    })
    .filter([("recruit".to_owned(), "job_order_opened".to_owned())]);
    within(async {
        tokio::select! {
            _ = dying.run_once() => panic!("it never ends"),
            () = reached.notified() => {}
        }
    })
    .await;

    let survivor = willing("dies", &log.log).run_once().await.expect("nothing is in the way");

    assert_eq!(survivor.applied, 5);
    assert_eq!(effects(&log, "dies").await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_consumer_sees_the_types_it_asked_for_and_passes_over_the_rest() {
    let log = log_with_effects().await;
    let org_id = OrgId::new();
    for event in [
        opened(org_id, 1),
        told(org_id, "recruit", "job_order_filled", json!({})),
        told(org_id, "pulse", "job_order_opened", json!({})),
        opened(org_id, 2),
        told(org_id, "pulse", "roster_template_drafted", json!({})),
    ] {
        log.record(&event).await;
    }
    sealer::seal_all(&log.log).await.expect("sealing works");

    let progress = willing("picky", &log.log).run_once().await.expect("nothing is in the way");

    assert_eq!(progress.applied, 2);
    assert_eq!(progress.position, Position(5));
    assert_eq!(effects(&log, "picky").await, [1, 4]);
}

#[tokio::test]
async fn a_consumer_that_begins_now_sees_nothing_older() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 3).await;
    let consumer = willing("late", &log.log).from(Start::Now);
    consumer.run_once().await.expect("nothing is in the way");
    log.seal_some(OrgId::new(), 2).await;

    consumer.run_once().await.expect("nothing is in the way");

    assert_eq!(effects(&log, "late").await, [4, 5]);
}

#[tokio::test]
async fn events_are_applied_as_they_are_sealed() {
    let log = log_with_effects().await;
    let consumer = willing("live", &log.log);
    let mut status = consumer.status();
    let committed = Arc::new(AtomicUsize::new(0));
    let counted = committed.clone();
    let consumer = consumer.on_committed(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let root = supervise([sealer::child(&log.log), consumer.child()]).await;

    log.record(&opened(OrgId::new(), 1)).await;
    reaches(&mut status, 1).await;

    assert_eq!(effects(&log, "live").await, [1]);
    assert_eq!(committed.load(Ordering::Relaxed), 1);
    root.stop().await;
}

#[tokio::test]
async fn a_poisonous_event_stalls_its_consumer_alone_and_only_there() {
    let log = log_with_effects().await;
    let is_poisonous = Arc::new(AtomicBool::new(true));
    let poison = is_poisonous.clone();
    let sick = consumer("sick", &log.log, move |event| {
        let refuses = event.position == Position(3) && poison.load(Ordering::Relaxed);
        refuses.then(|| refused("no such client"))
    });
    let well = willing("well", &log.log);
    let (mut of_sick, mut of_well) = (sick.status(), well.status());
    log.seal_some(OrgId::new(), 5).await;
    let root = supervise([sick.child(), well.child()]).await;

    let is_stalled = |status: &store::consumer::ConsumerStatus| match &status.state {
        ConsumerState::Stalled { stalled_at, error, attempts, .. } => {
            *stalled_at == Position(3) && error.ends_with("no such client") && *attempts >= 2
        }
        _ => false,
    };
    within(of_sick.wait_for(is_stalled)).await.expect("it tells why it stalls");
    reaches(&mut of_well, 5).await;
    let before = effects(&log, "sick").await;
    is_poisonous.store(false, Ordering::Relaxed);
    reaches(&mut of_sick, 5).await;

    assert_eq!(before, [1, 2], "everything before the poison has had its effect");
    assert_eq!(effects(&log, "sick").await, [1, 2, 3, 4, 5]);
    assert_eq!(effects(&log, "well").await, [1, 2, 3, 4, 5]);
    root.stop().await;
}

#[tokio::test]
async fn a_panic_over_an_event_is_a_stall_and_no_crash() {
    let log = log_with_effects().await;
    let mut panics = consumer("panics", &log.log, |_| panic!("index out of bounds"));
    let mut status = panics.status();
    panics = panics.id("clumsy");
    log.seal_some(OrgId::new(), 1).await;

    let root = supervise([panics.child()]).await;
    within(status.wait_for(|status| matches!(status.state, ConsumerState::Stalled { .. })))
        .await
        .expect("it tells why it stalls");

    let ConsumerState::Stalled { error, .. } = status.borrow().state.clone() else {
        panic!("it was stalled just now");
    };
    assert!(error.contains("index out of bounds"), "{error}");
    root.stop().await;
}

#[tokio::test]
async fn a_refusal_by_the_database_is_a_stall_too() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 1).await;
    let consumer = Consumer::new("breaks", &log.log, |connection, _| -> BoxFuture<'_, _> {
        async move {
            sqlx::query("select 1 / 0").execute(connection).await?;
            Ok(())
        }
        .boxed()
    })
    .filter([("recruit".to_owned(), "job_order_opened".to_owned())]);

    let stalled = consumer.run_once().await;

    assert!(matches!(stalled, Err(ConsumerError::Stalled { .. })), "{stalled:?}");
}

#[tokio::test]
async fn two_consumers_of_one_name_share_one_effect_per_event() {
    let log = log_with_effects().await;
    let other = log.another_node().await;
    let (one, two) = (willing("shared", &log.log), willing("shared", &other));
    let mut status = one.status();
    let root = supervise([sealer::child(&log.log), one.id("one").child()]).await;
    let elsewhere = supervise([sealer::child(&other), two.id("two").child()]).await;

    let org_id = OrgId::new();
    for number in 1..=200 {
        log.record(&opened(org_id, number)).await;
    }
    reaches(&mut status, 200).await;

    assert_eq!(effects(&log, "shared").await, (1..=200).collect::<Vec<_>>());
    root.stop().await;
    elsewhere.stop().await;
}

#[tokio::test]
async fn a_consumer_goes_on_after_postgres_has_cut_its_connections() {
    let log = log_with_effects().await;
    let consumer = willing("cut", &log.log);
    let mut status = consumer.status();
    let root = supervise([sealer::child(&log.log), consumer.child()]).await;
    let org_id = OrgId::new();

    for round in 1..=5 {
        log.record(&opened(org_id, round)).await;
        reaches(&mut status, round).await;
        log.cut_connections().await;
    }

    assert_eq!(effects(&log, "cut").await, [1, 2, 3, 4, 5]);
    root.stop().await;
}

#[tokio::test]
async fn a_cursor_passes_what_is_of_no_interest_without_a_write_for_each() {
    let log = log_with_effects().await;
    let consumer = willing("idle", &log.log);
    let mut status = consumer.status();
    let root = supervise([sealer::child(&log.log), consumer.child()]).await;
    let org_id = OrgId::new();
    for _ in 0..20 {
        log.record(&told(org_id, "pulse", "roster_template_drafted", json!({}))).await;
    }
    reaches(&mut status, 20).await;

    root.stop().await;

    assert_eq!(cursor_of(&log, "idle").await, 20, "it is saved when the consumer stops");
}
