//! Against a checkpoint: whether each chain still is what was signed.
//!
//! A link covers everything before it, so one link per organisation is looked at. That tells a
//! rewritten history only if the chain holds in itself, which the walk tells.

use kernel::OrgId;
use sqlx::{PgPool, Row};

use super::{Break, Problem, Verdict};
use crate::checkpoint::{Body, Head};
use crate::sealed::digest;
use crate::transaction;

/// Heads compared at once.
const BATCH_HEADS: usize = 10_000;

/// Adds to `verdict` every chain that is not what the heads of a checkpoint say, of one
/// organisation or of all. The heads must have been [checked](crate::checkpoint::Checkpoint::body).
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn verify_against(
    pool: &PgPool,
    body: &Body,
    heads: &[Head],
    org: Option<OrgId>,
    verdict: &mut Verdict,
) -> Result<(), sqlx::Error> {
    let mut reading = transaction::begin_reading(pool).await?;
    let heads: Vec<Head> =
        heads.iter().filter(|head| org.is_none_or(|org| org == head.org_id)).copied().collect();
    for batch in heads.chunks(BATCH_HEADS) {
        let rows = sqlx::query(
            "select seal.position, seal.event_id, seal.hash
             from unnest($1::uuid[], $2::bigint[]) with ordinality
                 as head (org_id, org_sequence, place)
             left join lateral (
                 select position, event_id, hash from events.seals
                 where org_id = head.org_id and org_sequence = head.org_sequence
             ) as seal on true
             order by head.place",
        )
        .bind(batch.iter().map(|head| head.org_id).collect::<Vec<_>>())
        .bind(batch.iter().map(|head| head.org_sequence).collect::<Vec<_>>())
        .fetch_all(&mut *reading)
        .await?;
        for (head, row) in batch.iter().zip(&rows) {
            let position: Option<i64> = row.try_get("position")?;
            let is_same = match position {
                None => false,
                Some(position) => position <= body.position.0 && digest(row, "hash")? == head.link,
            };
            if !is_same {
                verdict.report(Break {
                    org_id: Some(head.org_id),
                    org_sequence: Some(head.org_sequence),
                    position: position.map(kernel::Position),
                    event_id: row.try_get("event_id")?,
                    problem: Problem::DiffersFromCheckpoint,
                });
            }
        }
    }
    reading.rollback().await?;
    verdict.sort();
    Ok(())
}
