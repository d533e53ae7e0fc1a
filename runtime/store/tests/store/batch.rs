//! Appending many events at once.

use kernel::{OrgId, Position};
use serde_json::json;
use store::{AppendError, NewEvent, read, sealer};

use crate::database::{TestLog, opened, told};

#[tokio::test]
async fn a_batch_is_sealed_in_its_order() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let batch: Vec<NewEvent> = (0..1_000).map(|number| opened(org_id, number)).collect();
    let mut transaction = log.begin("recruit", org_id).await;

    store::append_all(&mut transaction, &batch).await.expect("a domain may append");
    transaction.commit().await.expect("nothing is in the way");
    sealer::seal_all(&log.log).await.expect("sealing works");

    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let sealed = read::after(&mut reading, Position::ORIGIN, 2_000).await;
    let sealed: Vec<_> =
        sealed.expect("the log can be read").iter().map(|event| event.event_id).collect();
    let recorded: Vec<_> = batch.iter().map(|event| event.event_id).collect();
    assert_eq!(sealed, recorded);
    log.assert_holds().await;
}

#[tokio::test]
async fn one_event_that_cannot_be_recorded_keeps_its_batch_out_and_is_named() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let mut batch: Vec<NewEvent> = (0..5).map(|number| opened(org_id, number)).collect();
    batch[3].payload = json!({"pay": {"hourly": 31.5}});
    let mut transaction = log.begin("recruit", org_id).await;

    let refused = store::append_all(&mut transaction, &batch).await;

    let Err(AppendError::InBatch { index: 3, source }) = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, AppendError::NotCanonical { .. }), "{source}");
    store::append_all(&mut transaction, &[]).await.expect("nothing is no obstacle");
    transaction.commit().await.expect("the transaction is still of use");
    assert_eq!(sealer::seal_all(&log.log).await.expect("sealing works"), 0);
}

#[tokio::test]
async fn a_batch_that_postgres_refuses_records_none_of_its_events() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let batch = [opened(org_id, 1), told(org_id, "pulse", "roster_template_drafted", json!({}))];
    let mut transaction = log.begin("recruit", org_id).await;

    let refused = store::append_all(&mut transaction, &batch).await;

    assert!(matches!(refused, Err(AppendError::Database { .. })), "{refused:?}");
    transaction.rollback().await.expect("nothing is in the way");
    assert_eq!(sealer::seal_all(&log.log).await.expect("sealing works"), 0);
}

#[tokio::test]
async fn a_chain_of_causes_is_told_from_its_beginning_over_domains() {
    let log = TestLog::create().await;
    let first = opened(OrgId::new(), 1);
    let mut second = told(first.scope.org_id, "pulse", "roster_template_drafted", json!({}));
    second.scope = first.scope.caused_by(first.event_id, "pulse").expect("the chain is short");
    let mut third = opened(first.scope.org_id, 3);
    third.scope = second.scope.caused_by(second.event_id, "recruit").expect("the chain is short");
    for event in [&first, &second, &third] {
        log.record(event).await;
    }
    sealer::seal_all(&log.log).await.expect("sealing works");

    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let chain = store::chain_of_causes(&mut reading, third.event_id).await;

    let told = chain.expect("the log can be read").to_string();
    let expected = format!(
        "the chain is recruit/job_order_opened {} -> pulse/roster_template_drafted {} -> \
         recruit/job_order_opened {}",
        first.event_id, second.event_id, third.event_id
    );
    assert_eq!(told, expected);
}
