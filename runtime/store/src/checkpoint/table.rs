//! The statements of checkpoints.

use kernel::{Digest, Link, OrgId, Position, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Body, Checkpoint, Head, PublicKey, Signed, hex};
use crate::sealed::digest;

/// A checkpoint, for people.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What is stated.
    pub body: Body,
    /// The statement with its signature.
    pub signed: Signed,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The newest `limit` checkpoints before `before`, the newest first.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list(
    connection: &mut PgConnection,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Listed>, sqlx::Error> {
    let rows = sqlx::query(
        "select body, signature, public_key, created_at from events.checkpoints
         where $1::bigint is null or number < $1
         order by number desc limit $2",
    )
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(listed).collect()
}

pub(super) async fn last(connection: &mut PgConnection) -> Result<Option<Listed>, sqlx::Error> {
    Ok(list(connection, None, 1).await?.pop())
}

/// The first checkpoint that covers `position`, if there is one yet.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn covering(
    connection: &mut PgConnection,
    position: Position,
) -> Result<Option<Listed>, sqlx::Error> {
    let row = sqlx::query(
        "select body, signature, public_key, created_at from events.checkpoints
         where position >= $1
         order by number limit 1",
    )
    .bind(position.0)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(listed).transpose()
}

/// The checkpoint `number` as it lies in a file.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn file(
    connection: &mut PgConnection,
    number: i64,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    // The number is the caller's, who may ask for any.
    let before = number.saturating_add(1);
    let Some(listed) = list(connection, Some(before), 1).await?.pop() else { return Ok(None) };
    if listed.body.number != number {
        return Ok(None);
    }
    let heads = heads(connection, number).await?;
    Ok(Some(Checkpoint { signed: listed.signed, heads }))
}

fn listed(row: &PgRow) -> Result<Listed, sqlx::Error> {
    let wrong = |column: &str| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "it is not of the form of a checkpoint".into(),
    };
    let body = String::from_utf8(row.try_get("body")?).map_err(|_| wrong("body"))?;
    let key: &[u8] = row.try_get("public_key")?;
    let key = key.try_into().map_err(|_| wrong("public_key"))?;
    let signature: &[u8] = row.try_get("signature")?;
    Ok(Listed {
        body: serde_json::from_str(&body).map_err(|_| wrong("body"))?,
        signed: Signed {
            body,
            public_key: PublicKey::from_bytes(key),
            signature: hex::encode(signature),
        },
        created_at: row.try_get("created_at")?,
    })
}

/// All heads as of checkpoint `number`, sorted by organisation.
///
/// Steps from organisation to organisation through the index, so that it costs as much as there are
/// organisations and not as much as there are checkpoints.
pub(super) async fn heads(
    connection: &mut PgConnection,
    number: i64,
) -> Result<Vec<Head>, sqlx::Error> {
    let rows = sqlx::query(
        "with recursive organisation (org_id) as (
             (select org_id from events.checkpoint_heads order by org_id limit 1)
             union all
             select (select next.org_id from events.checkpoint_heads as next
                     where next.org_id > organisation.org_id order by next.org_id limit 1)
             from organisation where organisation.org_id is not null
         )
         select head.org_id, head.org_sequence, head.link, head.root
         from organisation
         cross join lateral (
             select org_id, org_sequence, link, root from events.checkpoint_heads
             where org_id = organisation.org_id and checkpoint_number <= $1
             order by checkpoint_number desc limit 1
         ) as head
         order by head.org_id",
    )
    .bind(number)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Head {
                org_id: row.try_get("org_id")?,
                org_sequence: row.try_get("org_sequence")?,
                link: digest(row, "link")?,
                root: digest(row, "root")?,
            })
        })
        .collect()
}

/// The last heads of these organisations with their frontiers, where there are any.
pub(super) async fn frontiers(
    connection: &mut PgConnection,
    org_ids: &[OrgId],
) -> Result<Vec<(Head, Vec<u8>)>, sqlx::Error> {
    let rows = sqlx::query(
        "select head.org_id, head.org_sequence, head.link, head.root, head.frontier
         from unnest($1::uuid[]) as organisation (org_id)
         cross join lateral (
             select org_id, org_sequence, link, root, frontier from events.checkpoint_heads
             where org_id = organisation.org_id
             order by checkpoint_number desc limit 1
         ) as head",
    )
    .bind(org_ids)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let head = Head {
                org_id: row.try_get("org_id")?,
                org_sequence: row.try_get("org_sequence")?,
                link: digest(row, "link")?,
                root: digest(row, "root")?,
            };
            Ok((head, row.try_get("frontier")?))
        })
        .collect()
}

/// What the tree of an organisation grows by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grown {
    pub(super) position: i64,
    pub(super) org_id: OrgId,
    pub(super) org_sequence: i64,
    pub(super) previous: Link,
    pub(super) link: Link,
}

/// Up to `limit` seals after `position`, in order.
pub(super) async fn grown(
    connection: &mut PgConnection,
    position: i64,
    until: i64,
    limit: i64,
) -> Result<Vec<Grown>, sqlx::Error> {
    let rows = sqlx::query(
        "select position, org_id, org_sequence, previous_hash, hash from events.seals
         where position > $1 and position <= $2
         order by position limit $3",
    )
    .bind(position)
    .bind(until)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Grown {
                position: row.try_get("position")?,
                org_id: row.try_get("org_id")?,
                org_sequence: row.try_get("org_sequence")?,
                previous: digest(row, "previous_hash")?,
                link: digest(row, "hash")?,
            })
        })
        .collect()
}

pub(super) async fn store(
    connection: &mut PgConnection,
    body: &Body,
    signed: &Signed,
    created_at: Timestamp,
    heads: &[(Head, Vec<u8>)],
) -> Result<(), sqlx::Error> {
    let signature = hex::decode::<64>(&signed.signature).expect("it was made of 64 bytes");
    sqlx::query(
        "insert into events.checkpoints
             (number, position, created_at, body, signature, public_key)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(body.number)
    .bind(body.position.0)
    .bind(created_at)
    .bind(signed.body.as_bytes())
    .bind(&signature[..])
    .bind(&signed.public_key.as_bytes()[..])
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "insert into events.checkpoint_heads
             (org_id, checkpoint_number, org_sequence, link, root, frontier)
         select org_id, $1, org_sequence, link, root, frontier
         from unnest($2::uuid[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
             as head (org_id, org_sequence, link, root, frontier)",
    )
    .bind(body.number)
    .bind(heads.iter().map(|(head, _)| head.org_id).collect::<Vec<_>>())
    .bind(heads.iter().map(|(head, _)| head.org_sequence).collect::<Vec<_>>())
    .bind(bytes(heads, |head| head.link))
    .bind(bytes(heads, |head| head.root))
    .bind(heads.iter().map(|(_, frontier)| frontier.as_slice()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

fn bytes(heads: &[(Head, Vec<u8>)], column: impl Fn(&Head) -> Digest) -> Vec<Vec<u8>> {
    heads.iter().map(|(head, _)| column(head).as_bytes().to_vec()).collect()
}
