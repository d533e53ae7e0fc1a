//! Appending once: the same event again is no second event.

use futures_util::future::join_all;
use kernel::{OrgId, Position, Scope};
use serde_json::json;
use store::{AppendError, Appended, NewEvent, sealer};
use uuid::Uuid;

use crate::database::{TestLog, opened, within};

/// Appends the event once, in a transaction of its own.
async fn append(log: &TestLog, event: &NewEvent) -> Result<Appended, AppendError> {
    let mut transaction = log.begin("recruit", event.scope.org_id).await;
    let appended = store::append_once(&mut transaction, event).await?;
    transaction.commit().await.expect("nothing is in the way");
    Ok(appended)
}

#[tokio::test]
async fn the_same_event_again_is_answered_and_not_recorded() {
    let log = TestLog::create().await;
    let event = opened(OrgId::new(), 1);
    let mut again = event.clone();
    again.scope = Scope::system(event.scope.org_id, "another attempt", Uuid::now_v7());
    again.recorded_at += std::time::Duration::from_secs(1);

    let first = append(&log, &event).await.expect("it is new");
    let unsealed = append(&log, &again).await.expect("it is the same");
    sealer::seal_all(&log.log).await.expect("sealing works");
    let sealed = append(&log, &again).await.expect("it is the same");

    assert_eq!(first, Appended::Now);
    assert_eq!(unsealed, Appended::Before { position: None });
    assert_eq!(sealed, Appended::Before { position: Some(Position(1)) });
    assert_eq!(log.count("select count(*) from events.domain_events").await, 1);
}

#[tokio::test]
async fn of_many_who_append_one_event_at_once_one_records_it() {
    let log = TestLog::create().await;
    let event = opened(OrgId::new(), 1);

    let outcomes = within(join_all((0..16).map(async |_| append(&log, &event).await))).await;

    let recorded = outcomes.iter().filter(|one| matches!(one, Ok(Appended::Now))).count();
    let known = outcomes.iter().filter(|one| matches!(one, Ok(Appended::Before { .. }))).count();
    assert_eq!((recorded, known), (1, 15));
    assert_eq!(log.count("select count(*) from events.domain_events").await, 1);
}

#[tokio::test]
async fn an_id_whose_first_use_was_rolled_back_is_free() {
    let log = TestLog::create().await;
    let event = opened(OrgId::new(), 1);
    let mut first = log.begin("recruit", event.scope.org_id).await;
    store::append_once(&mut first, &event).await.expect("it is new");

    let (second, ()) = within(async {
        tokio::join!(append(&log, &event), async {
            log.somebody_waits().await;
            first.rollback().await.expect("nothing is in the way");
        })
    })
    .await;

    assert_eq!(second.expect("it is new"), Appended::Now);
}

#[tokio::test]
async fn another_event_with_a_known_id_is_refused_and_what_differs_is_named() {
    let log = TestLog::create().await;
    let event = opened(OrgId::new(), 1);
    append(&log, &event).await.expect("it is new");
    let mut other = event.clone();
    other.payload = json!({"number": 2});
    other.version = 2;
    let elsewhere = NewEvent { event_id: event.event_id, ..opened(OrgId::new(), 1) };

    for state in ["unsealed", "sealed"] {
        let refused = append(&log, &other).await.expect_err(state).to_string();
        let hidden = append(&log, &elsewhere).await.expect_err(state).to_string();

        assert!(refused.contains(&event.event_id.to_string()), "{refused}");
        assert!(refused.contains("version, payload differs"), "{refused}");
        assert!(hidden.contains("the organisation or the domain"), "{hidden}");
        sealer::seal_all(&log.log).await.expect("sealing works");
    }
}

#[tokio::test]
async fn an_event_recorded_in_the_ordinary_way_is_recognised_once_it_is_sealed() {
    let log = TestLog::create().await;
    let event = opened(OrgId::new(), 1);
    log.record(&event).await;
    sealer::seal_all(&log.log).await.expect("sealing works");

    let again = append(&log, &event).await.expect("it is the same");

    assert_eq!(again, Appended::Before { position: Some(Position(1)) });
}
