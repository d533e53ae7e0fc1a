//! Reading many events: in order, whole, and only what was asked for.

use kernel::{OrgId, Position, event_digest, next_link};
use serde_json::json;
use store::read::{self, Run};
use store::{SealedRow, sealer};

use crate::database::{TestLog, opened, told};

async fn everything(mut run: Run) -> Vec<SealedRow> {
    let mut rows = Vec::new();
    while let Some(stretch) = run.next().await.expect("the log can be read") {
        assert_eq!(stretch.rows.last().map(|row| row.position), Some(stretch.position));
        rows.extend(stretch.rows);
    }
    rows
}

fn positions(rows: &[SealedRow]) -> Vec<i64> {
    rows.iter().map(|row| row.position.0).collect()
}

#[tokio::test]
async fn a_run_reads_every_event_in_its_order_over_many_stretches() {
    let log = TestLog::create().await;
    log.insert_many(12_345).await;
    sealer::seal_all(&log.log).await.expect("sealing works");

    let run = Run::over(log.log.pool(), Position(45), Position(12_000)).await;
    let rows = everything(run.expect("the log can be read")).await;

    assert_eq!(positions(&rows), (46..=12_000).collect::<Vec<i64>>());
    let links = rows.iter().all(|row| {
        let facts = row.facts().expect("the row is whole").expect("the event is there");
        next_link(&row.previous_hash, &event_digest(&facts)) == row.hash
    });
    assert!(links, "each seal came with its own event");
}

#[tokio::test]
async fn an_event_that_was_sealed_long_after_its_arrival_stands_at_its_position() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let slow = opened(org_id, 0);
    let mut hanging = log.begin("recruit", org_id).await;
    store::append(&mut hanging, &slow).await.expect("a domain may append");
    log.insert_many(3_000).await;
    sealer::seal_all(&log.log).await.expect("sealing works");
    hanging.commit().await.expect("nothing is in the way");
    sealer::seal_all(&log.log).await.expect("sealing works");

    let run = Run::over(log.log.pool(), Position(2_990), Position(3_001)).await;
    let rows = everything(run.expect("the log can be read")).await;

    assert_eq!(positions(&rows), (2_991..=3_001).collect::<Vec<i64>>());
    let last = rows[10].event().expect("the row is whole").expect("the event is there");
    assert_eq!((last.event_id, rows[10].arrival), (slow.event_id, 1));
}

#[tokio::test]
async fn a_run_over_one_organisation_follows_its_own_numbers() {
    let log = TestLog::create().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    for number in 0..20 {
        log.record(&opened(if number % 2 == 0 { acme } else { zen }, number)).await;
    }
    sealer::seal_all(&log.log).await.expect("sealing works");

    let run = Run::over_organisation(log.log.pool(), zen, 2, Position(16)).await;
    let rows = everything(run.expect("the log can be read")).await;

    let numbers: Vec<i64> = rows.iter().map(|row| row.org_sequence).collect();
    assert_eq!(numbers, [3, 4, 5, 6, 7, 8]);
    assert!(rows.iter().all(|row| row.org_id == zen && !row.is_missing()));
}

#[tokio::test]
async fn a_seal_whose_event_is_gone_is_told_unless_types_were_asked_for() {
    let log = TestLog::create().await;
    log.seal_some(OrgId::new(), 5).await;
    log.tamper(
        "delete from events.domain_events
         where id = (select event_id from events.seals where position = 3)",
    )
    .await;
    let all = Run::over(log.log.pool(), Position::ORIGIN, Position(5)).await;
    let of_type = Run::over(log.log.pool(), Position::ORIGIN, Position(5)).await;
    let of_type = of_type
        .expect("the log can be read")
        .of_types(&[("recruit".to_owned(), "job_order_opened".to_owned())]);

    let (all, of_type) =
        (everything(all.expect("the log can be read")).await, everything(of_type).await);

    let missing: Vec<bool> = all.iter().map(SealedRow::is_missing).collect();
    assert_eq!(missing, [false, false, true, false, false]);
    assert_eq!(positions(&of_type), [1, 2, 4, 5]);
}

#[tokio::test]
async fn few_events_of_a_type_are_found_among_many_others() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    for count in [1_500, 2_500, 10] {
        log.insert_many(count).await;
        log.record(&told(org_id, "pulse", "roster_template_drafted", json!({}))).await;
        sealer::seal_all(&log.log).await.expect("sealing works");
    }
    let wanted = [("pulse".to_owned(), "roster_template_drafted".to_owned())];
    let opened = [("recruit".to_owned(), "job_order_opened".to_owned())];
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let mut read = async |after, until, types: &[_], limit| {
        read::matching(&mut reading, Position(after), Position(until), types, limit)
            .await
            .expect("the log can be read")
            .iter()
            .map(|event| event.position.0)
            .collect::<Vec<i64>>()
    };

    assert_eq!(read(0, 4_013, &wanted, 500).await, [1_501, 4_002, 4_013]);
    assert_eq!(read(0, 4_013, &wanted, 2).await, [1_501, 4_002]);
    assert_eq!(read(1_501, 4_012, &wanted, 500).await, [4_002]);
    assert_eq!(read(4_000, 4_013, &wanted, 500).await, [4_002, 4_013]);
    assert_eq!(read(1_499, 4_013, &opened, 3).await, [1_500, 1_502, 1_503]);
}

#[tokio::test]
async fn large_events_are_read_in_small_stretches() {
    let log = TestLog::create().await;
    log.insert_large(270, 256_000).await;
    sealer::seal_all(&log.log).await.expect("sealing works");

    let mut run = Run::over(log.log.pool(), Position::ORIGIN, Position(270))
        .await
        .expect("the log can be read");
    let (mut sizes, mut seen) = (Vec::new(), 0);
    while let Some(stretch) = run.next().await.expect("the log can be read") {
        assert_eq!(stretch.rows[0].position.0, seen + 1);
        seen = stretch.position.0;
        sizes.push(stretch.rows.len());
    }

    assert_eq!(seen, 270);
    assert!(sizes.iter().all(|size| *size <= 262), "at most 64 MiB at once: {sizes:?}");
}
