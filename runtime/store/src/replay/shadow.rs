//! The shadow: tables like the live ones, in a schema of their own.

use sqlx::{PgConnection, Row};

use super::{ReadModel, ReplayError};

/// The schema of the shadow of a projection such as `recruit.pipeline`.
#[must_use]
pub fn shadow_of(name: &str) -> String {
    format!("shadow_of_{}", name.replace('.', "__"))
}

/// The search path on which a rebuild finds its own tables first.
pub(super) fn search_path(model: &ReadModel) -> String {
    format!("{}, {}", shadow_of(&model.name), model.schema())
}

/// What keeps the tables of `model` from being rebuilt, one sentence each.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn faults(
    connection: &mut PgConnection,
    model: &ReadModel,
) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(
        "select named.name as table_name, fault
         from unnest($2::text[]) as named (name)
         cross join lateral events.projection_faults($1::name, named.name::name) as fault",
    )
    .bind(model.schema())
    .bind(&model.tables)
    .fetch_all(connection)
    .await?;
    let sentence = |row: &sqlx::postgres::PgRow| {
        let (table, fault): (String, String) = (row.try_get("table_name")?, row.try_get("fault")?);
        Ok(format!("{} projects into the table {table}, but {fault}", model.name))
    };
    rows.iter().map(sentence).collect()
}

/// Makes the shadow, empty.
pub(super) async fn make(
    connection: &mut PgConnection,
    model: &ReadModel,
) -> Result<(), sqlx::Error> {
    sqlx::query("select events.make_shadow($1, $2::text[]::name[])")
        .bind(&model.name)
        .bind(&model.tables)
        .execute(connection)
        .await?;
    Ok(())
}

/// Drops the shadow, if there is one.
pub(super) async fn drop(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select events.drop_shadow($1)").bind(name).execute(connection).await?;
    Ok(())
}

/// Puts the shadow into the place of the live tables.
pub(super) async fn swap(
    connection: &mut PgConnection,
    model: &ReadModel,
) -> Result<(), sqlx::Error> {
    sqlx::query("select events.swap_shadow($1, $2::text[]::name[])")
        .bind(&model.name)
        .bind(&model.tables)
        .execute(connection)
        .await?;
    Ok(())
}

/// Refuses a transaction that has reached for a live table.
///
/// A statement that names the schema finds the live table, whatever the search path says. Postgres
/// keeps the lock of every table a transaction has named until it ends, so the locks tell, also of
/// a table that was only read or of which no row was changed.
pub(super) async fn must_be_apart(
    connection: &mut PgConnection,
    model: &ReadModel,
) -> Result<(), ReplayError> {
    let touched: Option<String> = sqlx::query_scalar(
        "select named.name
         from unnest($2::text[]) as named (name)
         join pg_locks on pg_locks.relation = to_regclass(format('%I.%I', $1::text, named.name))
         where pg_locks.locktype = 'relation' and pg_locks.pid = pg_backend_pid()
         limit 1",
    )
    .bind(model.schema())
    .bind(&model.tables)
    .fetch_optional(connection)
    .await?;
    match touched {
        None => Ok(()),
        Some(table) => Err(ReplayError::TouchesLive {
            projection: model.name.clone(),
            table: format!("{}.{table}", model.schema()),
        }),
    }
}
