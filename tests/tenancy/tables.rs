//! Every table, asked by every role for rows of an organisation it does not act for.

use std::collections::BTreeMap;

use platform::OrgId;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use testkit::{ACME, GLOBEX, TestSystem};

use crate::world::{clock, every_domain, furnish};

/// Tables whose rows belong to no organisation, and why. No domain may change
/// one of them.
const OF_NOBODY: [(&str, &str); 20] = [
    ("events.archives", "months of all organisations"),
    ("events.checkpoint_exports", "places outside"),
    ("events.checkpoints", "signed statements about all chains"),
    ("events.cursors", "how far consumers are"),
    ("events.imports", "files that were read"),
    ("events.leases", "which node moves a cursor"),
    ("events.projections", "which read models there are"),
    ("events.rebuilds", "how far rebuilds are"),
    ("events.sealer_state", "who seals"),
    ("jobs.bulks", "what operators did with many jobs at once"),
    ("jobs.leaders", "which node has the duties"),
    ("jobs.nodes", "which nodes there are"),
    ("jobs.queue_nodes", "queues on nodes"),
    ("jobs.queues", "queues; a domain reads by which words their jobs are divided"),
    ("jobs.rates", "how many attempts started lately"),
    ("jobs.retention", "how long jobs are remembered"),
    ("jobs.schedules", "what is enqueued by the clock"),
    ("platform.migrations", "files that ran"),
    ("platform.organisations", "the organisations themselves; each is seen by its own members"),
    ("testkit.enqueued", "what the account of a test's jobs is made of"),
];

/// Tables of domains without an id of their own in the key, and what tells their rows apart.
const NATURAL_KEYS: [(&str, &str); 1] =
    [("onboard.budgets", "an organisation has one row for each stage and month")];

/// Functions that run with the owner's rights and that a domain may call, and why that shows it
/// nothing of others.
const WITH_OWNERS_RIGHTS: [(&str, &str); 2] = [
    ("events.place_of", "it looks for events of the transaction's organisation only"),
    ("jobs.replace_waiting", "it changes jobs of the role's queue and organisation only"),
];

/// What every row of an organisation looks like, by table.
pub(super) async fn digest(
    connection: &mut PgConnection,
    org_id: OrgId,
) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    for table in tables(connection).await.into_iter().filter(|table| table.has_org) {
        let digest = format!(
            "select md5(coalesce(string_agg(row_::text, '|' order by row_::text), ''))
             from {} as row_ where org_id = '{org_id}'",
            table.name
        );
        let digest: String = sqlx::query_scalar(AssertSqlSafe(digest))
            .fetch_one(&mut *connection)
            .await
            .expect("the owner may look");
        digests.insert(table.name, digest);
    }
    digests
}

/// The tables that have a row of an organisation with `text` in it.
pub(super) async fn rows(connection: &mut PgConnection, org_id: OrgId, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for table in tables(connection).await.into_iter().filter(|table| table.has_org) {
        let statement = format!(
            "select exists (
                 select from {} as row_
                 where org_id = '{org_id}' and (
                     position($1 in row_::text) > 0
                     or position(encode(convert_to($1, 'UTF8'), 'hex') in row_::text) > 0
                 )
             )",
            table.name
        );
        let has_one: bool = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(text)
            .fetch_one(&mut *connection)
            .await
            .expect("the owner may look");
        found.extend(has_one.then_some(table.name));
    }
    found
}

/// A table or view of the platform or of a domain.
#[derive(Debug)]
struct Table {
    name: String,
    schema: String,
    has_org: bool,
    /// `table`, `view` or `partition`.
    kind: String,
    is_forced: bool,
    /// Whether it is a read model, which the runtime compares with a rebuilt one.
    is_digested: bool,
    /// Columns of the primary key with their types.
    key: Vec<String>,
}

async fn tables(connection: &mut PgConnection) -> Vec<Table> {
    type Row = (String, String, bool, String, bool, bool, Vec<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "select nspname || '.' || relname, nspname::text,
             exists (
                 select from pg_attribute
                 where attrelid = pg_class.oid and attname = 'org_id' and not attisdropped
             ),
             case when relispartition then 'partition'
                 when relkind in ('v', 'm') then 'view' else 'table' end,
             relrowsecurity and relforcerowsecurity,
             exists (
                 select from pg_policy
                 where polrelid = pg_class.oid and polname = 'the_runtime_digests'
             ),
             coalesce((
                 select array_agg(attname || ' ' || format_type(atttypid, null) order by place)
                 from pg_index, unnest(indkey) with ordinality as key_ (number, place)
                 join pg_attribute on attrelid = pg_class.oid and attnum = number
                 where indrelid = pg_class.oid and indisprimary
             ), '{}')
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where relkind in ('r', 'p', 'v', 'm') and nspname !~ '^pg_'
             and nspname not in ('information_schema', 'public')
         order by 1",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("the catalog of the database answers");
    let table = |(name, schema, has_org, kind, is_forced, is_digested, key)| Table {
        name,
        schema,
        has_org,
        kind,
        is_forced,
        is_digested,
        key,
    };
    rows.into_iter().map(table).collect()
}

async fn start() -> TestSystem {
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    testkit::start_with(every_domain(), clock(), "", edge).await
}

/// Somebody to be in the database, and for which organisation.
#[derive(Debug, Clone, Copy)]
struct Guise<'a> {
    role: &'a str,
    org_id: Option<OrgId>,
}

impl Guise<'_> {
    /// What Postgres answers to `sql`: the number of rows, or why not. Nothing of it stays.
    async fn does(self, connection: &mut PgConnection, sql: &str) -> Result<u64, String> {
        let mut transaction = connection.begin().await.expect("a transaction begins");
        let org_id = self.org_id.map(|org_id| org_id.to_string()).unwrap_or_default();
        let become_role =
            format!("set local role {}; set local app.org_id = '{org_id}'", self.role);
        transaction.execute(AssertSqlSafe(become_role)).await.expect("the role exists");
        let done = transaction.execute(AssertSqlSafe(sql.to_owned())).await;
        transaction.rollback().await.expect("a transaction is rolled back");
        done.map(|done| done.rows_affected()).map_err(|error| error.to_string())
    }
}

fn is_refused(answer: &Result<u64, String>) -> bool {
    match answer {
        Ok(rows) => *rows == 0,
        Err(error) => error.contains("permission denied") || error.contains("row-level security"),
    }
}

/// What somebody may try with the rows of Acme.
fn attempts(table: &Table, columns: &str, row: Option<&str>) -> Vec<String> {
    let Table { name: table, kind, .. } = table;
    let mut attempts = vec![format!("select 1 from {table} where org_id = '{ACME}' limit 1")];
    if kind == "view" {
        return attempts;
    }
    attempts.extend([
        format!("update {table} set org_id = '{GLOBEX}' where org_id = '{ACME}'"),
        format!("delete from {table} where org_id = '{ACME}'"),
        // The wall is asked before what a row must have.
        format!("insert into {table} (org_id) values ('{ACME}')"),
    ]);
    if let Some(row) = row {
        attempts.push(format!(
            "insert into {table} ({columns})
             select {columns} from jsonb_populate_record(null::{table}, $row${row}$row$::jsonb)"
        ));
    }
    attempts
}

/// A row of Acme as JSON, and the columns that somebody may write.
async fn row_of(connection: &mut PgConnection, table: &str) -> (Option<String>, String) {
    let row =
        format!("select to_jsonb(row_)::text from {table} as row_ where org_id = '{ACME}' limit 1");
    let row: Option<String> = sqlx::query_scalar(AssertSqlSafe(row))
        .fetch_optional(&mut *connection)
        .await
        .expect("the owner may look");
    let columns: String = sqlx::query_scalar(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
         where attrelid = $1::regclass and attnum > 0 and not attisdropped
             and attidentity <> 'a' and attgenerated = '' and atttypid <> 'xid8'::regtype",
    )
    .bind(table)
    .fetch_one(&mut *connection)
    .await
    .expect("the owner may look");
    (row, columns)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_domain_sees_or_changes_rows_of_an_organisation_it_does_not_act_for() {
    let system = start().await;
    furnish(&system, ACME, "Acme").await;
    let mut connection = system.owner().await;
    let domains = system.system().catalog().domains();
    let mut wrong = Vec::new();
    let mut empty = Vec::new();

    for table in tables(&mut connection).await.iter().filter(|table| table.has_org) {
        let (row, columns) = row_of(&mut connection, &table.name).await;
        let is_domains = domains.iter().any(|domain| domain.name().as_str() == table.schema);
        if row.is_none() && is_domains {
            empty.push(table.name.clone());
        }
        for sql in attempts(table, &columns, row.as_deref()) {
            for (domain, org_id) in
                domains.iter().flat_map(|domain| [(domain, Some(GLOBEX)), (domain, None)])
            {
                let guise = Guise { role: domain.name().as_str(), org_id };
                let answer = guise.does(&mut connection, &sql).await;
                if !is_refused(&answer) {
                    wrong.push(format!("{guise:?} {sql}: {answer:?}"));
                }
            }
            if is_domains && !(table.is_digested && sql.starts_with("select")) {
                let guise = Guise { role: "finnest_runtime", org_id: Some(GLOBEX) };
                let answer = guise.does(&mut connection, &sql).await;
                if !is_refused(&answer) {
                    wrong.push(format!("{guise:?} {sql}: {answer:?}"));
                }
            }
        }
    }

    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(empty.is_empty(), "tests/world.rs makes no row in: {}", empty.join(", "));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_has_the_wall_around_it() {
    let system = start().await;
    let mut connection = system.owner().await;
    let domains = system.system().catalog().domains();
    let mut wrong = Vec::new();

    for table in tables(&mut connection).await.iter().filter(|table| table.kind == "table") {
        let is_domains = domains.iter().any(|domain| domain.name().as_str() == table.schema);
        let name = &table.name;
        let listed = |list: &[(&str, &str)]| list.iter().any(|(known, _)| known == name);
        if !table.has_org && !listed(&OF_NOBODY) {
            wrong.push(format!("{name} names no organisation, and OF_NOBODY does not say why"));
        }
        if is_domains && table.has_org {
            if !table.is_forced {
                wrong.push(format!(
                    "{name} has no forced row security: select platform.protect('{name}')"
                ));
            }
            let ids = table.key.iter().filter(|column| column.ends_with(" uuid")).count();
            let is_scoped = table.key.first().is_some_and(|column| column == "org_id uuid");
            let is_keyed = (ids > 1 || (ids == 1 && !is_scoped)) || listed(&NATURAL_KEYS);
            if !is_keyed {
                wrong.push(format!("{name} has no uuid of its own in its key: {:?}", table.key));
            }
        }
    }

    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_nobody_is_out_of_reach_of_every_domain() {
    let system = start().await;
    let mut connection = system.owner().await;
    let names: Vec<&str> =
        system.system().catalog().domains().iter().map(|domain| domain.name().as_str()).collect();

    let within_reach: Vec<(String, String)> = sqlx::query_as(
        "select role_::text, nspname || '.' || relname
         from unnest($1::text[]) as role_,
             pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where relkind in ('r', 'p', 'v', 'm') and nspname !~ '^pg_'
             and nspname not in ('information_schema', 'public')
             and has_schema_privilege(role_, nspname, 'usage')
             and has_any_column_privilege(role_, pg_class.oid, 'select, insert, update, references')
             and not exists (
                 select from pg_attribute where attrelid = pg_class.oid and attname = 'org_id'
             )
             and nspname || '.' || relname <> 'platform.organisations'
             and not (nspname || '.' || relname = 'jobs.queues'
                 and not has_any_column_privilege(role_, pg_class.oid, 'insert, update'))",
    )
    .bind(&names)
    .fetch_all(&mut connection)
    .await
    .expect("the owner may look");
    let owners: Vec<String> = sqlx::query_scalar(
        "select distinct nspname || '.' || proname
         from unnest($1::text[]) as role_,
             pg_proc join pg_namespace on pg_namespace.oid = pronamespace
         where prosecdef and has_schema_privilege(role_, nspname, 'usage')
             and has_function_privilege(role_, pg_proc.oid, 'execute')",
    )
    .bind(&names)
    .fetch_all(&mut connection)
    .await
    .expect("the owner may look");

    assert!(within_reach.is_empty(), "{within_reach:?}");
    let known = |name: &String| WITH_OWNERS_RIGHTS.iter().any(|(known, _)| known == name);
    let unknown: Vec<&String> = owners.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "with the owner's rights, and nobody says why: {unknown:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_sees_the_organisation_it_acts_for_and_no_other() {
    let system = start().await;
    let mut connection = system.owner().await;
    let mut transaction = connection.begin().await.expect("a transaction begins");
    let become_accounts = format!("set local role accounts; set local app.org_id = '{GLOBEX}'");
    transaction.execute(AssertSqlSafe(become_accounts)).await.expect("the role exists");

    let seen: Vec<OrgId> = sqlx::query_scalar("select id from platform.organisations")
        .fetch_all(&mut *transaction)
        .await
        .expect("accounts may look at its organisation");

    assert_eq!(seen, [GLOBEX]);
    transaction.rollback().await.expect("a transaction is rolled back");
    system.stop().await;
}
