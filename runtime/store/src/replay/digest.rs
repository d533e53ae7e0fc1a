//! Digests: whether two tables hold the same, and where they do not.
//!
//! The digest of a table is SHA-256 over a first line that names its columns and their types, and
//! then its rows as `copy … to stdout` writes them: columns in the order of their names, each as
//! text, rows in the order of the primary key, text compared byte by byte, times in UTC. Every
//! column counts. Where a row lies, who wrote it in which batch, and how the columns were added
//! does not. `psql` and `sha256sum` give the same digest.

use std::fmt;

use futures_util::TryStreamExt as _;
use kernel::{Digest, Position};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};

use super::record::note_digests;
use super::{ReadModel, shadow_of};
use crate::{cursor, transaction};

/// Names what is hashed, so that another form can never be taken for this one.
const FORM: &str = "finnest.table.v1";

/// Differing rows that are reported for each table at most.
const DIFFERENCES_MAX: i64 = 10;

/// What a table holds, in 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDigest {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// The digest, 64 hexadecimal digits.
    pub sha256: String,
}

/// What a rebuild found, when both sides stood at the same position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The position both sides stood at.
    pub position: i64,
    /// The live tables; empty if they were filled by another version and so not compared.
    pub live: Vec<TableDigest>,
    /// The rebuilt ones.
    pub rebuilt: Vec<TableDigest>,
    /// The first rows that differ, in the order of their keys.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Whether the two sides were compared and are not the same.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        !self.live.is_empty() && self.live != self.rebuilt
    }
}

/// A row that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The table.
    pub table: String,
    /// The primary key of the row.
    pub key: Value,
    /// How it differs.
    pub kind: DifferenceKind,
    /// The columns that differ, if both sides have the row.
    pub columns: Vec<String>,
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only the live table has it.
    OnlyLive,
    /// Only the rebuilt table has it.
    OnlyRebuilt,
    /// Both have it, with other values.
    Changed,
}

impl fmt::Display for TableDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} rows)", self.table, self.sha256, self.rows)
    }
}

/// A table as it is hashed.
struct Shape {
    /// Names and types of the columns, in the order of the names.
    columns: Vec<(String, String)>,
    /// The columns of the primary key, in its order; whether each is text with a collation.
    key: Vec<(String, bool)>,
}

/// The digests of the live tables of `model` and the position of their cursor, both of one instant;
/// they are noted beside the projection. Nobody waits for it.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn digest_live(
    pool: &PgPool,
    model: &ReadModel,
) -> Result<(Position, Vec<TableDigest>), sqlx::Error> {
    let one_instant = "begin isolation level repeatable read; set local role finnest_runtime";
    let mut transaction = transaction::open(pool, one_instant).await?;
    let position = cursor::find(&mut transaction, &model.name).await?.unwrap_or(Position::ORIGIN);
    let digests = digest(&mut transaction, model).await?;
    transaction.rollback().await?;
    let mut noting = transaction::begin(pool).await?;
    note_digests(&mut noting, &model.name, position, &digests).await?;
    noting.commit().await?;
    Ok((position, digests))
}

/// The digests of the live tables of `model`.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub(super) async fn digest(
    connection: &mut PgConnection,
    model: &ReadModel,
) -> Result<Vec<TableDigest>, sqlx::Error> {
    digest_tables(connection, model.schema(), &model.tables).await
}

/// The digests of `tables` in `schema`, in the transaction at hand.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn digest_tables(
    connection: &mut PgConnection,
    schema: &str,
    tables: &[String],
) -> Result<Vec<TableDigest>, sqlx::Error> {
    // How values are written must not depend on who asks.
    sqlx::raw_sql(
        "set local timezone = 'UTC'; set local datestyle = 'ISO, YMD'; \
         set local intervalstyle = 'iso_8601'; set local bytea_output = 'hex'; \
         set local extra_float_digits = 1",
    )
    .execute(&mut *connection)
    .await?;
    let mut digests = Vec::with_capacity(tables.len());
    for table in tables {
        digests.push(digest_table(connection, schema, table).await?);
    }
    Ok(digests)
}

async fn digest_table(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<TableDigest, sqlx::Error> {
    let shape = shape(connection, schema, table).await?;
    let mut hasher = Sha256::new();
    hasher.update(FORM);
    for (column, kind) in &shape.columns {
        hasher.update(format!("\t{column} {kind}"));
    }
    hasher.update("\n");
    let columns: Vec<_> =
        shape.columns.iter().map(|(column, _)| format!("{}::text", quoted(column))).collect();
    let order: Vec<_> =
        shape.key.iter().map(|(column, is_text)| ordering(column, *is_text)).collect();
    let copy = format!(
        "copy (select {} from {} order by {}) to stdout",
        columns.join(", "),
        name_of(schema, table),
        order.join(", "),
    );
    let mut rows = 0;
    let mut lines = connection.copy_out_raw(&copy).await?;
    while let Some(bytes) = lines.try_next().await? {
        // A line feed inside a value is escaped, so each one ends a row.
        rows += bytes.split(|byte| *byte == b'\n').skip(1).count() as u64;
        hasher.update(&bytes);
    }
    let sha256 = Digest(hasher.finalize().into()).to_string();
    Ok(TableDigest { table: table.to_owned(), rows, sha256 })
}

/// The first rows of `model`'s tables that differ between the live ones and the shadow.
pub(super) async fn differences(
    connection: &mut PgConnection,
    model: &ReadModel,
) -> Result<Vec<Difference>, sqlx::Error> {
    let mut found = Vec::new();
    for table in &model.tables {
        let shape = shape(connection, model.schema(), table).await?;
        let key = |side: &str| {
            let columns = shape
                .key
                .iter()
                .map(|(column, _)| format!("{}, {side}.{}", literal(column), quoted(column)));
            format!("jsonb_build_object({})", columns.collect::<Vec<_>>().join(", "))
        };
        let same: Vec<_> = shape.key.iter().map(|(column, _)| quoted(column)).collect();
        let order: Vec<_> =
            shape.key.iter().map(|(column, is_text)| ordering(column, *is_text)).collect();
        let first = quoted(&shape.key[0].0);
        let question = format!(
            "select case when live.{first} is null then {rebuilt_key} else {live_key} end as key,
                 live.{first} is null as is_new, shadow.{first} is null as is_gone,
                 array(select live_field.key
                     from jsonb_each_text(to_jsonb(live)) as live_field
                     join jsonb_each_text(to_jsonb(shadow)) as shadow_field using (key)
                     where live_field.value is distinct from shadow_field.value
                     order by live_field.key) as columns
             from {live} as live full join {shadow} as shadow using ({same})
             where to_jsonb(live) is distinct from to_jsonb(shadow)
             order by {order} limit {DIFFERENCES_MAX}",
            rebuilt_key = key("shadow"),
            live_key = key("live"),
            live = name_of(model.schema(), table),
            shadow = name_of(&shadow_of(&model.name), table),
            same = same.join(", "),
            order = order.join(", "),
        );
        // Safe: names of tables and columns, quoted.
        for row in sqlx::query(AssertSqlSafe(question)).fetch_all(&mut *connection).await? {
            let (is_new, is_gone): (bool, bool) = (row.try_get("is_new")?, row.try_get("is_gone")?);
            let kind = match (is_new, is_gone) {
                (true, _) => DifferenceKind::OnlyRebuilt,
                (_, true) => DifferenceKind::OnlyLive,
                _ => DifferenceKind::Changed,
            };
            let columns = match kind {
                DifferenceKind::Changed => row.try_get("columns")?,
                _ => Vec::new(),
            };
            let key = row.try_get("key")?;
            found.push(Difference { table: table.clone(), key, kind, columns });
        }
    }
    Ok(found)
}

async fn shape(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<Shape, sqlx::Error> {
    let rows = sqlx::query(
        "select attname::text as name, format_type(atttypid, atttypmod) as kind,
             attcollation <> 0 as is_text,
             array_position(indkey::int2[], attnum) as place
         from pg_attribute
         join pg_index on indrelid = attrelid and indisprimary
         where attrelid = to_regclass(format('%I.%I', $1::text, $2::text))
             and attnum > 0 and not attisdropped
         order by attname::text collate \"C\"",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(connection)
    .await?;
    let mut shape = Shape { columns: Vec::new(), key: Vec::new() };
    let mut key: Vec<(i32, String, bool)> = Vec::new();
    for row in &rows {
        let name: String = row.try_get("name")?;
        if let Some(place) = row.try_get("place")? {
            key.push((place, name.clone(), row.try_get("is_text")?));
        }
        shape.columns.push((name, row.try_get("kind")?));
    }
    if key.is_empty() {
        let reason = format!("{schema}.{table} is no table with a primary key");
        return Err(sqlx::Error::Configuration(reason.into()));
    }
    key.sort_unstable();
    shape.key = key.into_iter().map(|(_, name, is_text)| (name, is_text)).collect();
    Ok(shape)
}

/// Texts are compared byte by byte: how a language sorts differs between releases of a library.
fn ordering(column: &str, is_text: bool) -> String {
    let collation = if is_text { " collate \"C\"" } else { "" };
    format!("{}{collation}", quoted(column))
}

fn name_of(schema: &str, table: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(table))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
