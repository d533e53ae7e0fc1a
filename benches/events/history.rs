//! A log with a past: filled, sealed, verified, streamed and replayed.

use std::time::Instant;

use futures_util::TryStreamExt as _;
use otp::Clock;
use serde::Deserialize;
use sqlx::{PgPool, Row as _};
use store::{Consumer, Log};

use crate::writers::EVENT_TYPE;
use benches::server::{DOMAIN, Database};

/// Events of one statement while filling, so that none runs for minutes.
const FILL_AT_ONCE: i64 = 250_000;

/// Records `count` events of 100 organisations without sealing them, as fast as the server can.
pub(crate) async fn fill(database: &Database, count: i64) {
    let mut owner = database.owner().await;
    let mut filled = 0;
    while filled < count {
        let some = FILL_AT_ONCE.min(count - filled);
        sqlx::query(
            r#"insert into events.domain_events
                (id, org_id, domain, event_type, version, aggregate_id, payload, metadata,
                 inserted_at)
            select
                (now.prefix || '7' || substr(md5(number::text), 1, 3) || '8'
                    || substr(md5(random()::text), 1, 15))::uuid,
                ('01900000-0000-7000-8000-' || lpad(to_hex(number % 100), 12, '0'))::uuid,
                $2, $3, 1,
                (now.prefix || '7' || substr(md5((number / 4)::text), 1, 3) || '9'
                    || substr(md5((number / 4)::text), 4, 15))::uuid,
                convert_to('{"number":' || number
                    || ',"suburb":"Fortitude Valley","text":"' || repeat('x', 430) || '"}', 'UTF8'),
                convert_to('{"actor":{"kind":"system","name":"bench"},"correlation_id":"'
                    || (now.prefix || '70008000000000000000'::text)::uuid || '","hops":1}', 'UTF8'),
                clock_timestamp()
            from generate_series($1::bigint, $1::bigint + $4::bigint - 1) as series (number)
            cross join lateral (
                select lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint
                    + number * 0), 12, '0') as prefix
            ) as now"#,
        )
        .bind(filled)
        .bind(DOMAIN.as_str())
        .bind(EVENT_TYPE)
        .bind(some)
        .execute(&mut owner)
        .await
        .expect("the owner may fill an empty log");
        filled += some;
    }
}

/// Lets the server gather its statistics and clear what filling left behind, and waits for it.
pub(crate) async fn settle(database: &Database) {
    let mut owner = database.owner().await;
    for statement in ["vacuum analyze", "checkpoint"] {
        sqlx::raw_sql(statement).execute(&mut owner).await.expect("the owner may");
    }
}

/// Seals everything that waits; events a second.
pub(crate) async fn seal(database: &Database) -> f64 {
    let log = log(database);
    let begun = Instant::now();
    let sealed = store::sealer::seal_all(&log).await.expect("nothing else seals");
    let rate = sealed as f64 / begun.elapsed().as_secs_f64();
    log.pool().close().await;
    rate
}

/// Verifies all chains; events a second.
///
/// # Panics
/// When a chain does not hold.
pub(crate) async fn verify(database: &Database) -> f64 {
    let pool = database.pool(4);
    let begun = Instant::now();
    let verdict = store::verify::verify(&pool, None, |_| {}).await.expect("the log is readable");
    let rate = verdict.events as f64 / begun.elapsed().as_secs_f64();
    assert!(verdict.holds(), "{:?}", verdict.broken);
    pool.close().await;
    rate
}

/// A bare stream of what a replay reads; rows a second.
pub(crate) async fn stream(database: &Database) -> f64 {
    let pool = database.pool(1);
    let mut reading = store::begin_reading(&pool).await.expect("the server answers");
    let begun = Instant::now();
    let (mut count, mut bytes) = (0_u64, 0);
    let mut rows = sqlx::query(
        "select position, event_id, event.org_id, domain, event_type, version, aggregate_id,
             payload, metadata, event.inserted_at
         from events.seals as seal
         join events.domain_events as event
             on event.arrival = seal.arrival and event.inserted_at = seal.inserted_at
         order by position",
    )
    .fetch(&mut *reading);
    while let Some(row) = rows.try_next().await.expect("the log is readable") {
        bytes += row.get::<&[u8], _>("payload").len();
        count += 1;
    }
    drop(rows);
    assert!(bytes > 0, "there is something to read");
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    reading.rollback().await.expect("the server answers");
    pool.close().await;
    rate
}

/// What a projection reads of a payload.
#[derive(Deserialize)]
struct Opened {
    number: u64,
}

/// A consumer that begins at the origin and folds every event; events a second.
pub(crate) async fn catch_up(database: &Database) -> f64 {
    let log = log(database);
    let name = format!("bench_{}", uuid::Uuid::now_v7().simple());
    let consumer = Consumer::new(name, &log, |_, events| {
        let mut sum = 0_u64;
        for event in &events {
            let opened: Opened = serde_json::from_slice(&event.payload).expect("we wrote it");
            sum = sum.wrapping_add(opened.number);
        }
        std::hint::black_box(sum);
        Box::pin(async { Ok(()) })
    })
    .filter([(DOMAIN.as_str().to_owned(), EVENT_TYPE.to_owned())]);
    let begun = Instant::now();
    let progress = consumer.run_once().await.expect("the log is readable");
    let rate = progress.applied as f64 / begun.elapsed().as_secs_f64();
    log.pool().close().await;
    rate
}

fn log(database: &Database) -> Log {
    let pool: PgPool = database.pool(4);
    Log::new(pool, Clock::system())
}
