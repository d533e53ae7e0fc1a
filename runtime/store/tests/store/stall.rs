//! Stalls: an event that cannot be digested, and what operators do about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::{OrgId, Position};
use store::Log;
use store::consumer::stall::{self, Skip, SkipError, Stall};
use store::consumer::{Consumer, ConsumerState, ConsumerStatus, OnPoison};
use tokio::sync::watch;

use crate::database::{TestLog, opened, supervise, within};
use crate::effects::{consumer, cursor_of, effects, log_with_effects, reaches, refused};

/// A consumer that cannot digest the event at `poison` while the switch is on.
fn poisoned(name: &'static str, log: &Log, poison: i64, is_on: &Arc<AtomicBool>) -> Consumer {
    let is_on = is_on.clone();
    consumer(name, log, move |event| {
        let refuses = event.position == Position(poison) && is_on.load(Ordering::Relaxed);
        refuses.then(|| refused("no such client"))
    })
}

fn switch() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

async fn stalls(log: &TestLog) -> Vec<Stall> {
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    stall::list(&mut reading).await.expect("stalls can be read")
}

async fn is_stalled(status: &mut watch::Receiver<ConsumerStatus>, attempts_min: u32) {
    let is_so = |status: &ConsumerStatus| match &status.state {
        ConsumerState::Stalled { attempts, .. } => *attempts >= attempts_min,
        _ => false,
    };
    within(status.wait_for(is_so)).await.expect("it tells that it stalls");
}

fn skipping(consumer: &str, position: i64) -> Skip {
    Skip {
        consumer: consumer.to_owned(),
        position: Position(position),
        reason: "the client was merged with another".to_owned(),
        skipped_by: "operator".to_owned(),
    }
}

#[tokio::test]
async fn a_stall_can_be_looked_up_on_every_node() {
    let log = log_with_effects().await;
    let org_id = OrgId::new();
    log.seal_some(org_id, 5).await;
    let consumer = poisoned("sick", &log.log, 3, &switch());
    let mut status = consumer.status();
    let root = supervise([consumer.child()]).await;
    is_stalled(&mut status, 2).await;

    let found = stalls(&log).await;

    let [stall] = &found[..] else { panic!("{found:?}") };
    assert_eq!((stall.consumer.as_str(), stall.org_id), ("sick", org_id));
    assert_eq!((stall.position, stall.settled_position), (Some(Position(3)), Position(2)));
    assert!(stall.error.as_ref().is_some_and(|error| error.ends_with("no such client")));
    assert!(stall.attempts >= 2 && !stall.is_parked);
    root.stop().await;
}

#[tokio::test]
async fn a_skipped_event_is_left_out_and_kept_with_its_reason() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 5).await;
    let consumer = poisoned("sick", &log.log, 3, &switch());
    let mut status = consumer.status();
    let root = supervise([consumer.child()]).await;
    is_stalled(&mut status, 1).await;

    // From another node, which knows of the consumer what the table says.
    let elsewhere = log.another_node().await;
    let skipped =
        stall::skip(elsewhere.pool(), &skipping("sick", 3)).await.expect("it stands there");
    reaches(&mut status, 5).await;

    assert_eq!(effects(&log, "sick").await, [1, 2, 4, 5]);
    assert_eq!(stalls(&log).await, []);
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let kept = stall::list_skipped(&mut reading, Some("sick"), 10).await.expect("it can be read");
    assert_eq!(kept, [skipped]);
    assert_eq!(kept[0].reason, "the client was merged with another");
    assert!(kept[0].error.as_ref().is_some_and(|error| error.ends_with("no such client")));
    root.stop().await;
}

#[tokio::test]
async fn only_the_event_that_is_in_the_way_can_be_skipped() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 5).await;
    let consumer = poisoned("sick", &log.log, 3, &switch());
    let mut status = consumer.status();
    let root = supervise([consumer.child()]).await;
    is_stalled(&mut status, 1).await;

    for order in [skipping("sick", 2), skipping("sick", 4), skipping("well", 3)] {
        let refused = stall::skip(log.log.pool(), &order).await;
        assert!(
            matches!(refused, Err(SkipError::NotStalledThere { .. })),
            "{order:?}: {refused:?}"
        );
    }
    root.stop().await;

    assert_eq!(log.count("select count(*) from events.skipped_events").await, 0);
    assert_eq!(cursor_of(&log, "sick").await, 2);
}

#[tokio::test]
async fn a_skip_is_refused_once_the_event_has_had_its_effect() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 3).await;
    let is_on = switch();
    let consumer = poisoned("sick", &log.log, 3, &is_on);
    consumer.run_once().await.expect_err("the event is poisonous");
    is_on.store(false, Ordering::Relaxed);
    consumer.run_once().await.expect("it is no longer");

    let refused = stall::skip(log.log.pool(), &skipping("sick", 3)).await;

    assert!(matches!(refused, Err(SkipError::NotStalledThere { .. })), "{refused:?}");
    assert_eq!(effects(&log, "sick").await, [1, 2, 3]);
}

#[tokio::test]
async fn what_was_skipped_is_on_record_for_ever() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 1).await;
    poisoned("sick", &log.log, 1, &switch()).run_once().await.expect_err("it is poisonous");
    stall::skip(log.log.pool(), &skipping("sick", 1)).await.expect("it stands there");

    for attempt in [
        "update events.skipped_events set reason = 'none'",
        "delete from events.skipped_events",
        "truncate events.skipped_events",
    ] {
        let refused = sqlx::query(attempt).execute(&log.owner).await;
        let error = refused.expect_err("nobody may").to_string();
        assert!(error.contains("immutable"), "{attempt}: {error}");
    }
}

#[tokio::test]
async fn a_retry_does_not_wait_for_the_back_off() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 3).await;
    let is_on = switch();
    let consumer = poisoned("sick", &log.log, 2, &is_on);
    let mut status = consumer.status();
    let root = supervise([consumer.child()]).await;
    is_stalled(&mut status, 1).await;
    // As after many attempts: the next one is far away.
    sqlx::query("update events.stalls set attempts = 50, next_attempt_at = now() + '1 hour'")
        .execute(&log.owner)
        .await
        .expect("the owner may");
    is_on.store(false, Ordering::Relaxed);

    let elsewhere = log.another_node().await;
    let hurried = stall::retry(elsewhere.pool(), "sick").await.expect("the table is there");
    reaches(&mut status, 3).await;

    assert_eq!(hurried, 1);
    assert_eq!(effects(&log, "sick").await, [1, 2, 3]);
    assert_eq!(stall::retry(elsewhere.pool(), "sick").await.expect("the table is there"), 0);
    root.stop().await;
}

#[tokio::test]
async fn a_parked_organisation_waits_while_others_go_on_and_is_caught_up_in_order() {
    let log = log_with_effects().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    for number in 1..=10 {
        log.record(&opened(if number % 2 == 0 { acme } else { zen }, number)).await;
    }
    store::sealer::seal_all(&log.log).await.expect("sealing works");
    let is_on = switch();
    let consumer = poisoned("parks", &log.log, 4, &is_on).on_poison(OnPoison::ParkOrganisation);
    let mut status = consumer.status();
    let root = supervise([store::sealer::child(&log.log), consumer.child()]).await;

    reaches(&mut status, 10).await;
    let before = effects(&log, "parks").await;
    let parked = stalls(&log).await;
    is_on.store(false, Ordering::Relaxed);
    log.record(&opened(acme, 11)).await;
    log.record(&opened(zen, 12)).await;
    within(status.wait_for(|status| status.parked == 0 && status.position >= Position(12)))
        .await
        .expect("it tells that nobody is parked any more");

    assert_eq!(before, [1, 2, 3, 5, 7, 9]);
    assert!(matches!(&parked[..], [stall] if stall.is_parked && stall.org_id == acme));
    let mut had = effects(&log, "parks").await;
    let of_acme: Vec<i64> =
        had.iter().copied().filter(|at| (at % 2 == 0 && *at < 11) || *at == 11).collect();
    assert_eq!(of_acme, [2, 4, 6, 8, 10, 11], "in their order");
    had.sort_unstable();
    assert_eq!(had, (1..=12).collect::<Vec<_>>());
    assert_eq!(stalls(&log).await, []);
    root.stop().await;
}

#[tokio::test]
async fn a_parked_organisation_goes_on_when_its_event_is_skipped() {
    let log = log_with_effects().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    for number in 1..=6 {
        log.record(&opened(if number % 2 == 0 { acme } else { zen }, number)).await;
    }
    store::sealer::seal_all(&log.log).await.expect("sealing works");
    let consumer = consumer("parks", &log.log, |event| {
        (event.position == Position(2)).then(|| panic!("index out of bounds"))
    })
    .on_poison(OnPoison::ParkOrganisation);
    let mut status = consumer.status();
    let root = supervise([consumer.child()]).await;
    reaches(&mut status, 6).await;

    stall::skip(log.log.pool(), &skipping("parks", 2)).await.expect("it waits there");
    within(status.wait_for(|status| status.parked == 0)).await.expect("it is caught up");

    let mut had = effects(&log, "parks").await;
    had.sort_unstable();
    assert_eq!(had, [1, 3, 4, 5, 6]);
    root.stop().await;
}
