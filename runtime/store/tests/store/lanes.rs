//! Lanes: a consumer divided by organisation, and divided anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::{OrgId, Position};
use serde_json::json;
use store::consumer::{Consumer, ConsumerState, ConsumerStatus, Filter, lag};
use store::{Log, cursor, sealer};
use tokio::sync::watch;
use uuid::Uuid;

use crate::database::{TestLog, opened, supervise, told, within};
use crate::effects::{consumer, effects, log_with_effects, refused, willing};

/// The organisation whose id ends in `number`, which decides its lane.
fn organisation(number: u128) -> OrgId {
    OrgId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | number))
}

async fn record(log: &TestLog, organisations: u128, count: i64) {
    for number in 1..=count {
        let org_id = organisation(u128::try_from(number).unwrap_or_default() % organisations);
        log.record(&opened(org_id, number)).await;
    }
}

async fn all_reach(statuses: &mut [watch::Receiver<ConsumerStatus>], position: i64) {
    for status in statuses {
        within(status.wait_for(|status| status.position >= Position(position)))
            .await
            .expect("the lane tells what it does");
    }
}

async fn names_of_cursors(log: &TestLog) -> Vec<String> {
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let cursors = cursor::list(&mut reading).await.expect("cursors can be read");
    cursors.into_iter().map(|cursor| cursor.name).collect()
}

/// The effects on each organisation, in the order they were had.
async fn effects_by_organisation(log: &TestLog, name: &str) -> Vec<(Uuid, Vec<i64>)> {
    sqlx::query_as(
        "select seal.org_id, array_agg(effect.position order by effect.place)
         from public.effects as effect
         join events.seals as seal on seal.position = effect.position
         where effect.consumer = $1
         group by seal.org_id",
    )
    .bind(name)
    .fetch_all(&log.owner)
    .await
    .expect("the owner may look")
}

#[tokio::test]
async fn each_lane_has_a_cursor_and_keeps_the_order_of_its_organisations() {
    let log = log_with_effects().await;
    let consumer = willing("divided", &log.log).lanes(3);
    let mut statuses = consumer.statuses();
    let root = supervise([sealer::child(&log.log), consumer.child()]).await;

    record(&log, 7, 140).await;
    all_reach(&mut statuses, 140).await;

    assert_eq!(names_of_cursors(&log).await, ["divided#1/3", "divided#2/3", "divided#3/3"]);
    let mut had = effects(&log, "divided").await;
    had.sort_unstable();
    assert_eq!(had, (1..=140).collect::<Vec<_>>());
    for (org_id, positions) in effects_by_organisation(&log, "divided").await {
        assert!(positions.is_sorted(), "{org_id}: {positions:?}");
    }
    root.stop().await;
}

#[tokio::test]
async fn a_poisonous_organisation_holds_up_its_lane_and_no_other() {
    let log = log_with_effects().await;
    let sick = consumer("lanes", &log.log, |event| {
        (event.org_id == organisation(1)).then(|| refused("no such client"))
    })
    .lanes(2);
    let mut statuses = sick.statuses();
    record(&log, 4, 40).await;
    sealer::seal_all(&log.log).await.expect("sealing works");
    let root = supervise([sick.child()]).await;

    all_reach(&mut statuses[..1], 40).await;
    within(statuses[1].wait_for(|status| matches!(status.state, ConsumerState::Stalled { .. })))
        .await
        .expect("it tells why it stalls");

    let even: Vec<i64> = (1..=40).filter(|number| number % 2 == 0).collect();
    assert_eq!(effects(&log, "lanes").await, even);
    root.stop().await;
}

#[tokio::test]
async fn the_lag_of_each_lane_counts_its_own_events() {
    let log = log_with_effects().await;
    let consumer = willing("behind", &log.log).lanes(2);
    consumer.run_once().await.expect("nothing is in the way");
    for number in 1..=10 {
        log.record(&opened(organisation(0), number)).await;
        log.record(&told(organisation(1), "pulse", "shift_filled", json!({}))).await;
    }
    log.record(&opened(organisation(1), 1)).await;
    sealer::seal_all(&log.log).await.expect("sealing works");

    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let filter = Filter::none().event("recruit", "job_order_opened");
    let head = store::read::head(&mut reading).await.expect("the head can be read");
    let lags = lag::of_consumer(&mut reading, "behind", &filter, head).await;
    let lags = lags.expect("the lag can be read");

    let seen: Vec<_> = lags.iter().map(|lag| (lag.name.as_str(), lag.events)).collect();
    assert_eq!(seen, [("behind#1/2", 10), ("behind#2/2", 1)]);
    assert!(lags.iter().all(|lag| lag.holder.is_none() && !lag.is_estimated));
}

/// Runs the consumer in so many lanes until all but the one that stands still have come to
/// `position`.
async fn run_in(log: &TestLog, make: impl Fn(&Log) -> Consumer, lanes: u16, position: i64) {
    let consumer = make(&log.log).lanes(lanes);
    let mut statuses = consumer.statuses();
    if lanes > 1 {
        statuses.remove(3 % usize::from(lanes));
    }
    let root = supervise([consumer.child()]).await;
    all_reach(&mut statuses, position).await;
    root.stop().await;
}

#[tokio::test]
async fn another_number_of_lanes_neither_loses_nor_repeats_an_effect() {
    let log = log_with_effects().await;
    let is_poisonous = Arc::new(AtomicBool::new(true));
    let make = {
        let is_poisonous = is_poisonous.clone();
        move |log: &Log| {
            let is_poisonous = is_poisonous.clone();
            // One organisation stands still, so that the lanes stand at different places.
            consumer("changing", log, move |event| {
                let refuses = event.org_id == organisation(3)
                    && event.position > Position(60)
                    && is_poisonous.load(Ordering::Relaxed);
                refuses.then(|| refused("no such client"))
            })
        }
    };
    let root = supervise([sealer::child(&log.log)]).await;
    let running = async {
        run_in(&log, &make, 1, 40).await;
        for lanes in [4, 3, 5, 2] {
            run_in(&log, &make, lanes, 120).await;
        }
    };

    tokio::join!(running, record(&log, 11, 400));
    log.sealed_up_to(400).await;
    is_poisonous.store(false, Ordering::Relaxed);
    make(&log.log).run_once().await.expect("nothing is in the way any more");

    assert_eq!(names_of_cursors(&log).await, ["changing"]);
    let mut had = effects(&log, "changing").await;
    had.sort_unstable();
    assert_eq!(had, (1..=400).collect::<Vec<_>>());
    for (org_id, positions) in effects_by_organisation(&log, "changing").await {
        assert!(positions.is_sorted(), "{org_id}: {positions:?}");
    }
    root.stop().await;
}
