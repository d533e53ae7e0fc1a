//! Plans: which partitions the log's own statements touch, as Postgres itself reports.
//!
//! Every statement of a read is explained while it runs (`auto_explain`), with what was executed
//! and not only planned: a partition that was pruned, first or on the way, was never executed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use kernel::{OrgId, Position, Topic};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgConnection};
use store::read::{self, Run};
use store::{Log, partition};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use uuid::Uuid;

use crate::database::{TestLog, instant, opened, supervise, within};

/// The plans that Postgres sent, as text.
#[derive(Clone, Default)]
struct Plans(Arc<Mutex<Vec<String>>>);

impl Subscriber for Plans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Visit for Plans {
    fn record_str(&mut self, _: &Field, text: &str) {
        if let Some((_, plan)) = text.split_once("plan:\n") {
            self.0.lock().expect("nobody panics with it").push(plan.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// What statements have really read, and not only planned to.
#[derive(Default)]
struct Touched {
    /// The partitions.
    months: BTreeSet<String>,
    /// Those that were read from end to end.
    scanned: BTreeSet<String>,
    /// The rows of events that were looked at, wanted or not.
    rows: u64,
}

impl Touched {
    fn add(&mut self, node: &Value) {
        let relation = node["Relation Name"].as_str().unwrap_or_default();
        let loops = node["Actual Loops"].as_u64().unwrap_or_default();
        if let (Some(month), 1..) = (relation.strip_prefix("domain_events_"), loops) {
            self.months.insert(month.to_owned());
            if node["Node Type"] == "Seq Scan" {
                self.scanned.insert(month.to_owned());
            }
            let rows = |key: &str| node[key].as_u64().unwrap_or_default();
            self.rows += loops * (rows("Actual Rows") + rows("Rows Removed by Filter"));
        }
        node["Plans"].as_array().into_iter().flatten().for_each(|child| self.add(child));
    }
}

/// A log with events in five months, and a way to it on which every statement is explained.
struct Explained {
    database: TestLog,
    told: Log,
    acme: OrgId,
    aggregate_id: Uuid,
    plans: Plans,
}

/// A thousand events a month: the first thousand positions are January's, and so on to May.
///
/// Two events a transaction, as in life: where one recorded a whole month, any index is as good as
/// that of transactions, and which one Postgres takes is left to chance.
async fn explained() -> Explained {
    let log = TestLog::create().await;
    let (acme, aggregate_id) = (OrgId::new(), Uuid::from_u128(7));
    for month in 1..=5 {
        let mut making = store::begin(log.log.pool()).await.expect("a connection is free");
        let when = instant(&format!("2021-0{month}-10T00:00:00Z"));
        partition::ensure(&mut making, when.date_naive(), 0).await.expect("it can be made");
        making.commit().await.expect("nothing is in the way");
        sqlx::query(
            "insert into events.domain_events
                 (id, org_id, domain, event_type, version, aggregate_id, payload, metadata,
                  inserted_at, tx)
             select gen_random_uuid(), $1, 'recruit', 'job_order_opened', 1,
                 case when number = 1 then $2 else gen_random_uuid() end,
                 convert_to('{\"text\":\"' || repeat('x', 300) || '\"}', 'UTF8'),
                 convert_to('{\"actor\":{\"kind\":\"system\",\"name\":\"test\"},'
                     || '\"correlation_id\":\"0190a000-0000-7000-8000-000000000002\",\"hops\":1}',
                     'UTF8'),
                 $3, (3 + number % 500)::text::xid8
             from generate_series(1, 1000) as number",
        )
        .bind(acme)
        .bind(aggregate_id)
        .bind(when)
        .execute(&log.owner)
        .await
        .expect("the owner may insert");
    }
    store::sealer::seal_all(&log.log).await.expect("nothing is in the way");
    sqlx::raw_sql("vacuum analyze").execute(&log.owner).await.expect("the owner may");
    let told = told_plans(&log).await;
    Explained { database: log, told, acme, aggregate_id, plans: Plans::default() }
}

/// The log through sessions that explain to the client what they do.
async fn told_plans(log: &TestLog) -> Log {
    let database: String = sqlx::query_scalar("select current_database()")
        .fetch_one(&log.owner)
        .await
        .expect("the owner may ask");
    let settings = [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_format = 'json'",
        "auto_explain.log_level = 'notice'",
    ];
    for setting in settings {
        // Safe: a name made by the test server.
        let sql = format!("alter database {database} set {setting}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&log.owner).await.expect("the owner may");
    }
    let options = log.log.pool().connect_options();
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .connect_with(options.as_ref().clone().options([("client_min_messages", "notice")]))
        .await
        .expect("the application may connect");
    Log::new(pool, log.log.clock().clone())
}

impl Explained {
    /// What `act` reads.
    async fn during(&self, act: impl AsyncFnOnce(&Log)) -> Touched {
        let _listening = tracing::subscriber::set_default(self.plans.clone());
        act(&self.told).await;
        let mut touched = Touched::default();
        let plans = std::mem::take(&mut *self.plans.0.lock().expect("nobody panics with it"));
        assert!(!plans.is_empty(), "something was asked");
        for plan in plans {
            let plan: Value = serde_json::from_str(&plan).expect("the plan is JSON");
            touched.add(&plan["Plan"]);
        }
        touched
    }

    async fn check(&self, act: impl AsyncFnOnce(&mut PgConnection), expected: &[&str]) {
        let touched = self
            .during(async |log: &Log| {
                let mut reading = store::begin_reading(log.pool()).await.expect("one is free");
                act(&mut reading).await;
            })
            .await;
        assert_eq!(touched.months.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert!(touched.scanned.is_empty(), "read from end to end: {:?}", touched.scanned);
    }
}

#[tokio::test]
async fn reading_by_position_touches_the_months_of_these_positions_only() {
    let log = explained().await;

    log.check(
        async |reading| {
            let events = read::after(reading, Position(2_500), 10).await.expect("it can be read");
            assert_eq!(events.len(), 10);
        },
        &["2021_03"],
    )
    .await;
    log.check(
        async |reading| {
            let events = read::after(reading, Position(2_995), 10).await.expect("it can be read");
            assert_eq!(events.len(), 10);
        },
        &["2021_03", "2021_04"],
    )
    .await;
}

#[tokio::test]
async fn reading_by_type_or_topic_touches_the_months_it_looks_through_only() {
    let log = explained().await;
    let filter = [("recruit".to_owned(), "job_order_opened".to_owned())];
    let topic = Topic { org_id: log.acme, domain: "recruit".into(), aggregate_id: None };

    log.check(
        async |reading| {
            let events =
                read::matching(reading, Position(4_500), Position(4_515), &filter, 50).await;
            assert_eq!(events.expect("it can be read").len(), 15);
        },
        &["2021_05"],
    )
    .await;
    log.check(
        async |reading| {
            let events = read::of_topic(reading, &topic, Position(4_500), 50).await;
            assert_eq!(events.expect("it can be read").len(), 50);
        },
        &["2021_05"],
    )
    .await;
    log.check(
        async |reading| {
            let events = read::of_organisation(reading, log.acme, 1_200, 10).await;
            assert_eq!(events.expect("it can be read").len(), 10);
        },
        &["2021_02"],
    )
    .await;
}

#[tokio::test]
async fn a_run_touches_the_months_it_goes_through_only() {
    let log = explained().await;

    let touched = log
        .during(async |log: &Log| {
            let run = Run::over(log.pool(), Position(1_000), Position(2_000)).await;
            let mut run = run.expect("it can be read");
            while run.next().await.expect("it can be read").is_some() {}
        })
        .await;

    assert_eq!(touched.months.into_iter().collect::<Vec<_>>(), ["2021_02"]);
    assert!(touched.scanned.is_empty(), "{:?}", touched.scanned);
}

/// An aggregate may have events in any month, and nothing but the events tells in which. Each
/// partition that there is, is asked by its index; none is read.
#[tokio::test]
async fn the_history_of_an_aggregate_is_one_probe_of_the_index_in_each_month() {
    let log = explained().await;

    let touched = log
        .during(async |log_: &Log| {
            let mut reading = store::begin_reading(log_.pool()).await.expect("one is free");
            let events = read::of_aggregate(
                &mut reading,
                log.acme,
                "recruit",
                log.aggregate_id,
                Position::ORIGIN,
                50,
            );
            assert_eq!(events.await.expect("it can be read").len(), 5);
        })
        .await;

    assert!(touched.scanned.is_empty(), "{:?}", touched.scanned);
    assert_eq!(touched.rows, 5);
}

/// A transaction that recorded events can have done so at any instant its clock told. So the look
/// for new events asks each partition's index of transactions, which ends at once where there is
/// nothing new; it reads no rows but those it finds.
#[tokio::test]
async fn a_look_for_new_events_is_one_probe_of_the_index_in_each_month() {
    let log = explained().await;

    let touched = log
        .during(async |log: &Log| {
            store::sealer::seal_all(log).await.expect("nothing is in the way");
            let mut reading = store::begin_reading(log.pool()).await.expect("one is free");
            assert_eq!(read::unsealed_count(&mut reading).await.expect("it can be asked"), 0);
        })
        .await;

    assert!(touched.scanned.is_empty(), "{:?}", touched.scanned);
    assert_eq!(touched.rows, 0);
}

/// The sealer plans its look once, when its session is young. Planned for an empty month it once
/// walked through the primary key, and read the whole month at every look until statistics came.
#[tokio::test]
async fn a_look_planned_for_an_empty_month_reads_only_what_is_new() {
    let log = TestLog::create().await;
    // As whoever restores a database does: from now on Postgres knows that the month is empty.
    sqlx::raw_sql("vacuum analyze").execute(&log.owner).await.expect("the owner may");
    let told = told_plans(&log).await;
    let (acme, aggregate_id) = (OrgId::new(), Uuid::from_u128(7));
    let log = Explained { database: log, told, acme, aggregate_id, plans: Plans::default() };
    let root = supervise([store::sealer::child(&log.told)]).await;
    let mut head = log.told.head();
    let mut sealed = async |position| {
        log.told.nudge();
        let is_there = head.wait_for(|head| *head >= Position(position));
        let _ = within(is_there).await.expect("the log holds the sender");
    };
    log.database.record(&opened(acme, 1)).await;
    sealed(1).await;
    log.database.insert_many(2_000).await;
    sealed(2_001).await;

    let touched = log
        .during(async |_: &Log| {
            log.database.record(&opened(acme, 2)).await;
            sealed(2_002).await;
        })
        .await;

    assert!(touched.rows < 100, "{} rows were read for one event", touched.rows);
    root.stop().await;
}
