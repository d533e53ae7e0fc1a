//! Sealing: one gapless order over concurrent writers, whatever dies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use kernel::{OrgId, Position};
use otp::{Clock, Intensity, Root, Strategy, SupervisorSpec};
use store::{SealedEvent, read, sealer};

use crate::database::{TestLog, leads, opened, supervise, told, within};

/// Events read at once: more than any test here records.
const EVERYTHING: u32 = 100_000;

async fn everything(log: &TestLog) -> Vec<SealedEvent> {
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    read::after(&mut reading, Position::ORIGIN, EVERYTHING).await.expect("the log can be read")
}

/// `writers` writers at once, each recording `count` events, for `organisations` in turn.
async fn write_concurrently(log: &TestLog, writers: i64, count: i64, organisations: &[OrgId]) {
    join_all((0..writers).map(async |writer| {
        for number in 0..count {
            let index = usize::try_from(writer + number).expect("small") % organisations.len();
            let mut event = opened(organisations[index], number);
            event.payload["writer"] = writer.into();
            log.record(&event).await;
        }
    }))
    .await;
}

/// Asserts that positions and sequences are gapless and that each writer's events kept their order.
fn assert_ordered(events: &[SealedEvent], expected: usize) {
    assert_eq!(events.len(), expected);
    let mut sequences: HashMap<OrgId, i64> = HashMap::new();
    let mut writers: HashMap<i64, i64> = HashMap::new();
    for (event, position) in events.iter().zip(1..) {
        assert_eq!(event.position, Position(position));
        let sequence = sequences.entry(event.org_id).or_default();
        *sequence += 1;
        assert_eq!(event.org_sequence, *sequence);
        let payload = event.payload_json().expect("the payload is JSON");
        let (writer, number) = (payload["writer"].as_i64(), payload["number"].as_i64());
        let next = writers.entry(writer.expect("a writer")).or_default();
        assert_eq!(number, Some(*next));
        *next += 1;
    }
}

#[tokio::test]
async fn a_thousand_concurrent_appends_are_sealed_without_a_gap() {
    let log = TestLog::create().await;
    let organisations: Vec<OrgId> = (0..5).map(|_| OrgId::new()).collect();
    let root = supervise([sealer::child(&log.log)]).await;

    write_concurrently(&log, 20, 50, &organisations).await;
    log.sealed_up_to(1_000).await;

    assert_ordered(&everything(&log).await, 1_000);
    log.assert_holds().await;
    assert_eq!(log.log.sealer_stats().counts().sealed_events, 1_000);
    root.stop().await;
}

#[tokio::test]
async fn a_transaction_that_hangs_delays_nobody_and_is_sealed_when_it_commits() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let root = supervise([sealer::child(&log.log)]).await;
    let slow = opened(org_id, 0);
    let mut hanging = log.begin("recruit", org_id).await;
    store::append(&mut hanging, &slow).await.expect("a domain may append");

    for number in 1..=50 {
        log.record(&opened(org_id, number)).await;
    }
    log.sealed_up_to(50).await;
    let before = everything(&log).await;
    hanging.commit().await.expect("nothing is in the way");
    log.log.nudge();
    log.sealed_up_to(51).await;

    assert!(before.iter().all(|event| event.event_id != slow.event_id));
    assert_eq!(everything(&log).await[50].event_id, slow.event_id);
    log.assert_holds().await;
    root.stop().await;
}

#[tokio::test]
async fn an_event_nobody_nudged_for_is_found_by_the_slow_scan() {
    let log = TestLog::create().await;
    let root = supervise([sealer::child(&log.log)]).await;
    let elsewhere = log.another_node().await;

    let org_id = OrgId::new();
    let mut transaction = log.begin("recruit", org_id).await;
    store::append(&mut transaction, &opened(org_id, 1)).await.expect("a domain may append");
    transaction.commit().await.expect("nothing is in the way");

    log.sealed_up_to(1).await;
    drop(elsewhere);
    root.stop().await;
}

#[tokio::test]
async fn events_are_sealed_in_the_order_of_their_arrival_over_many_batches() {
    let log = TestLog::create().await;
    log.insert_many(25_000).await;

    let sealed = sealer::seal_all(&log.log).await.expect("sealing works");

    let misplaced = log
        .count(
            "select count(*) from (
                 select seal.position, row_number() over (order by event.arrival) as expected
                 from events.seals as seal
                 join events.domain_events as event on event.id = seal.event_id
             ) as place where place.position <> place.expected",
        )
        .await;
    assert_eq!((sealed, misplaced), (25_000, 0));
    log.assert_holds().await;
}

#[tokio::test]
async fn a_look_that_was_left_unfinished_is_finished_first() {
    let log = TestLog::create().await;
    log.insert_many(20_000).await;
    sealer::seal_all(&log.log).await.expect("sealing works");
    log.insert_many(20_001).await;
    sealer::seal_all(&log.log).await.expect("sealing works");
    // As if the leader had died after the first of the last two batches.
    log.tamper("delete from events.seals where position > 40000").await;

    let sealed = sealer::seal_all(&log.another_node().await).await.expect("sealing works");

    assert_eq!(sealed, 1);
    log.assert_holds().await;
}

#[tokio::test]
async fn two_sealers_never_seal_an_event_twice() {
    let log = TestLog::create().await;
    let other = log.another_node().await;
    let organisations = [OrgId::new(), OrgId::new()];
    let one = supervise([sealer::child(&log.log)]).await;
    let two = supervise([sealer::child(&other)]).await;

    // Writers of both nodes, and leaders that lose their sessions under them.
    let cuts = async {
        for _ in 0..8 {
            cut_leader(&log).await;
            tokio::task::yield_now().await;
            write_concurrently(&log, 1, 1, &organisations).await;
        }
    };
    let writes = join_all((0..16).map(async |writer: i64| {
        for number in 0..25 {
            let org_id = organisations[usize::try_from(number % 2).expect("small")];
            let mut event = opened(org_id, number);
            event.payload["writer"] = (writer + 100).into();
            log.record(&event).await;
            other.nudge();
        }
    }));
    tokio::join!(cuts, writes);

    log.sealed_up_to(408).await;
    within(other.wait_until(Position(408))).await;
    assert_eq!(log.count("select count(*) from events.seals").await, 408);
    log.assert_holds().await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn killing_the_sealer_again_and_again_loses_and_doubles_nothing() {
    let log = TestLog::create().await;
    let organisations = [OrgId::new(), OrgId::new()];
    let patient = Intensity::new(1_000, Duration::from_mins(1));
    let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(patient);
    let root = Root::start(spec.child(sealer::child(&log.log)), Clock::system())
        .await
        .expect("the sealer starts");
    let is_done = AtomicBool::new(false);

    let kills = async {
        let mut restarts = root.tree().changes();
        let mut kills = 0;
        while !is_done.load(Ordering::Relaxed) || kills < 20 {
            kills += i32::from(root.tree().kill("root/sealer").is_ok());
            within(restarts.changed()).await.expect("the tree is there");
            // Lets some of them live long enough to be killed in the middle of a batch.
            log.count("select count(*) from events.seals").await;
        }
    };
    let writes = async {
        write_concurrently(&log, 16, 25, &organisations).await;
        is_done.store(true, Ordering::Relaxed);
    };
    tokio::join!(kills, writes);
    log.sealed_up_to(400).await;

    assert_ordered(&everything(&log).await, 400);
    log.assert_holds().await;
    root.stop().await;
}

#[tokio::test]
async fn a_standby_takes_over_within_two_seconds() {
    let log = TestLog::create().await;
    let standby = log.another_node().await;
    let leading = supervise([sealer::child(&log.log)]).await;
    leads(&log.log).await;
    let root = supervise([sealer::child(&standby)]).await;

    leading.stop().await;
    log.record(&opened(OrgId::new(), 1)).await;
    let taken_over =
        tokio::time::timeout(Duration::from_secs(2), standby.wait_until(Position(1))).await;

    assert!(taken_over.is_ok());
    root.stop().await;
}

#[tokio::test]
async fn a_leader_whose_epoch_has_passed_stores_nothing() {
    let log = TestLog::create().await;
    let root = supervise([sealer::child(&log.log)]).await;
    log.record(&opened(OrgId::new(), 1)).await;
    log.sealed_up_to(1).await;

    // As a second leader would that the lock did not keep out.
    sqlx::query("update events.sealer_state set epoch = epoch + 1")
        .execute(&log.owner)
        .await
        .expect("the owner may meddle");
    log.record(&opened(OrgId::new(), 2)).await;
    log.sealed_up_to(2).await;

    assert_eq!(log.log.sealer_stats().counts().failures, 1);
    assert_eq!(log.count("select epoch from events.sealer_state").await, 3);
    log.assert_holds().await;
    root.stop().await;
}

#[tokio::test]
async fn the_sealer_goes_on_after_postgres_has_cut_its_connections() {
    let log = TestLog::create().await;
    let root = supervise([sealer::child(&log.log)]).await;
    log.record(&opened(OrgId::new(), 1)).await;
    log.sealed_up_to(1).await;

    log.cut_connections().await;
    let org_id = OrgId::new();
    log.insert_many(1).await;
    log.log.nudge();
    log.sealed_up_to(2).await;
    log.record(&opened(org_id, 2)).await;
    log.sealed_up_to(3).await;

    log.assert_holds().await;
    root.stop().await;
}

#[tokio::test]
async fn what_was_committed_before_a_stop_is_sealed_by_it() {
    let log = TestLog::create().await;
    let root = supervise([sealer::child(&log.log)]).await;
    leads(&log.log).await;
    log.insert_many(3).await;

    root.stop().await;

    assert_eq!(log.count("select count(*) from events.seals").await, 3);
    assert_eq!(log.count("select noted_position from events.sealer_state").await, 3);
}

#[tokio::test]
async fn an_event_with_the_id_of_a_sealed_one_is_set_aside_and_stops_nobody() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let first = opened(org_id, 1);
    let mut second = first.clone();
    second.recorded_at += Duration::from_secs(1);
    let mut third = second.clone();
    third.recorded_at += Duration::from_secs(1);
    log.record(&first).await;
    log.record(&second).await;
    sealer::seal_all(&log.log).await.expect("a duplicate in one batch is no obstacle");
    log.record(&third).await;
    log.record(&opened(org_id, 2)).await;

    sealer::seal_all(&log.log).await.expect("a duplicate of a sealed event is none either");

    assert_eq!(log.count("select count(*) from events.seals").await, 2);
    assert_eq!(log.count("select count(*) from events.duplicates").await, 2);
    let sealed: Vec<_> = everything(&log).await.iter().map(|event| event.recorded_at).collect();
    assert_eq!(sealed[0].timestamp_micros(), first.recorded_at.timestamp_micros());
    log.assert_holds().await;
}

#[tokio::test]
async fn a_log_restored_into_another_cluster_is_compared_and_sealed_on() {
    let log = TestLog::create().await;
    log.seal_some(OrgId::new(), 3).await;
    // What a restore looks like: another cluster, and transaction ids far behind the snapshots.
    sqlx::query("update events.sealer_state set system_identifier = 1")
        .execute(&log.owner)
        .await
        .expect("the owner may meddle");
    log.tamper(
        "update events.seals set sealed_snapshot = '900000000:900000000:'
         where sealed_snapshot is not null",
    )
    .await;
    log.record(&opened(OrgId::new(), 4)).await;

    let missed = sealer::seal_all(&log.another_node().await).await.expect("sealing works");
    log.record(&opened(OrgId::new(), 5)).await;
    let next = sealer::seal_all(&log.another_node().await).await.expect("sealing works");

    assert_eq!((missed, next), (1, 1));
    log.assert_holds().await;
}

#[tokio::test]
async fn other_domains_events_share_the_order_but_not_the_chain() {
    let log = TestLog::create().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    log.record(&opened(acme, 1)).await;
    log.record(&told(zen, "pulse", "roster_template_drafted", serde_json::json!({}))).await;
    log.record(&opened(acme, 2)).await;

    sealer::seal_all(&log.log).await.expect("sealing works");

    let events = everything(&log).await;
    assert_eq!(events[1].previous_hash, kernel::Digest::GENESIS);
    assert_eq!(events[2].previous_hash, events[0].hash);
}

/// Ends the session that holds the leader's lock, if one does.
async fn cut_leader(log: &TestLog) {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_locks
         where locktype = 'advisory' and granted and database =
             (select oid from pg_database where datname = current_database())",
    )
    .execute(&log.owner)
    .await
    .expect("a superuser may end sessions");
}
