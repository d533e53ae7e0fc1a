//! Appending: what is recorded, when it is seen, and what is refused.

use kernel::{DomainName, Event, EventType, OrgId, Position, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{AppendError, NewEvent, SealedEvent, read, sealer};
use uuid::Uuid;

use crate::database::{TestLog, instant, opened, told};

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct JobOrderOpened {
    job_order_id: Uuid,
    headcount: u32,
}

impl Event for JobOrderOpened {
    const TYPE: EventType = DomainName::new("recruit").event("job_order_opened", 1);
    fn aggregate_id(&self) -> Uuid {
        self.job_order_id
    }
}

async fn everything(log: &TestLog) -> Vec<SealedEvent> {
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    read::after(&mut reading, Position::ORIGIN, 1_000).await.expect("the log can be read")
}

#[tokio::test]
async fn an_event_is_seen_only_once_it_is_sealed() {
    let log = TestLog::create().await;
    log.record(&opened(OrgId::new(), 1)).await;

    let before = everything(&log).await;
    let sealed = sealer::seal_all(&log.log).await.expect("nothing is in the way");
    let after = everything(&log).await;

    assert_eq!((before.len(), sealed, after.len()), (0, 1, 1));
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_records_nothing() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let mut transaction = log.begin("recruit", org_id).await;
    store::append(&mut transaction, &opened(org_id, 1)).await.expect("a domain may append");

    transaction.rollback().await.expect("nothing is in the way");

    assert_eq!(sealer::seal_all(&log.log).await.expect("sealing works"), 0);
}

#[tokio::test]
async fn an_event_comes_back_as_it_was_told() {
    let log = TestLog::create().await;
    let told = JobOrderOpened { job_order_id: Uuid::now_v7(), headcount: 3 };
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok();
    let request = Scope::system(OrgId::new(), "test", Uuid::now_v7()).traced(traceparent);
    let cause = kernel::EventId::new();
    let scope = request.caused_by(cause, "recruit").expect("the chain is short");
    let at = instant("2026-03-04T05:06:07.123456Z");
    let event = NewEvent::of(&told, kernel::EventId::new(), scope.clone(), at)
        .expect("the event serialises");

    log.record(&event).await;
    sealer::seal_all(&log.log).await.expect("sealing works");

    let sealed = everything(&log).await.remove(0);
    let recorded = sealed.recorded::<JobOrderOpened>().expect("the payload is its type's");
    assert_eq!(recorded.data, told);
    assert_eq!(recorded.scope, scope);
    assert_eq!(recorded.event_id, event.event_id);
    assert_eq!(recorded.recorded_at, at);
    assert_eq!(sealed.position, Position(1));
    assert_eq!(sealed.aggregate_id, Some(told.job_order_id));
}

#[tokio::test]
async fn events_are_found_by_aggregate_and_by_organisation() {
    let log = TestLog::create().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    let mut wanted = opened(acme, 1);
    for org_id in [acme, zen, acme] {
        log.record(&opened(org_id, 2)).await;
    }
    log.record(&wanted).await;
    wanted.event_id = kernel::EventId::new();
    log.record(&wanted).await;
    sealer::seal_all(&log.log).await.expect("sealing works");
    let aggregate_id = wanted.aggregate_id.expect("it is about an aggregate");

    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let of_aggregate =
        read::of_aggregate(&mut reading, acme, "recruit", aggregate_id, Position::ORIGIN, 10)
            .await
            .expect("the log can be read");
    let of_zen =
        read::of_organisation(&mut reading, zen, 0, 10).await.expect("the log can be read");

    let positions: Vec<i64> = of_aggregate.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, [4, 5]);
    assert_eq!(of_zen.len(), 1);
    assert_eq!(of_zen[0].org_sequence, 1);
}

#[tokio::test]
async fn the_table_refuses_more_than_256_kib_by_itself() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let mut transaction = log.begin("recruit", org_id).await;

    let refused = sqlx::query(
        "insert into events.domain_events
             (id, org_id, domain, event_type, version, payload, metadata, inserted_at)
         values (gen_random_uuid(), $1, 'recruit', 'x', 1,
             convert_to('\"' || repeat('x', 262144) || '\"', 'UTF8'),
             convert_to('{\"actor\":{},\"hops\":1,\"correlation_id\":\"' || $1 || '\"}', 'UTF8'),
             now())",
    )
    .bind(org_id)
    .execute(&mut *transaction)
    .await;

    let error = refused.expect_err("the payload is too large").to_string();
    assert!(error.contains("payload_size_max"), "{error}");
}

#[tokio::test]
async fn the_table_refuses_the_eleventh_hop_by_itself() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let mut transaction = log.begin("recruit", org_id).await;

    let refused = sqlx::query(
        "insert into events.domain_events
             (id, org_id, domain, event_type, version, payload, metadata, inserted_at)
         values (gen_random_uuid(), $1, 'recruit', 'x', 1, '{}',
             convert_to('{\"actor\":{},\"hops\":11,\"correlation_id\":\"' || $1 || '\"}', 'UTF8'),
             now())",
    )
    .bind(org_id)
    .execute(&mut *transaction)
    .await;

    let error = refused.expect_err("the chain is too long").to_string();
    assert!(error.contains("chain_of_causes_max"), "{error}");
}

#[tokio::test]
async fn a_float_is_refused_before_it_reaches_the_database() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let event = told(org_id, "recruit", "job_order_opened", json!({"pay": {"hourly": 31.5}}));
    let mut transaction = log.begin("recruit", org_id).await;

    let refused = store::append(&mut transaction, &event).await;

    let Err(AppendError::NotCanonical { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(source.to_string().contains("/pay/hourly"), "{source}");
    transaction.commit().await.expect("the transaction is still of use");
}
