//! What Postgres itself refuses, whoever asks.

use kernel::OrgId;
use sqlx::{AssertSqlSafe, PgPool};
use store::AppendError;

use crate::database::{TestLog, instant, opened, told};

/// Runs `statement` as the superuser who owns everything; answers code and message of the refusal.
async fn refusal(owner: &PgPool, statement: &str) -> (String, String) {
    let refused = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(owner)
        .await
        .expect_err(statement);
    let error = refused.into_database_error().expect("Postgres refuses it");
    let code = error.code().unwrap_or_default().into_owned();
    (code, error.message().to_owned())
}

#[tokio::test]
async fn not_even_a_superuser_changes_what_is_recorded() {
    let log = TestLog::create().await;
    log.seal_some(OrgId::new(), 2).await;
    let partition: String =
        sqlx::query_scalar("select tableoid::regclass::text from events.domain_events limit 1")
            .fetch_one(&log.owner)
            .await
            .expect("an event lies in some partition");

    for table in ["events.domain_events", partition.as_str(), "events.seals"] {
        let column = if table.ends_with("seals") { "org_id" } else { "domain" };
        for statement in [
            format!("update {table} set {column} = {column}"),
            format!("delete from {table}"),
            format!("truncate {table}"),
        ] {
            let (code, message) = refusal(&log.owner, &statement).await;

            assert_eq!(code, "P0001", "{statement}");
            assert!(message.contains("events are immutable"), "{statement}: {message}");
        }
    }
    log.assert_holds().await;
}

#[tokio::test]
async fn every_partition_refuses_to_be_emptied() {
    let log = TestLog::create().await;
    let partitions: Vec<String> = sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits
         where inhparent = 'events.domain_events'::regclass",
    )
    .fetch_all(&log.owner)
    .await
    .expect("the owner may look at the catalog");

    for partition in &partitions {
        let (code, _) = refusal(&log.owner, &format!("truncate {partition}")).await;

        assert_eq!(code, "P0001", "{partition}");
    }
    assert_eq!(partitions.len(), 14, "this month, twelve ahead, and the default");
}

#[tokio::test]
async fn a_domain_cannot_forge_anothers_facts() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let mut transaction = log.begin("pulse", org_id).await;

    let forged = store::append(&mut transaction, &opened(org_id, 1)).await;

    assert_refused(&forged, "42501");
}

#[tokio::test]
async fn a_domain_cannot_record_for_another_organisation() {
    let log = TestLog::create().await;
    let mut transaction = log.begin("recruit", OrgId::new()).await;

    let forged = store::append(&mut transaction, &opened(OrgId::new(), 1)).await;

    assert_refused(&forged, "42501");
}

#[tokio::test]
async fn the_runtime_records_no_facts_of_its_own() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    let mut transaction = log.begin("finnest_runtime", org_id).await;
    let event = told(org_id, "finnest_runtime", "x_happened", serde_json::json!({}));

    let forged = store::append(&mut transaction, &event).await;

    assert_refused(&forged, "42501");
}

#[tokio::test]
async fn a_domain_cannot_choose_what_the_sealer_trusts() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    for (column, code) in [("tx", "42501"), ("arrival", "428C9")] {
        let mut transaction = log.begin("recruit", org_id).await;
        let insert = format!(
            "insert into events.domain_events (id, org_id, domain, event_type, version, payload,
                 metadata, inserted_at, {column})
             values (gen_random_uuid(), '{org_id}', 'recruit', 'x', 1, '{{}}', '{{}}', now(), '1')"
        );

        let refused = sqlx::raw_sql(AssertSqlSafe(insert))
            .execute(&mut *transaction)
            .await
            .expect_err("the column is not the domain's to write");

        let error = refused.into_database_error().expect("Postgres refuses it");
        assert_eq!(error.code().as_deref(), Some(code), "{column}: {error}");
    }
}

#[tokio::test]
async fn a_domain_sees_its_own_events_of_its_organisation_only() {
    let log = TestLog::create().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    log.record(&opened(acme, 1)).await;
    log.record(&opened(zen, 2)).await;
    log.record(&told(acme, "pulse", "roster_template_drafted", serde_json::json!({}))).await;

    let mut transaction = log.begin("recruit", acme).await;
    let seen: i64 = sqlx::query_scalar("select count(*) from events.domain_events")
        .fetch_one(&mut *transaction)
        .await
        .expect("a domain may look at the log");
    let seals = sqlx::query("select from events.seals").execute(&mut *transaction).await;

    assert_eq!(seen, 1);
    assert!(seals.is_err(), "the order is the runtime's business");
}

#[tokio::test]
async fn an_event_outside_every_month_is_kept_and_reported() {
    let log = TestLog::create().await;
    let mut event = opened(OrgId::new(), 1);
    event.recorded_at = instant("2001-02-03T04:05:06Z");

    log.record(&event).await;
    store::sealer::seal_all(&log.log).await.expect("sealing works");
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let strays = store::partition::strays(&mut reading).await.expect("the runtime may look");

    assert_eq!(strays.map(|strays| strays.event_count), Some(1));
    log.assert_holds().await;
}

#[tokio::test]
async fn months_are_made_once_and_a_month_with_strays_is_left_out() {
    let log = TestLog::create().await;
    let mut stray = opened(OrgId::new(), 1);
    stray.recorded_at = instant("2001-02-03T04:05:06Z");
    log.record(&stray).await;
    let january = instant("2001-01-15T00:00:00Z").date_naive();
    let mut runtime = store::begin(log.log.pool()).await.expect("the runtime may connect");

    let made = store::partition::ensure(&mut runtime, january, 3).await;
    let again = store::partition::ensure(&mut runtime, january, 3).await;

    assert_eq!(made.expect("the runtime may make months"), 3, "January, March and April");
    assert_eq!(again.expect("asking again does no harm"), 0);
}

fn assert_refused(result: &Result<(), AppendError>, expected: &str) {
    let Err(AppendError::Database { source, .. }) = result else {
        panic!("{result:?}");
    };
    let code = source.as_database_error().and_then(sqlx::error::DatabaseError::code);
    assert_eq!(code.as_deref(), Some(expected), "{source}");
}
