//! Compliance scores: which share of a candidate's decided documents was verified.
//!
//! Each document counts once, by its id, however often its outcome is told.

use contracts::onboard::DocumentId;
use contracts::pulse::ComplianceScoreUpdated;
use contracts::recruit::CandidateId;
use platform::{Command, Cursor, Limit, Listing, Query, Result, Snapshot, Spec, Timestamp, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

/// What a candidate's documents say about compliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComplianceScore {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// Documents verified.
    pub verified_count: u32,
    /// Documents that failed.
    pub failed_count: u32,
    /// Share of verified documents among those decided, from 0 to 1000.
    pub score: u16,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The share of `verified` among all decided documents, from 0 to 1000, rounded down.
fn share(verified_count: u32, failed_count: u32) -> u16 {
    let decided = u64::from(verified_count) + u64::from(failed_count);
    let share = (u64::from(verified_count) * 1000).checked_div(decided).unwrap_or(0);
    u16::try_from(share).expect("a share is at most the whole")
}

/// Counts one decided document for its candidate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UpdateComplianceScore {
    /// The document.
    pub document_id: DocumentId,
    /// Whose document it is.
    pub candidate_id: CandidateId,
    /// Whether it was verified, as opposed to failed.
    pub is_verified: bool,
}

impl Command for UpdateComplianceScore {
    const SPEC: Spec = Spec::internal("update_compliance_score");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let candidate_id = self.candidate_id;
        if !insert(tx, &self).await? {
            return Ok(());
        }
        let (verified_count, failed_count) = count_up(tx, candidate_id, self.is_verified).await?;
        let score = share(verified_count, failed_count);
        if set_score(tx, candidate_id, score).await? {
            tx.append(&ComplianceScoreUpdated { candidate_id, score }).await?;
        }
        Ok(())
    }
}

/// List the compliance scores of candidates, newest candidate first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListComplianceScores {
    /// Scores on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListComplianceScores {
    const SPEC: Spec = Spec::read("list_compliance_scores", "/compliance_scores");
    type Output = Listing<ComplianceScore>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<ComplianceScore>> {
        let before: Option<CandidateId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select candidate_id, verified_count, failed_count, score, updated_at
             from pulse.compliance_scores
             where org_id = $1 and ($2::uuid is null or candidate_id < $2)
             order by candidate_id desc
             limit $3",
        )
        .bind(db.org_id())
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |score: &ComplianceScore| score.candidate_id))
    }
}

/// Whether the document is counted for the first time.
async fn insert(tx: &mut Tx<'_>, update: &UpdateComplianceScore) -> Result<bool> {
    let inserted = sqlx::query(
        "insert into pulse.verified_documents (
             org_id, document_id, candidate_id, is_verified, created_at
         ) values ($1, $2, $3, $4, $5)
         on conflict (org_id, document_id) do nothing",
    )
    .bind(tx.org_id())
    .bind(update.document_id)
    .bind(update.candidate_id)
    .bind(update.is_verified)
    .bind(tx.now())
    .execute(tx.connection())
    .await?;
    Ok(inserted.rows_affected() > 0)
}

/// Adds one to the right count; the row stays locked, so nobody else counts meanwhile.
async fn count_up(
    tx: &mut Tx<'_>,
    candidate_id: CandidateId,
    is_verified: bool,
) -> Result<(u32, u32)> {
    let (verified, failed): (i32, i32) = sqlx::query_as(
        "insert into pulse.compliance_scores as known (
             org_id, candidate_id, verified_count, failed_count, score, updated_at
         ) values ($1, $2, $3, $4, 0, $5)
         on conflict (org_id, candidate_id) do update
         set verified_count = known.verified_count + excluded.verified_count,
             failed_count = known.failed_count + excluded.failed_count,
             updated_at = excluded.updated_at
         returning verified_count, failed_count",
    )
    .bind(tx.org_id())
    .bind(candidate_id)
    .bind(i32::from(is_verified))
    .bind(i32::from(!is_verified))
    .bind(tx.now())
    .fetch_one(tx.connection())
    .await?;
    Ok((verified.cast_unsigned(), failed.cast_unsigned()))
}

/// Whether the score has changed.
async fn set_score(tx: &mut Tx<'_>, candidate_id: CandidateId, score: u16) -> Result<bool> {
    let changed = sqlx::query(
        "update pulse.compliance_scores
         set score = $3
         where org_id = $1 and candidate_id = $2 and score <> $3",
    )
    .bind(tx.org_id())
    .bind(candidate_id)
    .bind(score.cast_signed())
    .execute(tx.connection())
    .await?;
    Ok(changed.rows_affected() > 0)
}

impl FromRow<'_, PgRow> for ComplianceScore {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            candidate_id: row.try_get("candidate_id")?,
            verified_count: row.try_get::<i32, _>("verified_count")?.cast_unsigned(),
            failed_count: row.try_get::<i32, _>("failed_count")?.cast_unsigned(),
            score: row.try_get::<i16, _>("score")?.cast_unsigned(),
            updated_at: row.try_get("updated_at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_the_share_of_verified_documents() {
        let cases = [((0, 0), 0), ((0, 2), 0), ((1, 0), 1000), ((1, 1), 500), ((2, 1), 666)];

        for ((verified, failed), expected) in cases {
            assert_eq!(share(verified, failed), expected, "{verified} of {}", verified + failed);
        }
    }
}
