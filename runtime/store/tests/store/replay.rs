//! Making the tables of a read model again beside the live ones.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use kernel::{OrgId, Position};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use store::consumer::ConsumeError;
use store::consumer::stall::{self, Skip};
use store::replay::{
    self, ApplyTo, DifferenceKind, ProjectionRecord, ReadModel, Rebuild, RebuildState, Rebuilder,
    ReplayError, Step, TableDigest, Wish,
};
use store::{Consumer, Log, SealedEvent};
use tokio::sync::watch;

use crate::database::{TestLog, opened, supervise, told, within};

const NAME: &str = "recruit.tally";

/// How often each number was told, and when last.
fn tally(version: u16) -> ReadModel {
    ReadModel {
        name: NAME.to_owned(),
        version,
        tables: vec!["tally".to_owned()],
        filter: vec![("recruit".to_owned(), "job_order_opened".to_owned())],
    }
}

/// A log with a table for the tally.
async fn log_with_a_table() -> TestLog {
    let log = TestLog::create().await;
    sqlx::raw_sql(
        "create schema recruit; grant usage on schema recruit to recruit, finnest_runtime;
         create table recruit.tally (
             org_id uuid not null, number bigint not null, hits bigint not null check (hits > 0),
             note text, told_at timestamptz not null,
             constraint tally_once primary key (org_id, number)
         ) with (fillfactor = 90);
         create index busiest_first on recruit.tally (org_id, hits desc) where hits > 1;
         alter table recruit.tally enable row level security;
         alter table recruit.tally force row level security;
         create policy tenant on recruit.tally
             using (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
         create policy the_runtime_digests on recruit.tally for select to finnest_runtime
             using (true);
         grant select, insert, update, delete on recruit.tally to recruit;
         grant select on recruit.tally to finnest_runtime",
    )
    .execute(&log.owner)
    .await
    .expect("the owner may make tables");
    log
}

async fn count(
    connection: &mut PgConnection,
    search_path: &str,
    table: &str,
    events: &[SealedEvent],
) -> Result<(), sqlx::Error> {
    for event in events {
        let tenant = format!(
            "set local role recruit; set local search_path = {search_path}; \
             set local app.org_id = '{}'",
            event.org_id
        );
        sqlx::raw_sql(AssertSqlSafe(tenant)).execute(&mut *connection).await?;
        let payload = event.payload_json().expect("a payload is JSON");
        let upsert = format!(
            "insert into {table} as known (org_id, number, hits, told_at) values ($1, $2, 1, $3)
             on conflict on constraint tally_once do update
             set hits = known.hits + 1, told_at = excluded.told_at"
        );
        sqlx::query(AssertSqlSafe(upsert))
            .bind(event.org_id)
            .bind(payload["number"].as_i64())
            .bind(event.recorded_at)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::raw_sql("set local role finnest_runtime").execute(connection).await?;
    Ok(())
}

/// Counts into the table of that name, wherever the search path finds it.
fn counting(table: &'static str) -> ApplyTo {
    Arc::new(move |connection, search_path, events| {
        async move { Ok(count(connection, search_path, table, events).await?) }.boxed()
    })
}

/// The consumer that keeps the live table up to date.
fn live(log: &Log) -> Consumer {
    Consumer::new(NAME, log, |connection, events| {
        async move { Ok(count(connection, "recruit", "tally", &events).await?) }.boxed()
    })
    .filter(tally(1).filter)
}

/// A log with `count` events of two organisations, of which other events lie between, all of them
/// in the live table.
async fn tallied(count: i64) -> TestLog {
    let log = log_with_a_table().await;
    let organisations = [OrgId::new(), OrgId::new()];
    for number in 0..count {
        let org_id = organisations[usize::from(number % 3 == 0)];
        log.record(&opened(org_id, number % 23)).await;
        if number % 5 == 0 {
            log.record(&told(org_id, "pulse", "drafted", serde_json::json!({}))).await;
        }
    }
    store::sealer::seal_all(&log.log).await.expect("nothing is in the way");
    live(&log.log).run_once().await.expect("nothing is in the way");
    replay::declare(log.log.pool(), &tally(1), log.log.clock().now()).await.expect("as above");
    log
}

fn wish(batch_size: u32) -> Wish {
    Wish { reason: "a test".to_owned(), batch_size, throttle: None, asks: false }
}

async fn request(log: &TestLog, model: &ReadModel, wish: &Wish) {
    let now = log.log.clock().now();
    replay::request(log.log.pool(), model, wish, now).await.expect("none is under way");
}

/// Runs the rebuild that was asked for until it ends or waits for somebody.
async fn run(log: &TestLog, model: &ReadModel) -> RebuildState {
    let apply = counting("tally");
    let mut rebuild = Rebuild::take_up(model, &log.log, &apply)
        .await
        .expect("it can be")
        .expect("it is asked for");
    loop {
        match rebuild.step().await.expect("nothing is in the way") {
            Step::Applied(_) => {}
            Step::Halted => panic!("nobody has stopped it"),
            Step::Ended(state) => return state,
        }
    }
}

async fn record(log: &TestLog) -> ProjectionRecord {
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the log can be read");
    let mut records = replay::list(&mut reading).await.expect("the log can be read");
    records.pop().expect("the tally is on record")
}

async fn live_digests(log: &TestLog) -> Vec<TableDigest> {
    replay::digest_live(log.log.pool(), &tally(1)).await.expect("the log can be read").1
}

#[tokio::test]
async fn what_was_skipped_is_left_out_of_the_rebuilt_tables_too() {
    let log = log_with_a_table().await;
    for number in 1..=3 {
        log.record(&opened(OrgId::new(), number)).await;
    }
    store::sealer::seal_all(&log.log).await.expect("nothing is in the way");
    let poisoned = Consumer::new(NAME, &log.log, |connection, events| {
        async move {
            if events.iter().any(|event| event.position.0 == 2) {
                return Err(ConsumeError::Refused("no such client".into()));
            }
            Ok(count(connection, "recruit", "tally", &events).await?)
        }
        .boxed()
    })
    .filter(tally(1).filter);
    poisoned.run_once().await.expect_err("one of the events is poisonous");
    let order = Skip {
        consumer: NAME.to_owned(),
        position: Position(2),
        reason: "a test".to_owned(),
        skipped_by: "a test".to_owned(),
    };
    stall::skip(log.log.pool(), &order).await.expect("it is stalled there");
    poisoned.run_once().await.expect("nothing is in the way any more");
    replay::declare(log.log.pool(), &tally(1), log.log.clock().now()).await.expect("as above");

    // In one statement, and as a run.
    for batch_size in [500, 1] {
        request(&log, &tally(1), &wish(batch_size)).await;
        assert_eq!(run(&log, &tally(1)).await, RebuildState::Swapped);
    }

    assert_eq!(log.count("select count(*) from recruit.tally").await, 2);
}

#[tokio::test]
async fn the_digest_depends_on_no_batch_and_on_no_crash() {
    let log = tallied(60).await;
    let live = live_digests(&log).await;
    let mut crashes = 0;
    // Connections of its own: what is cut off leaves them as they were at that moment.
    let node = log.another_node().await;

    for batch_size in [1, 7, 500] {
        request(&log, &tally(1), &wish(batch_size)).await;
        let apply = counting("tally");
        let mut patience = Duration::ZERO;
        let state = within(async {
            loop {
                // A session that was dropped a moment ago may hold its lock still.
                let taken = Rebuild::take_up(&tally(1), &node, &apply).await;
                let Some(mut rebuild) = taken.expect("it can be") else {
                    tokio::task::yield_now().await;
                    continue;
                };
                // Each attempt is cut off a little later than the one before, wherever it is.
                patience = patience * 5 / 4 + Duration::from_millis(1);
                let ended = tokio::time::timeout(patience, async {
                    loop {
                        if let Step::Ended(state) = rebuild.step().await.expect("it goes on") {
                            break state;
                        }
                    }
                });
                match ended.await {
                    Ok(state) => break state,
                    Err(_) => crashes += 1,
                }
            }
        })
        .await;

        let comparison = record(&log).await.rebuild.and_then(|rebuild| rebuild.comparison);
        let comparison = comparison.expect("the two sides were compared");
        assert_eq!(state, RebuildState::Swapped, "{comparison:?}");
        assert_eq!((&comparison.live, &comparison.rebuilt), (&live, &live), "by {batch_size}");
    }

    assert_eq!(live_digests(&log).await, live);
    assert!(live[0].rows > 30, "{live:?}");
    assert!(crashes > 3, "the attempts were cut off {crashes} times only");
}

#[tokio::test]
async fn a_digest_depends_on_neither_order_nor_past_of_a_table() {
    let log = tallied(60).await;
    let before = live_digests(&log).await;

    log.tamper(
        "alter table recruit.tally add column gone integer; \
         alter table recruit.tally drop column gone; \
         create table moved as table recruit.tally; delete from recruit.tally; \
         insert into recruit.tally select * from moved order by number desc",
    )
    .await;

    assert_eq!(live_digests(&log).await, before);
    log.tamper("update recruit.tally set note = '' where number = 3").await;
    assert_ne!(live_digests(&log).await, before);
}

#[tokio::test]
async fn a_live_table_that_differs_is_reported_by_key_and_left_to_an_operator() {
    let log = tallied(60).await;
    log.tamper(
        "update recruit.tally set hits = 77 where number = 2; \
         delete from recruit.tally where number = 5; \
         insert into recruit.tally
         values ('00000000-0000-7000-8000-000000000000', 99, 1, '', now())",
    )
    .await;
    request(&log, &tally(1), &wish(7)).await;

    let state = run(&log, &tally(1)).await;

    assert_eq!(state, RebuildState::DigestMismatch);
    let rebuild = record(&log).await.rebuild.expect("it is on record");
    let comparison = rebuild.comparison.expect("the two sides were compared");
    let found: Vec<_> = comparison
        .differences
        .iter()
        .map(|difference| {
            let number = difference.key["number"].as_i64().expect("a number is part of the key");
            (number, difference.kind, difference.columns.join(" "))
        })
        .collect();
    assert!(found.contains(&(99, DifferenceKind::OnlyLive, String::new())), "{found:?}");
    assert!(found.contains(&(5, DifferenceKind::OnlyRebuilt, String::new())), "{found:?}");
    assert!(found.contains(&(2, DifferenceKind::Changed, "hits".to_owned())), "{found:?}");
    let now = log.log.clock().now();
    replay::accept(log.log.pool(), NAME, now).await.expect("it waits for this");
    assert_eq!(run(&log, &tally(1)).await, RebuildState::Swapped);
    assert_eq!(live_digests(&log).await, comparison.rebuilt);
}

#[tokio::test]
async fn keeping_the_live_tables_drops_the_rebuilt_ones() {
    let log = tallied(20).await;
    log.tamper("update recruit.tally set hits = 77 where number = 2").await;
    let kept = live_digests(&log).await;
    request(&log, &tally(1), &wish(7)).await;
    run(&log, &tally(1)).await;

    let now = log.log.clock().now();
    replay::keep(log.log.pool(), NAME, now).await.expect("it waits for this");

    assert_eq!(live_digests(&log).await, kept);
    let schemas = "select count(*) from pg_namespace where nspname like 'shadow%'";
    assert_eq!(log.count(schemas).await, 0);
    assert_eq!(record(&log).await.rebuild.map(|rebuild| rebuild.state), Some(RebuildState::Kept));
}

#[tokio::test]
async fn a_projection_that_names_its_schema_fails_and_leaves_the_live_table_alone() {
    let log = tallied(20).await;
    let before = live_digests(&log).await;
    request(&log, &tally(1), &wish(500)).await;
    let apply = counting("recruit.tally");
    let taken = Rebuild::take_up(&tally(1), &log.log, &apply).await.expect("it can be");

    let refused = taken.expect("it is asked for").step().await.expect_err("it is caught");

    let ReplayError::TouchesLive { table, .. } = &refused else { panic!("{refused}") };
    assert_eq!(table, "recruit.tally");
    assert_eq!(live_digests(&log).await, before);
}

#[tokio::test]
async fn nothing_is_rebuilt_from_half_a_log() {
    let log = tallied(5).await;
    log.tamper(
        "insert into events.archives values
         ('2019-03-01', 'march', sha256('march'), 1, 1, 1, now(), now())",
    )
    .await;
    request(&log, &tally(1), &wish(500)).await;
    let apply = counting("tally");
    let taken = Rebuild::take_up(&tally(1), &log.log, &apply).await.expect("it can be");

    let refused = taken.expect("it is asked for").step().await.expect_err("a month is missing");

    assert!(refused.to_string().contains("2019-03"), "{refused}");
}

#[tokio::test]
async fn two_sessions_never_run_one_rebuild() {
    let log = tallied(20).await;
    request(&log, &tally(1), &wish(1)).await;
    let (apply, elsewhere) = (counting("tally"), log.another_node().await);
    let here = Rebuild::take_up(&tally(1), &log.log, &apply).await.expect("it can be");
    let there = Rebuild::take_up(&tally(1), &elsewhere, &apply).await.expect("it can be asked");
    let again = replay::request(log.log.pool(), &tally(1), &wish(1), log.log.clock().now()).await;

    assert!(here.is_some());
    assert!(there.is_none());
    assert!(matches!(again, Err(ReplayError::UnderWay(_))), "{again:?}");
}

#[tokio::test]
async fn a_pause_holds_from_the_next_batch_and_a_cancellation_drops_the_shadow() {
    let log = tallied(40).await;
    request(&log, &tally(1), &wish(5)).await;
    let apply = counting("tally");
    let taken = Rebuild::take_up(&tally(1), &log.log, &apply).await.expect("it can be");
    let mut rebuild = taken.expect("it is asked for");
    rebuild.step().await.expect("nothing is in the way");
    let (pool, now) = (log.log.pool(), log.log.clock().now());

    replay::pause(pool, NAME, now).await.expect("it runs");

    assert_eq!(rebuild.step().await.expect("it is told"), Step::Halted);
    drop(rebuild);
    let paused = record(&log).await.rebuild.expect("it is on record");
    assert_eq!((paused.state, paused.events), (RebuildState::Paused, 5));
    let swap = replay::accept(pool, NAME, now).await.expect_err("it has not caught up");
    assert_eq!(swap.to_string(), "the rebuild of recruit.tally is paused, so it cannot be swapped");
    replay::cancel(pool, NAME, now).await.expect("it can be cancelled in any state");
    let schemas = "select count(*) from pg_namespace where nspname like 'shadow%'";
    assert_eq!(log.count(schemas).await, 0);
    request(&log, &tally(1), &wish(500)).await;
}

/// Rights, row security, names: everything about a table that a swap must not change.
async fn outline(owner: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select format('%s %s %s %s', relacl, relrowsecurity, relforcerowsecurity, reloptions)
         from pg_class where oid = 'recruit.tally'::regclass
         union all select indexdef from pg_indexes where schemaname = 'recruit'
         union all select format('%s %s %s %s %s', policyname, roles, cmd, qual, with_check)
             from pg_policies where schemaname = 'recruit'
         union all select format('%s %s', conname, pg_get_constraintdef(oid)) from pg_constraint
             where conrelid = 'recruit.tally'::regclass
         order by 1",
    )
    .fetch_all(owner)
    .await
    .expect("the owner may look at the catalog")
}

#[tokio::test]
async fn the_swapped_table_has_the_names_rights_and_walls_of_the_one_before() {
    let log = tallied(10).await;
    let before = outline(&log.owner).await;
    let oid = "select 'recruit.tally'::regclass::oid::bigint";
    let old = log.count(oid).await;
    request(&log, &tally(1), &wish(500)).await;

    run(&log, &tally(1)).await;

    assert_ne!(log.count(oid).await, old);
    assert_eq!(outline(&log.owner).await, before);
    assert_eq!(before.len(), 7, "{before:#?}");
}

#[tokio::test]
async fn readers_and_the_live_consumer_go_on_while_tables_are_swapped() {
    let log = tallied(40).await;
    let rows = log.count("select count(*) from recruit.tally").await;
    let told = log.count("select sum(hits)::bigint from recruit.tally").await;
    let (wake, wanted) = watch::channel(0_u64);
    let rebuilder = Rebuilder::new(tally(1), &log.log, counting("tally"), wanted);
    let root = supervise([
        live(&log.log).child(),
        store::sealer::child(&log.log),
        rebuilder.child("rebuilder"),
    ])
    .await;
    let org_id = OrgId::new();
    let mut told_meanwhile = 0;

    for round in 0..3_u32 {
        request(&log, &tally(1), &wish(50)).await;
        wake.send_replace(u64::from(round));
        if round == 1 {
            root.tree().kill("root/rebuilder").expect("the rebuilder is in the tree");
        }
        within(async {
            loop {
                if told_meanwhile < i64::from(20 * (round + 1)) {
                    log.record(&opened(org_id, 1_000)).await;
                    told_meanwhile += 1;
                }
                let seen = log.count("select count(*) from recruit.tally").await;
                assert!(seen >= rows, "a reader saw {seen} rows of {rows}");
                let rebuild = record(&log).await.rebuild.expect("it is on record");
                assert_ne!(rebuild.state, RebuildState::DigestMismatch, "{rebuild:?}");
                if rebuild.state == RebuildState::Swapped {
                    break;
                }
            }
        })
        .await;
    }
    // Each event counts once, whoever applied it.
    let expected = told + told_meanwhile;
    within(async {
        while log.count("select sum(hits)::bigint from recruit.tally").await < expected {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let total = log.count("select sum(hits)::bigint from recruit.tally").await;
    assert_eq!(total, expected);
    root.stop().await;
}

#[tokio::test]
async fn a_newer_version_of_the_logic_renews_the_tables_by_itself() {
    let log = tallied(30).await;
    log.tamper("update recruit.tally set hits = 77 where number = 2").await;
    let (_wake, wanted) = watch::channel(0);
    let rebuilder = Rebuilder::new(tally(2), &log.log, counting("tally"), wanted).renews(wish(10));

    let root = supervise([rebuilder.child("rebuilder")]).await;

    let renewed = within(async {
        loop {
            let record = record(&log).await;
            if record.live.version == 2 {
                break record;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let rebuild = renewed.rebuild.expect("it is on record");
    // What another version has made is meant to be different, so nobody is asked.
    assert_eq!((rebuild.state, rebuild.version), (RebuildState::Swapped, 2));
    assert_eq!(log.count("select count(*) from recruit.tally where hits = 77").await, 0);
    root.stop().await;
}

#[tokio::test]
async fn a_table_that_could_not_be_made_again_is_named_with_its_fault() {
    let log = log_with_a_table().await;
    for (fault, expected) in [
        ("alter table recruit.tally alter told_at set default now()", "column told_at"),
        ("create view recruit.busy as select number from recruit.tally", "a view is made from it"),
        ("alter table recruit.tally add serial bigint generated always as identity", "serial"),
        ("revoke select on recruit.tally from finnest_runtime", "events.projection_table"),
        ("alter table recruit.tally drop constraint tally_once", "no primary key"),
        ("drop view recruit.busy; drop table recruit.tally", "no migration makes it"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(fault)).execute(&log.owner).await.expect(fault);
        let mut reading = store::begin_reading(log.log.pool()).await.expect("it can be read");

        let faults = replay::faults(&mut reading, &tally(1)).await.expect("it can be read");

        assert!(faults.join("\n").contains(expected), "{fault}: {faults:?}");
    }
}
