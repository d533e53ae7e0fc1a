//! Expected versions: exactly one of those who expect the same one succeeds.

use futures_util::future::join_all;
use kernel::OrgId;
use store::{AppendError, ExpectedVersion, NewEvent};
use uuid::Uuid;

use crate::database::{TestLog, opened, within};

/// An event of the aggregate.
fn about(org_id: OrgId, aggregate_id: Uuid, number: i64) -> NewEvent {
    NewEvent { aggregate_id: Some(aggregate_id), ..opened(org_id, number) }
}

/// Appends at the expected version, in a transaction of its own.
async fn append(log: &TestLog, expected: u64, event: &NewEvent) -> Result<(), AppendError> {
    let mut transaction = log.begin("recruit", event.scope.org_id).await;
    store::append_expecting(&mut transaction, expected, event).await?;
    transaction.commit().await.expect("nothing is in the way");
    Ok(())
}

fn versions(refused: &AppendError) -> (u64, u64) {
    let AppendError::VersionConflict { expected, actual, .. } = refused else {
        panic!("{refused:?}");
    };
    (*expected, *actual)
}

#[tokio::test]
async fn of_32_writers_who_expect_the_same_version_one_succeeds() {
    let log = TestLog::create().await;
    let (org_id, aggregate_id) = (OrgId::new(), Uuid::now_v7());

    for version in 0..5 {
        let attempts = (0..32)
            .map(async |writer| append(&log, version, &about(org_id, aggregate_id, writer)).await);
        let outcomes = within(join_all(attempts)).await;

        let refused: Vec<_> = outcomes.iter().filter_map(|one| one.as_ref().err()).collect();
        assert_eq!(refused.len(), 31);
        assert!(refused.iter().all(|error| versions(error) == (version, version + 1)));
        let told = refused[0].to_string();
        assert!(told.contains(&aggregate_id.to_string()), "{told}");
    }
    assert_eq!(log.count("select count(*) from events.domain_events").await, 5);
}

#[tokio::test]
async fn whoever_expects_nothing_and_whoever_expects_something_else_is_not_held_up() {
    let log = TestLog::create().await;
    let (org_id, aggregate_id) = (OrgId::new(), Uuid::now_v7());
    let mut hanging = log.begin("recruit", org_id).await;
    store::append_expecting(&mut hanging, 0, &about(org_id, aggregate_id, 1))
        .await
        .expect("nobody else has appended");

    within(log.record(&about(org_id, aggregate_id, 2))).await;
    let of_another = within(append(&log, 0, &about(org_id, Uuid::now_v7(), 3))).await;
    let of_the_next = within(append(&log, 2, &about(org_id, aggregate_id, 4))).await;

    assert!(of_another.is_ok());
    assert_eq!(versions(&of_the_next.expect_err("one is not committed")), (2, 1));
    hanging.commit().await.expect("nothing is in the way");
    append(&log, 2, &about(org_id, aggregate_id, 5)).await.expect("both are committed now");
}

#[tokio::test]
async fn a_version_is_free_again_when_whoever_took_it_rolls_back() {
    let log = TestLog::create().await;
    let (org_id, aggregate_id) = (OrgId::new(), Uuid::now_v7());
    let mut first = log.begin("recruit", org_id).await;
    store::append_expecting(&mut first, 0, &about(org_id, aggregate_id, 1))
        .await
        .expect("nobody else has appended");

    let event = about(org_id, aggregate_id, 2);
    let waiting = append(&log, 0, &event);
    let (second, ()) = within(async {
        tokio::join!(waiting, async {
            log.somebody_waits().await;
            first.rollback().await.expect("nothing is in the way");
        })
    })
    .await;

    assert!(second.is_ok(), "{second:?}");
}

#[tokio::test]
async fn a_conflict_leaves_the_transaction_of_use_and_claims_nothing() {
    let log = TestLog::create().await;
    let (org_id, aggregate_id) = (OrgId::new(), Uuid::now_v7());
    let mut transaction = log.begin("recruit", org_id).await;
    let event = about(org_id, aggregate_id, 1);

    let refused = store::append_expecting(&mut transaction, 1, &event).await;
    store::append_expecting(&mut transaction, 0, &event).await.expect("that is its version");
    transaction.commit().await.expect("the transaction is still of use");

    assert_eq!(versions(&refused.expect_err("it has no event yet")), (1, 0));
    append(&log, 1, &about(org_id, aggregate_id, 2)).await.expect("that is its version now");
}

#[tokio::test]
async fn archived_events_count() {
    let log = TestLog::create().await;
    let (org_id, aggregate_id) = (OrgId::new(), Uuid::now_v7());
    log.record(&about(org_id, aggregate_id, 1)).await;
    sqlx::query("insert into events.archived_aggregates values ($1, 'recruit', $2, 41)")
        .bind(org_id)
        .bind(aggregate_id)
        .execute(&log.owner)
        .await
        .expect("the owner may archive");
    let mut transaction = log.begin("recruit", org_id).await;

    let version = store::aggregate_version(&mut transaction, org_id, "recruit", aggregate_id).await;

    assert_eq!(version.expect("the domain may count"), 42);
    drop(transaction);
    append(&log, 42, &about(org_id, aggregate_id, 2)).await.expect("that is its version");
}

#[tokio::test]
async fn a_batch_over_ten_thousand_aggregates_takes_no_locks_for_them() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let batch: Vec<NewEvent> = (0..10_000).map(|number| opened(org_id, number)).collect();
    let expected: Vec<ExpectedVersion> = batch
        .iter()
        .filter_map(|event| event.aggregate_id)
        .map(|aggregate_id| ExpectedVersion { aggregate_id, version: 0 })
        .collect();
    let mut transaction = log.begin("recruit", org_id).await;

    store::append_all_expecting(&mut transaction, &expected, &batch).await.expect("all are new");

    let locks: i64 =
        sqlx::query_scalar("select count(*) from pg_locks where pid = pg_backend_pid()")
            .fetch_one(&mut *transaction)
            .await
            .expect("everybody may look at locks");
    assert!(locks < 200, "{locks}: tables and indexes, and nothing for each aggregate");
    transaction.commit().await.expect("nothing is in the way");
    let again = append(&log, 0, &about(org_id, expected[7].aggregate_id, 1)).await;
    assert_eq!(versions(&again.expect_err("the batch was first")), (0, 1));
}
