//! A real system on a database of its own: started, settled on demand, stopped.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use platform::kernel::{Digest, OrgId, Scope, UserId};
use platform::otp::Clock;
use platform::otp::config::Tuning;
use platform::{
    Catalog, Config, Database, Domain, DomainName, MakeEdge, MasterSecret, Profile, PublicUrl,
    Role, Security, System, Wakes,
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};
use store::Log;
use uuid::Uuid;

use crate::database::TestDatabase;
use crate::jobs::LEDGER;
use crate::member::Member;

/// An organisation of every test.
pub const ACME: OrgId = organisation(0xa100);
/// Another organisation of every test, which must never see anything of [`ACME`].
pub const GLOBEX: OrgId = organisation(0xb200);

/// An organisation whose id ends so, and is otherwise the same in every test.
const fn organisation(ending: u128) -> OrgId {
    OrgId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | ending))
}

/// A running system under test.
pub struct TestSystem {
    system: System,
    database: Option<TestDatabase>,
    page: PathBuf,
    /// Whether jobs are performed where they are enqueued.
    pub(crate) inline: Arc<AtomicBool>,
}

/// Starts the domains, and the operator's own, on a fresh database with the wall clock.
///
/// # Panics
/// When the system cannot start: a test without a system tests nothing.
pub async fn start(domains: impl IntoIterator<Item = Domain>) -> TestSystem {
    start_with(domains, Clock::system(), "", Box::new(|_| Vec::new())).await
}

/// Starts the domains with a clock, extra lines of supervision.toml, and an edge.
///
/// # Panics
/// As [`start`].
pub async fn start_with(
    domains: impl IntoIterator<Item = Domain>,
    clock: Clock,
    extra_tuning: &str,
    edge: MakeEdge,
) -> TestSystem {
    started(domains, clock, extra_tuning, edge, |_| {}).await
}

/// Starts the domains where other rules of security hold.
///
/// # Panics
/// As [`start`].
pub async fn start_under(
    profile: Profile,
    domains: impl IntoIterator<Item = Domain>,
    clock: Clock,
) -> TestSystem {
    started_securely(domains, clock, |security| security.profile = profile).await
}

/// Starts the domains with other rules of security, for example with passkeys.
///
/// # Panics
/// As [`start`].
pub async fn started_securely(
    domains: impl IntoIterator<Item = Domain>,
    clock: Clock,
    secure: impl FnOnce(&mut Security),
) -> TestSystem {
    started(domains, clock, "", Box::new(|_| Vec::new()), secure).await
}

async fn started(
    domains: impl IntoIterator<Item = Domain>,
    clock: Clock,
    extra_tuning: &str,
    edge: MakeEdge,
    secure: impl FnOnce(&mut Security),
) -> TestSystem {
    let mut domains: Vec<Domain> = domains.into_iter().collect();
    if !domains.iter().any(|domain| domain.name() == platform::operator::OPERATOR) {
        domains.push(platform::operator::domain());
    }
    let names: Vec<DomainName> = domains.iter().map(Domain::name).collect();
    // The template has a ledger of jobs besides what is migrated.
    let key = format!("{}{LEDGER}", platform::migrations_checksum(&names));
    let migrated = names.clone();
    let database = TestDatabase::create(&key, async move |options: PgConnectOptions| {
        platform::migrate(&options, &migrated).await?;
        seed(&options).await?;
        Ok(())
    })
    .await
    .expect("a test has a database");
    let catalog = Catalog::part(domains).expect("the domains under test agree with each other");
    let tuning = tuning_of(&catalog, extra_tuning);
    let page = std::env::temp_dir().join(format!("finnest-test-{}.toml", Uuid::now_v7()));
    let (owner, app) = (database.options(), database.app_options());
    let mut config = config_of(owner, app, tuning, page.clone(), clock, edge);
    secure(&mut config.security);
    let system = System::start(config, catalog).await.expect("the system under test starts");
    TestSystem { system, database: Some(database), page, inline: Arc::default() }
}

fn config_of(
    owner: PgConnectOptions,
    app: PgConnectOptions,
    tuning: Tuning,
    page: PathBuf,
    clock: Clock,
    edge: MakeEdge,
) -> Config {
    Config {
        database: Database::External { owner, app },
        tuning,
        page,
        clock,
        node: format!("test-{}", Uuid::now_v7()),
        connections_max: 16,
        wakes: Wakes::Shared,
        relay: None,
        shelf: None,
        edge,
        cells: None,
        signing: None,
        security: Security {
            profile: Profile::Commercial,
            secret: MasterSecret::new([7; 32]),
            address: PublicUrl::default(),
            passkeys: None,
        },
    }
}

/// supervision.toml with a table for each domain, and `extra` lines after it.
///
/// # Panics
/// When the extra lines are not as they should be.
#[must_use]
pub fn tuning_of(catalog: &Catalog, extra: &str) -> Tuning {
    Tuning::parse(&page_of(catalog, extra), "supervision.toml", &platform::known(catalog))
        .expect("the tuning of a test is valid")
}

fn page_of(catalog: &Catalog, extra: &str) -> String {
    let mut text = String::new();
    if !extra.contains("[domains]") {
        text.push_str("[domains]\non_give_up = \"quarantine\"\n");
    }
    for domain in catalog.domains() {
        let table = format!("[domain.{}]", domain.name());
        if !extra.contains(&table) {
            writeln!(text, "{table}").expect("writing to a string succeeds");
        }
    }
    text.push_str(extra);
    text
}

impl TestSystem {
    /// The system.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Starts the domains on the same database once more, as another node does. It is stopped by
    /// whoever started it.
    ///
    /// # Panics
    /// As [`start`].
    pub async fn another_node(&self, domains: impl IntoIterator<Item = Domain>) -> System {
        self.another_node_with(domains, Box::new(|_: &System| Vec::new())).await
    }

    /// The same, with an edge.
    ///
    /// # Panics
    /// As [`start`].
    pub async fn another_node_with(
        &self,
        domains: impl IntoIterator<Item = Domain>,
        edge: MakeEdge,
    ) -> System {
        let database = self.database.as_ref().expect("the database lives as long as the system");
        let domains = domains.into_iter().chain([platform::operator::domain()]).collect();
        let catalog = Catalog::part(domains).expect("the domains agree with each other");
        let (tuning, clock) = (tuning_of(&catalog, ""), self.system.clock().clone());
        let (owner, app) = (database.options(), database.app_options());
        let config = config_of(owner, app, tuning, self.page.clone(), clock, edge);
        System::start(config, catalog).await.expect("another node starts")
    }

    /// The log of the database, as a node of its own has it.
    ///
    /// # Panics
    /// Never while the system lives.
    #[must_use]
    pub fn log(&self) -> Log {
        let database = self.database.as_ref().expect("the database lives as long as the system");
        let pool =
            PgPoolOptions::new().max_connections(4).connect_lazy_with(database.app_options());
        Log::new(pool, self.system.clock().clone())
    }

    /// Connects as the owner of the database, to look at what no operation shows.
    ///
    /// # Panics
    /// When the database does not answer.
    pub async fn owner(&self) -> PgConnection {
        let database = self.database.as_ref().expect("the database lives as long as the system");
        PgConnection::connect_with(&database.options()).await.expect("the database answers")
    }

    /// A member of an organisation with a role.
    #[must_use]
    pub fn member(&self, org_id: OrgId, role: Role) -> Member {
        let user_id = user_of(org_id, role);
        Member {
            system: self.system.clone(),
            scope: Scope::user(org_id, user_id, role, Uuid::now_v7()),
            token: token_of(org_id, role),
            inline: Arc::clone(&self.inline),
        }
    }

    /// Writes the page that `reload_supervision` reads: a table for each domain, and `extra` lines.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn edit_page(&self, extra: &str) {
        let text = page_of(self.system.catalog(), extra);
        std::fs::write(&self.page, text).expect("the page of a test can be written");
    }

    /// Waits until nothing moves: all events sealed, all cursors at the head, no job due or
    /// running, and nobody waiting to be told of the end of another. Jobs of a paused queue, and
    /// those whose time is yet to come, do not move.
    ///
    /// # Panics
    /// When something still moves after half a minute; the message names it.
    pub async fn settle(&self) {
        let settled = tokio::time::timeout(SETTLE_WITHIN, async {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            self.perform_due().await;
            while !self.what_moves().await.is_empty() {
                ticks.tick().await;
                self.perform_due().await;
            }
        });
        let still = match settled.await {
            Ok(()) => Vec::new(),
            Err(_) => self.what_moves().await,
        };
        assert!(still.is_empty(), "the system does not settle: {}", still.join(", "));
    }

    /// What still moves, one phrase each; nothing when the system is settled.
    pub async fn what_moves(&self) -> Vec<String> {
        self.system.what_moves().await.unwrap_or_else(|error| vec![error.to_string()])
    }

    /// Stops the system, asks for the account of its jobs and drops its database.
    ///
    /// # Panics
    /// When a job is lost; see [`TestSystem::lost_jobs`].
    pub async fn stop(mut self) {
        self.system.stop().await;
        let lost = self.lost_jobs().await;
        // Most tests write none.
        let _ = std::fs::remove_file(&self.page);
        if let Some(database) = self.database.take() {
            database.close().await;
        }
        assert!(lost.is_empty(), "jobs are lost:\n  - {}", lost.join("\n  - "));
    }
}

/// How long consequences may take in a test before it has failed.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
/// How often a settling test looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The token of a member, known to tests and to the template database.
fn token_of(org_id: OrgId, role: Role) -> String {
    format!("{org_id}.{}", role.name())
}

/// The user of an organisation with a role: the organisation's id with the role in its last byte.
fn user_of(org_id: OrgId, role: Role) -> UserId {
    let place = Role::ALL.iter().position(|known| *known == role).expect("all roles are listed");
    UserId::from_uuid(Uuid::from_u128(org_id.uuid().as_u128() + 0x100 + place as u128))
}

/// Two organisations with a user of every role, each with a token.
async fn seed(owner: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(owner).await?;
    sqlx::raw_sql(LEDGER).execute(&mut connection).await?;
    let at: DateTime<Utc> = DateTime::UNIX_EPOCH;
    for (org_id, name) in [(ACME, "Acme"), (GLOBEX, "Globex")] {
        sqlx::query(
            "insert into platform.organisations (id, name, slug, created_at)
             values ($1, $2, $3, $4)",
        )
        .bind(org_id.uuid())
        .bind(name)
        .bind(name.to_lowercase())
        .bind(at)
        .execute(&mut connection)
        .await?;
        for role in Role::ALL {
            let email = format!("{}@{}.test", role.name(), name.to_lowercase());
            sqlx::query(
                "insert into platform.users (id, org_id, name, email, role, created_at)
                 values ($1, $2, $3, $4, $5, $6)",
            )
            .bind(user_of(org_id, role).uuid())
            .bind(org_id.uuid())
            .bind(format!("{name} {}", role.name()))
            .bind(email)
            .bind(role.name())
            .bind(at)
            .execute(&mut connection)
            .await?;
            sqlx::query(
                "insert into platform.tokens (token_hash, user_id, org_id, label, created_at)
                 values ($1, $2, $4, 'test', $3)",
            )
            .bind(Digest::of(token_of(org_id, role).as_bytes()).as_bytes().as_slice())
            .bind(user_of(org_id, role).uuid())
            .bind(at)
            .bind(org_id.uuid())
            .execute(&mut connection)
            .await?;
        }
    }
    connection.close().await
}
