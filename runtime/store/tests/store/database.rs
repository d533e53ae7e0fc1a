//! A log of its own for every test: a fresh database with the roles and the event tables.

use std::path::PathBuf;
use std::time::Duration;

use kernel::{EventId, OrgId, Position, Scope, Timestamp};
use otp::{ChildSpec, Clock, Root, Strategy, SupervisorSpec};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Postgres, Transaction};
use store::{Log, NewEvent};
use testkit::TestDatabase;
use uuid::Uuid;

/// A database with an empty log.
pub(crate) struct TestLog {
    /// Keeps the database for as long as the test runs.
    _database: TestDatabase,
    /// Connections of a superuser, to look behind the scenes and to tamper.
    pub(crate) owner: PgPool,
    /// The log as a node has it.
    pub(crate) log: Log,
    app: PgConnectOptions,
}

impl TestLog {
    pub(crate) async fn create() -> Self {
        let database = database().await;
        let owner = PgPoolOptions::new()
            .max_connections(4)
            .connect_with(database.options())
            .await
            .expect("the test's database is there");
        let app = database.app_options();
        let log = node(&app).await;
        Self { _database: database, owner, log, app }
    }

    /// The same log as another node sees it.
    pub(crate) async fn another_node(&self) -> Log {
        node(&self.app).await
    }

    /// Waits until some transaction waits for another.
    pub(crate) async fn somebody_waits(&self) {
        const WAITING: &str = "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'";
        within(async {
            while self.count(WAITING).await == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// How a node connects.
    pub(crate) fn app_options(&self) -> PgConnectOptions {
        self.app.clone()
    }

    /// Opens a transaction as `domain`, for the organisation.
    pub(crate) async fn begin(
        &self,
        domain: &str,
        org_id: OrgId,
    ) -> Transaction<'static, Postgres> {
        let begin = format!("begin; set local role {domain}; set local app.org_id = '{org_id}'");
        self.log
            .pool()
            .begin_with(AssertSqlSafe(begin))
            .await
            .expect("the application may become a domain")
    }

    /// Records `event` in a transaction of its own.
    pub(crate) async fn record(&self, event: &NewEvent) {
        let mut transaction = self.begin(event.domain, event.scope.org_id).await;
        store::append(&mut transaction, event).await.expect("a domain may append its own facts");
        transaction.commit().await.expect("nothing is in the way");
        self.log.nudge();
    }

    /// Records `count` events of the organisation and seals them.
    pub(crate) async fn seal_some(&self, org_id: OrgId, count: i64) {
        for number in 1..=count {
            self.record(&opened(org_id, number)).await;
        }
        store::sealer::seal_all(&self.log).await.expect("nothing is in the way");
    }

    /// Records `count` events of one organisation in one transaction, as fast as Postgres can.
    pub(crate) async fn insert_many(&self, count: i64) {
        self.insert_large(count, 0).await;
    }

    /// The same with payloads of about `bytes` bytes each.
    pub(crate) async fn insert_large(&self, count: i64, bytes: i32) {
        sqlx::query(
            "insert into events.domain_events
                 (id, org_id, domain, event_type, version, payload, metadata, inserted_at)
             select gen_random_uuid(), '0190a000-0000-7000-8000-000000000001', 'recruit',
                 'job_order_opened', 1,
                 convert_to('{\"number\":' || number || ',\"text\":\"' || repeat('x', $2) || '\"}',
                     'UTF8'),
                 convert_to('{\"actor\":{\"kind\":\"system\",\"name\":\"test\"},'
                     || '\"correlation_id\":\"0190a000-0000-7000-8000-000000000002\",\"hops\":1}',
                     'UTF8'),
                 now()
             from generate_series(1, $1) as number",
        )
        .bind(count)
        .bind(bytes)
        .execute(&self.owner)
        .await
        .expect("the owner may insert");
    }

    /// Runs a statement as a superuser to whom no trigger applies.
    pub(crate) async fn tamper(&self, statement: &str) {
        let mut owner = self.owner.acquire().await.expect("the owner may connect");
        let statement = format!(
            "set session_replication_role = replica; {statement}; \
             set session_replication_role = origin"
        );
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut *owner)
            .await
            .expect("nothing keeps a superuser from tampering");
    }

    /// Ends every connection to this database but the owner's.
    pub(crate) async fn cut_connections(&self) {
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and usename = 'finnest_app'",
        )
        .execute(&self.owner)
        .await
        .expect("a superuser may end connections");
    }

    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(&self.owner)
            .await
            .expect("the owner may look at everything")
    }

    /// Waits until `position` is sealed and known here.
    pub(crate) async fn sealed_up_to(&self, position: i64) {
        within(self.log.wait_until(Position(position))).await;
    }

    /// Asserts that every chain holds.
    pub(crate) async fn assert_holds(&self) {
        let verdict = store::verify::verify(self.log.pool(), None, |_| {})
            .await
            .expect("the log can be read");
        assert!(verdict.holds(), "{:?}", verdict.broken);
    }
}

/// The log as a new node sees it.
pub(crate) async fn node(app: &PgConnectOptions) -> Log {
    let pool = PgPoolOptions::new()
        .max_connections(20)
        .connect_with(app.clone())
        .await
        .expect("the application may connect");
    Log::new(pool, Clock::system())
}

/// Waits until this node's sealer leads.
pub(crate) async fn leads(log: &Log) {
    within(async {
        while !log.sealer_stats().counts().is_leader {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Runs `children` until the returned root is stopped.
pub(crate) async fn supervise(children: impl IntoIterator<Item = ChildSpec>) -> Root {
    let spec = SupervisorSpec::new(Strategy::OneForOne).children(children);
    Root::start(spec, Clock::system()).await.expect("the children start")
}

/// What `future` gives, or the end of the test: nothing here takes half a minute.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it happens within half a minute")
}

/// A job order was opened: the event most tests record.
pub(crate) fn opened(org_id: OrgId, number: i64) -> NewEvent {
    told(org_id, "recruit", "job_order_opened", json!({ "number": number }))
}

pub(crate) fn told(
    org_id: OrgId,
    domain: &'static str,
    event_type: &'static str,
    payload: Value,
) -> NewEvent {
    NewEvent {
        event_id: EventId::new(),
        scope: Scope::system(org_id, "test", Uuid::now_v7()),
        domain,
        event_type,
        version: 1,
        aggregate_id: Some(Uuid::now_v7()),
        payload,
        recorded_at: Clock::system().now(),
    }
}

/// The roles the platform makes before it runs the migrations.
const ROLES: &str = "
do $$
declare
    wanted text;
begin
    foreach wanted in array array['finnest_runtime', 'recruit', 'pulse'] loop
        if not exists (select from pg_roles where rolname = wanted) then
            execute format('create role %I nologin', wanted);
        end if;
    end loop;
    if not exists (select from pg_roles where rolname = 'finnest_app') then
        create role finnest_app login noinherit;
    end if;
    grant finnest_runtime, recruit, pulse to finnest_app;
end $$;
";

/// A database with the roles and the event tables, and nothing else of the platform.
async fn database() -> TestDatabase {
    migrated(&(ROLES.to_owned() + &migrations("").concat())).await
}

/// A database in which the statements of `migrations` ran.
pub(crate) async fn migrated(migrations: &str) -> TestDatabase {
    TestDatabase::create(migrations, async |options| {
        let mut owner = PgConnection::connect_with(&options).await?;
        sqlx::raw_sql(AssertSqlSafe(migrations)).execute(&mut owner).await?;
        owner.close().await?;
        Ok(())
    })
    .await
    .expect("a test has a database")
}

/// The roles, and the files in `migrations/events` before the one whose name begins with `until`;
/// then that one alone.
pub(crate) fn before_and_at(until: &str) -> (String, String) {
    let mut texts = migrations(until);
    let last = texts.pop().expect("there is such a migration");
    (ROLES.to_owned() + &texts.concat(), last)
}

/// The texts of the files in `migrations/events`, in their order, up to and with the one whose name
/// begins with `until`.
fn migrations(until: &str) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/events");
    let entries = std::fs::read_dir(folder).expect("the migrations are in the repository");
    let mut files: Vec<_> =
        entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    files.sort();
    let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let last = files.iter().position(|file| !until.is_empty() && name(file).starts_with(until));
    files.truncate(last.map_or(files.len(), |last| last + 1));
    let text = |file| std::fs::read_to_string(file).expect("a migration is text");
    files.iter().map(text).collect()
}

/// The instant `text` names.
pub(crate) fn instant(text: &str) -> Timestamp {
    text.parse().expect("the test names an instant")
}
