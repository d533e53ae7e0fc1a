//! Verification: a superuser tampers with triggers switched off, and is found out.

use std::sync::atomic::{AtomicBool, Ordering};

use kernel::{OrgId, Position};
use store::checkpoint::{self, Key};
use store::verify::{Problem, Standing, Task, Verdict, VerifyError, verify, verify_against, walk};

use crate::checkpoint::rewrite;
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

async fn link_at(log: &TestLog, position: i64) -> String {
    sqlx::query_scalar("select encode(hash, 'hex') from events.seals where position = $1")
        .bind(position)
        .fetch_one(&log.owner)
        .await
        .expect("the position is sealed")
}

#[tokio::test]
async fn a_range_is_judged_by_what_lies_before_it() {
    let (log, acme, _) = tampered(
        "update events.seals set hash = sha256('x') where position = 4;
         update events.domain_events set payload = '{\"number\":2}'
         where id = (select event_id from events.seals where position = 9)",
    )
    .await;
    let check = async |from: i64, to: Option<i64>, org_id, expected: &[(i64, Problem)]| {
        let task = Task { org_id, from: Position(from), to: to.map(Position), ..Task::default() };
        let verdict = walk(log.log.pool(), &task, |_| {}).await.expect("the log can be read");
        let found: Vec<(i64, Problem)> = verdict
            .broken
            .iter()
            .map(|found| (found.position.map_or(0, |position| position.0), found.problem))
            .collect();
        assert_eq!(found, expected, "{from} to {to:?}");
        verdict.events
    };

    assert_eq!(check(1, Some(3), None, &[]).await, 3);
    assert_eq!(check(5, Some(8), None, &[(6, Problem::PreviousMismatch)]).await, 4);
    assert_eq!(check(7, None, None, &[(9, Problem::HashMismatch)]).await, 6);
    assert_eq!(check(7, None, Some(acme), &[(9, Problem::HashMismatch)]).await, 3);
    assert_eq!(check(10, Some(100), None, &[]).await, 3);
    assert_eq!(check(13, None, None, &[]).await, 0);
}

#[tokio::test]
async fn a_walk_goes_on_where_it_was_interrupted_if_the_log_is_the_same_there() {
    let (log, ..) = tampered("").await;
    let standing = Standing {
        position: Position(6),
        hash: link_at(&log, 6).await,
        until: Position(10),
        verdict: Verdict { events: 6, organisations: 2, ..Verdict::default() },
    };
    for position in [3, 8, 12] {
        log.tamper(&format!(
            "update events.domain_events set payload = '{{\"number\":7}}'
             where id = (select event_id from events.seals where position = {position})"
        ))
        .await;
    }
    let task = Task { resume: Some(standing.clone()), ..Task::default() };

    let verdict = walk(log.log.pool(), &task, |_| {}).await.expect("the log can be read");
    log.tamper("update events.seals set hash = sha256('x') where position = 6").await;
    let changed = walk(log.log.pool(), &task, |_| {}).await;

    let found: Vec<_> = verdict.broken.iter().map(|found| found.position).collect();
    assert_eq!(found, [Some(Position(8))], "what lies before and beyond is not looked at");
    assert_eq!((verdict.events, verdict.organisations), (10, 2));
    assert!(matches!(changed, Err(VerifyError::Changed(Position(6)))), "{changed:?}");
}

#[tokio::test]
async fn a_history_that_was_rewritten_to_its_end_is_told_by_a_checkpoint() {
    let (log, acme, zen) = tampered("").await;
    let key = Key::from_seed(&[7; 32]);
    let checkpoint = checkpoint::make(&log.log, &key).await.expect("the log is as it should be");
    let checkpoint = checkpoint.expect("there is something new");
    let body = checkpoint.body(&key.public()).expect("it was just signed");
    let against = async |org_id| {
        let mut verdict = verdict(&log, org_id).await;
        assert!(verdict.holds(), "the chain itself holds: {:?}", verdict.broken);
        verify_against(log.log.pool(), &body, &checkpoint.heads, org_id, &mut verdict)
            .await
            .expect("the log can be read");
        verdict
    };
    assert!(against(None).await.holds());

    rewrite(&log, acme, 5).await;
    let (everything, of_zen) = (against(None).await, against(Some(zen)).await);

    let found = &everything.broken[0];
    assert_eq!((everything.broken_count, found.org_id), (1, Some(acme)));
    assert_eq!((found.org_sequence, found.problem), (Some(6), Problem::DiffersFromCheckpoint));
    assert!(of_zen.holds(), "{:?}", of_zen.broken);
}

#[tokio::test]
async fn a_tail_that_everything_in_the_database_forgot_is_told_by_a_checkpoint() {
    let (log, _, zen) = tampered("").await;
    let key = Key::from_seed(&[7; 32]);
    let checkpoint = checkpoint::make(&log.log, &key).await.expect("the log is as it should be");
    let checkpoint = checkpoint.expect("there is something new");
    let body = checkpoint.body(&key.public()).expect("it was just signed");

    log.tamper(
        "delete from events.domain_events
         where id in (select event_id from events.seals where position > 11);
         delete from events.seals where position > 11;
         delete from events.checkpoint_heads; delete from events.checkpoints;
         update events.sealer_state set noted_position = 11",
    )
    .await;
    let mut verdict = verdict(&log, None).await;
    assert!(verdict.holds(), "{:?}", verdict.broken);
    verify_against(log.log.pool(), &body, &checkpoint.heads, None, &mut verdict)
        .await
        .expect("the log can be read");

    let found = &verdict.broken[0];
    assert_eq!((found.org_id, found.org_sequence), (Some(zen), Some(6)));
    assert_eq!(found.problem, Problem::DiffersFromCheckpoint);
}

#[tokio::test]
async fn a_checkpoint_remembers_a_tail_even_if_nothing_else_does() {
    let (log, ..) = tampered("").await;
    checkpoint::make(&log.log, &Key::from_seed(&[7; 32])).await.expect("the log is whole");

    log.tamper(
        "delete from events.domain_events
         where id in (select event_id from events.seals where position > 9);
         delete from events.seals where position > 9;
         update events.sealer_state set noted_position = 9",
    )
    .await;

    let verdict = verdict(&log, None).await;
    assert_eq!(verdict.broken[0].position, Some(Position(12)));
    assert_eq!(verdict.broken[0].problem, Problem::TailCutOff);
}

#[tokio::test]
async fn a_month_that_was_archived_is_followed_and_not_taken_for_lost() {
    let (log, ..) = tampered("").await;
    let is_known: bool = sqlx::query_scalar("select to_regclass('events.archives') is not null")
        .fetch_one(&log.owner)
        .await
        .expect("the owner may look");
    if !is_known {
        return;
    }
    log.tamper(
        "insert into events.archives
             (month, file, sha256, event_count, first_position, last_position, archived_at,
              detached_at)
         select date_trunc('month', now() at time zone 'UTC')::date, 'x', sha256('x'), 1, 1, 1,
             now(), now();
         delete from events.domain_events where id = (
             select event_id from events.seals where position = 4)",
    )
    .await;

    let verdict = verdict(&log, None).await;

    assert!(verdict.holds(), "{:?}", verdict.broken);
    assert_eq!((verdict.events, verdict.archived), (12, 1));
}
