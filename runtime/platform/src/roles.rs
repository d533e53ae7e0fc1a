//! Roles and schemas: the third wall, as SQL derived from the catalog.
//!
//! Each domain has a role without login and a schema of the same name. The application logs in as
//! `finnest_app`, which inherits nothing and may only *become* a role for the length of a
//! transaction. Roles belong to the whole cluster, so making them is idempotent and takes an
//! advisory lock.

use std::fmt::Write as _;

use kernel::DomainName;

/// The role of the platform itself: reads the log across tenants, moves cursors, runs queues.
const RUNTIME: &str = "finnest_runtime";
/// The role the application logs in as.
const APP: &str = "finnest_app";

/// Lets the owner become what the application may become: with `DATABASE_URL` the two are one
/// login, and only a superuser may become everybody anyway. Whoever makes a role may grant it, but
/// is not by that alone allowed to become it.
pub(crate) const OWNER_SQL: &str = "do $$ begin
    if current_user <> 'finnest_app'
        and not pg_has_role(current_user, 'finnest_app', 'member') then
        execute format('grant finnest_app to %I', current_user);
    end if;
end $$";

/// The roles, their membership and the schemas of `domains`. Running it twice changes nothing.
///
/// # Panics
/// Never: writing to a string succeeds.
#[must_use]
pub fn roles_sql(domains: &[DomainName]) -> String {
    let mut sql = String::from(
        "-- Roles and schemas of the platform, generated from the catalog of domains.\n\
         -- A change here is a change of who may touch what: review it as such.\n\n",
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        sql.write_fmt(text).expect("writing to a string succeeds");
        sql.push('\n');
    };
    line(format_args!("{}", create_role(APP, "login noinherit")));
    line(format_args!("{}", create_role(RUNTIME, "nologin")));
    line(format_args!("{}", grant_role(RUNTIME)));
    line(format_args!("create schema if not exists platform;"));
    line(format_args!("revoke create on schema public from public;"));
    for domain in domains {
        line(format_args!(""));
        line(format_args!("{}", create_role(domain.as_str(), "nologin")));
        line(format_args!("{}", grant_role(domain.as_str())));
        line(format_args!("create schema if not exists {domain};"));
        line(format_args!("grant usage on schema {domain} to {domain};"));
        line(format_args!("grant usage on schema platform to {domain};"));
    }
    sql
}

/// The rights every domain has on what the platform keeps, once those tables exist.
#[must_use]
pub(crate) fn grants_sql(domains: &[DomainName]) -> String {
    let grant = |domain| {
        format!(
            "grant select, insert, update on platform.idempotency to {domain};\n\
             select events.admit('{domain}');"
        )
    };
    domains.iter().map(grant).collect::<Vec<_>>().join("\n")
}

/// Asks first, so that an owner without the right to make roles can start once somebody with that
/// right has run `deploy/roles.sql`; two who make one at the same time both succeed.
fn create_role(name: &str, attributes: &str) -> String {
    format!(
        "do $$ begin\n    \
         if to_regrole('{name}') is null then create role {name} {attributes}; end if;\n\
         exception when duplicate_object or unique_violation then null; end $$;"
    )
}

/// Lets the application become `name`, unless it may already.
fn grant_role(name: &str) -> String {
    format!(
        "do $$ begin\n    \
         if not pg_has_role('{APP}', '{name}', 'member') then grant {name} to {APP}; end if;\n\
         end $$;"
    )
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPoolOptions;
    use sqlx::{AssertSqlSafe, Executor as _};
    use testkit::TestDatabase;

    use super::*;

    /// What Postgres gives whoever makes a role: nothing before 16, then the right to grant it.
    const AS_ITS_MAKER: &str = "do $$ begin
        if current_setting('server_version_num')::int >= 160000 then
            execute 'grant finnest_app to plain_owner with admin true, inherit false, set false';
        end if;
    end $$";

    #[tokio::test]
    async fn an_owner_who_is_no_superuser_becomes_what_the_application_may_become() {
        let database = TestDatabase::create("roles", async |_| Ok(())).await.expect("it is made");
        let pool = PgPoolOptions::new().connect_lazy_with(database.options());
        // Roles belong to the whole server, so this one never leaves its transaction.
        let mut transaction = pool.begin_with("begin").await.expect("the server answers");
        let prepare = [roles_sql(&[]).as_str(), "create role plain_owner createrole", AS_ITS_MAKER]
            .join(";\n");
        transaction.execute(AssertSqlSafe(prepare)).await.expect("a superuser may");
        let as_owner = "set local session authorization plain_owner";
        transaction.execute(as_owner).await.expect("a superuser may");

        transaction.execute(OWNER_SQL).await.expect("its maker may grant a role");

        let became = transaction.execute("set local role finnest_runtime").await;
        assert!(became.is_ok(), "{became:?}");
        transaction.rollback().await.expect("the server answers");
        pool.close().await;
        database.close().await;
    }
}
