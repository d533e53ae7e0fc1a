//! A projection made again from the whole log, as the platform rebuilds one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use kernel::OrgId;
use otp::Clock;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgConnection};
use store::consumer::Start;
use store::replay::{self, ApplyTo, ReadModel, Rebuild, Step, Wish};
use store::{Consumer, Log, SealedEvent};

use crate::writers::EVENT_TYPE;
use benches::server::{DOMAIN, Database};

const NAME: &str = "recruit.totals";
/// Events of one commit.
const BATCH: u32 = 10_000;

const TABLE: &str = "
    create table if not exists recruit.totals (
        org_id uuid primary key, opened bigint not null, last_number bigint not null);
    alter table recruit.totals enable row level security;
    drop policy if exists tenant on recruit.totals;
    create policy tenant on recruit.totals
        using (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
    drop policy if exists the_runtime_digests on recruit.totals;
    create policy the_runtime_digests on recruit.totals for select to finnest_runtime using (true);
    grant usage on schema recruit to finnest_runtime;
    grant select, insert, update, delete on recruit.totals to recruit;
    grant select on recruit.totals to finnest_runtime";

/// How many job orders each organisation has opened, and which was the last.
fn totals() -> ReadModel {
    ReadModel {
        name: NAME.to_owned(),
        version: 1,
        tables: vec!["totals".to_owned()],
        filter: vec![(DOMAIN.as_str().to_owned(), EVENT_TYPE.to_owned())],
    }
}

/// What the projection reads of a payload.
#[derive(Deserialize)]
struct Opened {
    number: i64,
}

/// Folds a batch and stores what came out, tenant by tenant.
async fn apply(
    connection: &mut PgConnection,
    search_path: &str,
    events: &[SealedEvent],
) -> Result<(), sqlx::Error> {
    let mut totals: BTreeMap<OrgId, (i64, i64)> = BTreeMap::new();
    for event in events {
        let opened: Opened = serde_json::from_slice(&event.payload).expect("we wrote it");
        let total = totals.entry(event.org_id).or_default();
        *total = (total.0 + 1, opened.number);
    }
    for (org_id, (opened, last_number)) in totals {
        let tenant = format!(
            "set local role {DOMAIN}; set local search_path = {search_path}; \
             set local app.org_id = '{org_id}'"
        );
        sqlx::raw_sql(AssertSqlSafe(tenant)).execute(&mut *connection).await?;
        sqlx::query(
            "insert into totals as known (org_id, opened, last_number) values ($1, $2, $3)
             on conflict (org_id) do update
             set opened = known.opened + excluded.opened, last_number = excluded.last_number",
        )
        .bind(org_id)
        .bind(opened)
        .bind(last_number)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::raw_sql("set local role finnest_runtime").execute(connection).await?;
    Ok(())
}

/// Rebuilds the projection from the origin, beside live tables that stand at the head; events a
/// second.
pub(crate) async fn rebuild(database: &Database) -> f64 {
    let mut owner = database.owner().await;
    sqlx::raw_sql(TABLE).execute(&mut owner).await.expect("the owner may make tables");
    let log = Log::new(database.pool(8), Clock::system());
    let (model, now) = (totals(), log.clock().now());
    // A rebuild runs up to where the live tables stand.
    let live = Consumer::new(NAME, &log, |_, _| Box::pin(async { Ok(()) }))
        .filter(model.filter.clone())
        .from(Start::Now);
    live.run_once().await.expect("nothing is in the way");
    replay::declare(log.pool(), &model, now).await.expect("nothing is in the way");
    let wish =
        Wish { reason: "measuring".to_owned(), batch_size: BATCH, throttle: None, asks: true };
    replay::request(log.pool(), &model, &wish, now).await.expect("none is under way");
    let applying: ApplyTo = Arc::new(|connection, search_path, events| {
        async move { Ok(apply(connection, search_path, events).await?) }.boxed()
    });
    let begun = Instant::now();
    let taken = Rebuild::take_up(&model, &log, &applying).await.expect("nothing is in the way");
    let mut rebuild = taken.expect("nobody else has taken it up");
    let mut applied = 0;
    loop {
        match rebuild.step().await.expect("nothing is in the way") {
            Step::Applied(count) => applied += count,
            Step::Halted => panic!("nobody has stopped it"),
            Step::Ended(_) => break,
        }
    }
    let rate = applied as f64 / begun.elapsed().as_secs_f64();
    // The live tables were never filled, so the two differ; the shadow goes.
    replay::cancel(log.pool(), NAME, now).await.expect("it waits for an operator");
    log.pool().close().await;
    rate
}
