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

/// Tables of the log that hold facts, partitions included. Everything else there is a note of how
/// far somebody has come, and is listed here by name: a new table is one or the other.
const NOTES: &[&str] = &[
    "sealer_state",
    "cursors",
    "checkpoint_exports",
    "verifications",
    "archives",
    "imports",
    "archived_aggregates",
    "claimed_ids",
    "claimed_versions",
    "leases",
    "stalls",
    "skipped_events",
    "projections",
    "rebuilds",
];

async fn tables_of_facts(log: &TestLog) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select relation.relname::text from pg_class as relation
         where relation.relnamespace = 'events'::regnamespace and relation.relkind in ('r', 'p')
         order by relation.relname",
    )
    .fetch_all(&log.owner)
    .await
    .expect("the owner may look at the catalog");
    tables.into_iter().filter(|table| !NOTES.contains(&table.as_str())).collect()
}

#[tokio::test]
async fn not_even_a_superuser_changes_what_is_recorded() {
    let log = TestLog::create().await;
    log.seal_some(OrgId::new(), 2).await;
    let mut stray = opened(OrgId::new(), 1);
    stray.recorded_at = instant("2001-02-03T04:05:06Z");
    log.record(&stray).await;
    store::sealer::seal_all(&log.log).await.expect("nothing is in the way");
    let key = store::checkpoint::Key::from_seed(&[7; 32]);
    store::checkpoint::make(&log.log, &key).await.expect("the log is as it should be");
    log.tamper(
        "insert into events.duplicates
         select arrival, id, inserted_at, org_id, domain, now() from events.domain_events limit 1",
    )
    .await;
    let mut filled = Vec::new();

    for table in tables_of_facts(&log).await {
        let statement =
            format!("select to_jsonb(row) ->> 'org_id' from events.{table} as row limit 1");
        let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(&log.owner).await;
        if rows.expect("the owner may look at everything").is_empty() {
            continue;
        }
        let column: String = sqlx::query_scalar(
            "select attname::text from pg_attribute
             where attrelid = ('events.' || $1)::regclass and attnum = 1",
        )
        .bind(&table)
        .fetch_one(&log.owner)
        .await
        .expect("a table has a first column");
        for statement in [
            format!("update events.{table} set {column} = {column}"),
            format!("delete from events.{table}"),
        ] {
            let (code, message) = refusal(&log.owner, &statement).await;

            assert_eq!(code, "P0001", "{statement}: {message}");
            assert!(message.contains("events are immutable"), "{statement}: {message}");
        }
        filled.push(table);
    }
    log.assert_holds().await;
    for table in [
        "domain_events",
        "domain_events_default",
        "seals",
        "duplicates",
        "checkpoints",
        "checkpoint_heads",
    ] {
        assert!(filled.iter().any(|filled| filled == table), "{table}: {filled:?}");
    }
}

#[tokio::test]
async fn every_table_of_facts_refuses_to_be_emptied_also_one_that_is_made_later() {
    let log = TestLog::create().await;
    let before = tables_of_facts(&log).await;
    let later = instant("2035-01-15T00:00:00Z").date_naive();
    let mut runtime = store::begin(log.log.pool()).await.expect("the runtime may connect");
    store::partition::ensure(&mut runtime, later, 2).await.expect("the runtime may make months");
    runtime.commit().await.expect("nothing is in the way");

    let tables = tables_of_facts(&log).await;
    for table in &tables {
        let statement = format!("truncate events.{table} cascade");
        let (code, message) = refusal(&log.owner, &statement).await;

        assert_eq!(code, "P0001", "{statement}: {message}");
    }

    assert_eq!(tables.len(), before.len() + 3, "{tables:?}");
    assert!(tables.iter().any(|table| table == "domain_events_2035_01"));
}

#[tokio::test]
async fn a_partition_that_is_made_later_refuses_changes_too() {
    let log = TestLog::create().await;
    let mut runtime = store::begin(log.log.pool()).await.expect("the runtime may connect");
    let later = instant("2035-01-15T00:00:00Z").date_naive();
    store::partition::ensure(&mut runtime, later, 0).await.expect("the runtime may make months");
    runtime.commit().await.expect("nothing is in the way");
    let mut event = opened(OrgId::new(), 1);
    event.recorded_at = instant("2035-01-15T00:00:00Z");
    log.record(&event).await;

    for statement in [
        "update events.domain_events_2035_01 set domain = 'x'",
        "delete from events.domain_events_2035_01",
    ] {
        let (code, _) = refusal(&log.owner, statement).await;

        assert_eq!(code, "P0001", "{statement}");
    }
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

#[tokio::test]
async fn who_records_while_the_month_is_being_made_waits_and_finds_it() {
    let log = TestLog::create().await;
    let mut event = opened(OrgId::new(), 1);
    event.recorded_at = instant("2035-01-15T00:00:00Z");
    let mut runtime = store::begin(log.log.pool()).await.expect("the runtime may connect");
    let january = event.recorded_at.date_naive();
    store::partition::ensure(&mut runtime, january, 0).await.expect("it can be made");

    let commit = async {
        log.somebody_waits().await;
        runtime.commit().await.expect("nothing is in the way");
    };
    tokio::join!(log.record(&event), commit);

    let in_its_month = "select count(*) from events.domain_events_2035_01";
    assert_eq!(log.count(in_its_month).await, 1);
}

fn assert_refused(result: &Result<(), AppendError>, expected: &str) {
    let Err(AppendError::Database { source, .. }) = result else {
        panic!("{result:?}");
    };
    let code = source.as_database_error().and_then(sqlx::error::DatabaseError::code);
    assert_eq!(code.as_deref(), Some(expected), "{source}");
}
