//! A database with the roles and the queue tables, and nothing else of the platform.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::TestDatabase;

/// Roles belong to the whole server, so other tests may be making them at this moment.
const ROLES: &str = "
do $$
declare wanted text;
begin
    foreach wanted in array array['finnest_runtime', 'recruit', 'payroll'] loop
        if not exists (select from pg_roles where rolname = wanted) then
            execute format('create role %I nologin', wanted);
        end if;
    end loop;
    if not exists (select from pg_roles where rolname = 'finnest_app') then
        create role finnest_app login noinherit;
    end if;
    grant finnest_runtime, recruit, payroll to finnest_app;
end $$;
";

pub(crate) async fn create() -> TestDatabase {
    let migrations = ROLES.to_owned() + &migrations();
    let database = TestDatabase::create(&migrations, async |options| {
        let mut owner = PgConnection::connect_with(&options).await?;
        sqlx::raw_sql(AssertSqlSafe(migrations.as_str())).execute(&mut owner).await?;
        owner.close().await?;
        Ok(())
    });
    database.await.expect("a test has a database")
}

/// The text of all files in `migrations/jobs`, in their order.
fn migrations() -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/jobs");
    let entries = std::fs::read_dir(folder).expect("the migrations are in the repository");
    let mut files: Vec<_> =
        entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    files.sort();
    let text = |file| std::fs::read_to_string(file).expect("a migration is text");
    files.iter().map(text).collect()
}
