//! Verification: a superuser tampers with triggers switched off, and is found out.

use std::sync::atomic::{AtomicBool, Ordering};

use kernel::{OrgId, Position};
use store::verify::{Problem, Verdict, verify};

use crate::database::{TestLog, opened, supervise};

/// Two organisations with six events each, in turn: odd positions are acme's.
async fn tampered(statement: &str) -> (TestLog, OrgId, OrgId) {
    let log = TestLog::create().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    for _ in 0..6 {
        log.seal_some(acme, 1).await;
        log.seal_some(zen, 1).await;
    }
    if !statement.is_empty() {
        log.tamper(statement).await;
    }
    (log, acme, zen)
}

async fn verdict(log: &TestLog, org_id: Option<OrgId>) -> Verdict {
    verify(log.log.pool(), org_id, |_| {}).await.expect("the log can be read")
}

async fn check(statement: &str, expected: &[(i64, Problem)]) {
    let (log, ..) = tampered(statement).await;

    let verdict = verdict(&log, None).await;

    let found: Vec<(i64, Problem)> = verdict
        .broken
        .iter()
        .map(|found| (found.position.map_or(0, |position| position.0), found.problem))
        .collect();
    assert_eq!(found, expected, "{statement}");
    assert_eq!(verdict.broken_count, expected.len() as u64);
}

#[tokio::test]
async fn an_untouched_log_holds() {
    let (log, acme, _) = tampered("").await;
    let mut last = None;

    let everything = verify(log.log.pool(), None, |progress| last = Some(progress))
        .await
        .expect("the log can be read");
    let of_acme = verdict(&log, Some(acme)).await;

    assert!(everything.holds() && of_acme.holds());
    assert_eq!((everything.organisations, everything.events), (2, 12));
    assert_eq!((of_acme.organisations, of_acme.events), (1, 6));
    assert_eq!(
        last.map(|progress| (progress.position, progress.head)),
        Some((Position(12), Position(12)))
    );
}

#[tokio::test]
async fn what_is_sealed_meanwhile_is_never_taken_for_a_break() {
    let log = TestLog::create().await;
    let root = supervise([store::sealer::child(&log.log)]).await;
    let is_done = AtomicBool::new(false);

    let writes = async {
        let org_id = OrgId::new();
        for number in 1..=200 {
            log.record(&opened(org_id, number)).await;
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let verdicts = async {
        while !is_done.load(Ordering::Relaxed) {
            let verdict = verdict(&log, None).await;
            assert!(verdict.holds(), "{:?}", verdict.broken);
        }
    };
    tokio::join!(writes, verdicts);

    log.sealed_up_to(200).await;
    root.stop().await;
}

#[tokio::test]
async fn a_changed_payload_is_found_at_its_position() {
    check(
        "update events.domain_events set payload = '{\"number\":2}'
         where id = (select event_id from events.seals where position = 5)",
        &[(5, Problem::HashMismatch)],
    )
    .await;
}

#[tokio::test]
async fn a_changed_author_or_time_is_found_too() {
    check(
        "update events.domain_events set metadata = convert_to(
             replace(convert_from(metadata, 'UTF8'), 'test', 'ghost'), 'UTF8')
         where id = (select event_id from events.seals where position = 7);
         update events.domain_events set event_type = 'job_order_cancelled'
         where id = (select event_id from events.seals where position = 8)",
        &[(7, Problem::HashMismatch), (8, Problem::HashMismatch)],
    )
    .await;
}

#[tokio::test]
async fn a_deleted_event_is_found_where_it_was() {
    check(
        "delete from events.domain_events
         where id = (select event_id from events.seals where position = 6)",
        &[(6, Problem::MissingEvent)],
    )
    .await;
}

#[tokio::test]
async fn an_event_deleted_with_its_seal_leaves_a_gap() {
    check(
        "delete from events.domain_events
         where id = (select event_id from events.seals where position = 6);
         delete from events.seals where position = 6",
        &[(7, Problem::GapInPosition), (8, Problem::GapInSequence)],
    )
    .await;
}

#[tokio::test]
async fn a_seal_deleted_alone_leaves_its_event_behind() {
    check(
        "delete from events.seals where position = 6",
        &[(7, Problem::GapInPosition), (8, Problem::GapInSequence), (0, Problem::MissingSeal)],
    )
    .await;
}

#[tokio::test]
async fn two_events_that_swapped_contents_are_found_at_both_places() {
    check(
        "update events.domain_events as event
         set aggregate_id = other.aggregate_id, payload = other.payload
         from events.seals as seal, events.seals as other_seal, events.domain_events as other
         where event.id = seal.event_id and other.id = other_seal.event_id
             and (seal.position, other_seal.position) in ((3, 5), (5, 3))",
        &[(3, Problem::HashMismatch), (5, Problem::HashMismatch)],
    )
    .await;
}

#[tokio::test]
async fn two_events_that_swapped_places_are_found_at_both() {
    check(
        "update events.seals set position = 100 where position = 3;
         update events.seals set position = 3 where position = 5;
         update events.seals set position = 5 where position = 100",
        &[(3, Problem::GapInSequence), (5, Problem::GapInSequence), (7, Problem::GapInSequence)],
    )
    .await;
}

#[tokio::test]
async fn a_forged_link_is_found_at_its_successor() {
    check(
        "update events.seals set previous_hash = sha256('x'), hash = sha256('y')
         where position = 5",
        &[
            (5, Problem::PreviousMismatch),
            (5, Problem::HashMismatch),
            (7, Problem::PreviousMismatch),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_noticed() {
    check(
        "delete from events.domain_events
         where id in (select event_id from events.seals where position > 9);
         delete from events.seals where position > 9",
        &[(12, Problem::TailCutOff)],
    )
    .await;
}

#[tokio::test]
async fn a_cursor_remembers_a_tail_even_if_the_noted_head_was_changed_too() {
    check(
        "insert into events.cursors (name, position, updated_at) values ('pulse', 11, now());
         delete from events.domain_events
         where id in (select event_id from events.seals where position > 9);
         delete from events.seals where position > 9;
         update events.sealer_state set noted_position = 9",
        &[(11, Problem::TailCutOff)],
    )
    .await;
}

#[tokio::test]
async fn one_tenants_trail_is_judged_without_the_others() {
    let (log, acme, zen) = tampered(
        "update events.domain_events set payload = '{\"number\":2}'
         where id = (select event_id from events.seals where position = 6)",
    )
    .await;

    let (of_acme, of_zen) = (verdict(&log, Some(acme)).await, verdict(&log, Some(zen)).await);

    assert!(of_acme.holds());
    let broken = &of_zen.broken[0];
    assert_eq!((broken.position, broken.org_sequence), (Some(Position(6)), Some(3)));
    assert_eq!((of_zen.broken_count, broken.org_id), (1, Some(zen)));
}
