//! The stories of payroll: a job order has one billing record, and its amounts follow from its
//! rate.

use contracts::recruit::{JobOrderId, JobOrderOpened, RECRUIT};
use payroll::{BillingState, ListBillingRecords, SetBillingRate};
use platform::{Domain, Kind, Result, Role};
use serde_json::json;
use testkit::{ACME, Tell, telling};

/// Stands in for recruit: domains do not know each other, in tests neither.
fn recruit() -> Domain {
    telling::<JobOrderOpened>(Domain::new(RECRUIT))
}

fn opened(headcount: u32) -> JobOrderOpened {
    JobOrderOpened {
        job_order_id: JobOrderId::new(),
        title: "Forklift driver".to_owned(),
        client_name: Some("Westgate Logistics".to_owned()),
        headcount,
        credentials_required: vec!["forklift_licence".to_owned(), "white_card".to_owned()],
        starts_on: None,
        shift_starts_minute: 360,
        shift_minutes: 480,
        shift_days: 5,
        charge_rate_cents: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_a_job_order_creates_its_billing_record() -> Result<()> {
    let system = testkit::start([recruit(), payroll::domain()]).await;
    let recruiter = system.member(ACME, Role::Staff);

    let order = JobOrderOpened { charge_rate_cents: Some(4_550), ..opened(3) };
    let job_order_id = order.job_order_id;
    recruiter.run(Tell(order)).await?;
    system.settle().await;

    let records = recruiter.ask(ListBillingRecords::default()).await?.items;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].job_order_id, job_order_id);
    assert_eq!(records[0].state, BillingState::Draft);
    assert_eq!(records[0].amounts.map(|amounts| amounts.total_cents), Some(600_600));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_a_rate_has_no_amounts_until_one_is_agreed() -> Result<()> {
    let system = testkit::start([recruit(), payroll::domain()]).await;
    let clerk = system.member(ACME, Role::Payroll);
    clerk.run(Tell(opened(3))).await?;
    system.settle().await;
    let record = clerk.ask(ListBillingRecords::default()).await?.items.remove(0);
    let billing_record_id = record.billing_record_id;

    let set = |expected_version| SetBillingRate {
        billing_record_id,
        charge_rate_cents: 4_550,
        expected_version,
    };
    let agreed = clerk.run(set(record.version)).await?;
    let again = clerk.run(set(agreed.version)).await?;
    system.settle().await;

    assert_eq!((record.state, record.amounts), (BillingState::RateNeeded, None));
    assert_eq!(agreed.state, BillingState::Draft);
    assert_eq!(agreed.amounts.map(|amounts| amounts.subtotal_cents), Some(546_000));
    assert_eq!(again, agreed);
    let mut owner = system.owner().await;
    let told: i64 = sqlx::query_scalar(
        "select count(*) from events.domain_events where event_type = 'billing_rate_set'",
    )
    .fetch_one(&mut owner)
    .await?;
    assert_eq!(told, 1);
    let unknown = json!({
        "billing_record_id": uuid::Uuid::nil(), "charge_rate_cents": 1, "expected_version": 1,
    });
    let refused = clerk.refuse("payroll", "set_billing_rate", unknown).await;
    assert_eq!((refused.kind(), refused.code()), (Kind::NotFound, "billing_record_not_found"));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_agree_on_a_rate_the_slower_one_learns_of_the_other() -> Result<()> {
    let system = testkit::start([recruit(), payroll::domain()]).await;
    let (clerk, director) =
        (system.member(ACME, Role::Payroll), system.member(ACME, Role::Director));
    clerk.run(Tell(opened(3))).await?;
    system.settle().await;
    let seen = clerk.ask(ListBillingRecords::default()).await?.items.remove(0);
    let set = |charge_rate_cents| SetBillingRate {
        billing_record_id: seen.billing_record_id,
        charge_rate_cents,
        expected_version: seen.version,
    };

    let agreed = clerk.run(set(4_550)).await?;
    let refused = director.run(set(4_200)).await.expect_err("somebody was quicker");

    assert_eq!((refused.kind(), refused.code()), (Kind::Stale, "version_changed"));
    assert_eq!(refused.fields()[0].pointer, "/expected_version");
    let kept = director.ask(ListBillingRecords::default()).await?.items.remove(0);
    assert_eq!(kept, agreed);
    assert_eq!((seen.version, kept.version), (1, 2));
    system.stop().await;
    Ok(())
}
