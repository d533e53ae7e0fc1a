//! Postgres refuses: other schemas, other tenants, forged events, edits of what is recorded.
//!
//! Each test plays a domain whose code tries what it must not, as the role the platform gives it.

use sqlx::{Connection as _, Executor as _, PgConnection};
use testkit::{ACME, GLOBEX, TestSystem};

use platform::Role;

use crate::support::domains;

async fn started_with_an_order() -> TestSystem {
    let system = testkit::start(domains()).await;
    let recruiter = system.member(ACME, Role::Staff);
    let input = crate::support::job_order();
    recruiter.call("recruit", "open_job_order", input).await.expect("the order is opened");
    system.settle().await;
    system
}

/// What Postgres answers to `sql` within a transaction of `domain` for Acme.
async fn try_as(connection: &mut PgConnection, domain: &str, sql: &str) -> Result<u64, String> {
    let mut transaction = connection.begin().await.expect("a transaction begins");
    let become_domain = format!(
        "set local role {domain}; set local search_path = {domain}; set local app.org_id = '{ACME}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(become_domain))
        .execute(&mut *transaction)
        .await
        .expect("the role exists");
    let answer = transaction.execute(sqlx::AssertSqlSafe(sql.to_owned())).await;
    transaction.rollback().await.expect("a transaction is rolled back");
    answer.map(|done| done.rows_affected()).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_cannot_touch_another_schema() {
    let system = started_with_an_order().await;
    let mut connection = system.owner().await;

    for sql in [
        "select * from recruit.job_orders",
        "insert into recruit.job_orders default values",
        "delete from recruit.candidates",
        "select * from platform.tokens",
        "update events.cursors set position = 0",
        "select * from events.sealer_state",
    ] {
        let refused = try_as(&mut connection, "payroll", sql).await.expect_err(sql);
        assert!(refused.contains("permission denied"), "{sql}: {refused}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_sees_and_changes_no_other_tenant() {
    let system = started_with_an_order().await;
    let mut connection = system.owner().await;

    let globex = "set local app.org_id = '01900000-0000-7000-8000-00000000b200'; ";
    let seen = try_as(&mut connection, "recruit", "select * from recruit.job_orders").await;
    let changed = try_as(&mut connection, "recruit", "update job_orders set headcount = 9").await;
    let mut transaction = connection.begin().await.expect("a transaction begins");
    let as_globex = format!("set local role recruit; {globex}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(as_globex))
        .execute(&mut *transaction)
        .await
        .expect("the role exists");
    let of_globex: i64 = sqlx::query_scalar("select count(*) from recruit.job_orders")
        .fetch_one(&mut *transaction)
        .await
        .expect("the role may ask");
    transaction.rollback().await.expect("a transaction is rolled back");

    assert_eq!(GLOBEX.to_string(), "01900000-0000-7000-8000-00000000b200");
    assert_eq!((seen, changed, of_globex), (Ok(1), Ok(1), 0));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_without_a_tenant_sees_nothing() {
    let system = started_with_an_order().await;
    let mut connection = system.owner().await;

    let mut transaction = connection.begin().await.expect("a transaction begins");
    sqlx::raw_sql("set local role recruit")
        .execute(&mut *transaction)
        .await
        .expect("the role exists");
    let seen: i64 = sqlx::query_scalar("select count(*) from recruit.job_orders")
        .fetch_one(&mut *transaction)
        .await
        .expect("the role may ask");
    transaction.rollback().await.expect("a transaction is rolled back");

    assert_eq!(seen, 0);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_cannot_forge_an_event_or_a_job_of_another() {
    let system = started_with_an_order().await;
    let mut connection = system.owner().await;
    let copy = r#"insert into events.domain_events
        (id, domain, event_type, version, aggregate_id, org_id, payload, metadata, inserted_at)
        values (gen_random_uuid(), '{domain}', 'forged', 1, null, '{org}', '{}',
            '{"hops":1,"actor":{},"correlation_id":"01900000-0000-7000-8000-000000000001"}',
            now())"#;
    let forged = |domain: &str, org: &str| copy.replace("{domain}", domain).replace("{org}", org);

    let own = try_as(&mut connection, "payroll", &forged("payroll", &ACME.to_string())).await;
    let other_domain =
        try_as(&mut connection, "payroll", &forged("recruit", &ACME.to_string())).await;
    let other_tenant =
        try_as(&mut connection, "payroll", &forged("payroll", &GLOBEX.to_string())).await;

    assert_eq!(own, Ok(1));
    for refused in [other_domain, other_tenant] {
        let refused = refused.expect_err("a forgery is refused");
        assert!(refused.contains("row-level security"), "{refused}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_stays_even_for_the_owner() {
    let system = started_with_an_order().await;
    let mut connection = system.owner().await;

    for sql in [
        "update events.domain_events set event_type = 'changed'",
        "delete from events.domain_events",
        "truncate events.domain_events",
        "update events.seals set org_sequence = 7",
        "delete from events.seals",
        "truncate events.seals",
    ] {
        let answer = connection.execute(sqlx::AssertSqlSafe(sql)).await;
        let refused = answer.expect_err(sql).to_string();
        assert!(refused.contains("immutable"), "{sql}: {refused}");
    }
    system.stop().await;
}
