//! Migrations that change what is already recorded.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::database::{before_and_at, migrated};

/// Five events as they were recorded and sealed before seals knew arrivals; the fourth is gone.
const SEALED_BEFORE: &str = "
insert into events.domain_events
    (id, org_id, domain, event_type, version, payload, metadata, inserted_at)
select gen_random_uuid(), '0190a000-0000-7000-8000-000000000001', 'recruit', 'job_order_opened', 1,
    '{}', convert_to('{\"actor\":{\"kind\":\"system\",\"name\":\"test\"},\"hops\":1,'
        || '\"correlation_id\":\"0190a000-0000-7000-8000-000000000002\"}', 'UTF8'), now()
from generate_series(1, 5);
insert into events.seals
    (position, event_id, inserted_at, org_id, org_sequence, previous_hash, hash)
select row_number() over (order by arrival desc), id, inserted_at, org_id,
    row_number() over (order by arrival desc), sha256('a'), sha256('b')
from events.domain_events;
set session_replication_role = replica;
delete from events.domain_events
where id = (select event_id from events.seals where position = 4);
set session_replication_role = origin;
";

#[tokio::test]
async fn seals_of_a_filled_log_learn_the_arrival_of_their_events() {
    let (before, the_migration) = before_and_at("0005");
    let database = migrated(&(before + SEALED_BEFORE)).await;
    let mut owner = PgConnection::connect_with(&database.options()).await.expect("it is there");

    sqlx::raw_sql(AssertSqlSafe(the_migration))
        .execute(&mut owner)
        .await
        .expect("the migration runs on a filled log");

    let rows = sqlx::query(
        "select seal.arrival, event.arrival as of_event
         from events.seals as seal
         left join events.domain_events as event on event.id = seal.event_id
         order by seal.position",
    )
    .fetch_all(&mut owner)
    .await
    .expect("the owner may look");
    let arrivals: Vec<(i64, Option<i64>)> =
        rows.iter().map(|row| (row.get("arrival"), row.get("of_event"))).collect();
    let expected = [(5, Some(5)), (4, Some(4)), (3, Some(3)), (-4, None), (1, Some(1))];
    assert_eq!(arrivals, expected);
    let refused = sqlx::query("update events.seals set arrival = 7").execute(&mut owner).await;
    assert!(refused.is_err(), "what is sealed stays, also after the migration");
}
