//! Scores: what the rules said about each candidate of an order's pool, and who is on the
//! shortlist.

use contracts::recruit::{CandidateId, CandidateShortlisted, JobOrderId};
use platform::{
    Command, Cursor, Limit, Listing, Query, Reason, Result, Snapshot, Spec, Timestamp, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};

use crate::candidate;
use crate::job_order::{self, lock_open};

use super::ScorePool;
use super::scoring::{Contribution, RULE_VERSION};

/// How well one candidate fits one job order, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CandidateScore {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// The candidate's name.
    pub full_name: String,
    /// How well the candidate fits, from 0 to 1000.
    pub score: u16,
    /// The version of the rules.
    pub rule_version: u16,
    /// What each rule gave; together they make the score.
    pub contributions: Vec<Contribution>,
    /// When the score was made.
    pub scored_at: Timestamp,
    /// When the candidate was shortlisted; absent for who is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortlisted_at: Option<Timestamp>,
}

/// What the rules of scores say no to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "candidate {candidate_id} has no score for job order {job_order_id} yet; \
         candidates are scored within seconds, so ask again"
    )]
    NotScored { job_order_id: JobOrderId, candidate_id: CandidateId },
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::NotScored { .. } => Reason::conflict("not_scored").at("/candidate_id"),
        }
    }
}

/// Score the candidates for a job order again.
///
/// It happens by itself when an order is opened and when candidates change; this asks for it now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreCandidates {
    /// The job order; it must be open.
    pub job_order_id: JobOrderId,
}

/// That scores were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScoringRequested {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// The version of the rules that will be used.
    pub rule_version: u16,
}

impl Command for ScoreCandidates {
    const SPEC: Spec = Spec::invoke("score_candidates", "/job_orders/{job_order_id}/score");
    type Output = ScoringRequested;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<ScoringRequested> {
        let job_order_id = self.job_order_id;
        lock_open(tx, job_order_id).await?;
        tx.enqueue(&ScorePool { job_order_id }).await?;
        Ok(ScoringRequested { job_order_id, rule_version: RULE_VERSION })
    }
}

/// Put a candidate on the shortlist of a job order.
///
/// Only candidates with a score can be shortlisted. Doing it twice is doing it once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShortlistCandidate {
    /// The job order; it must be open.
    pub job_order_id: JobOrderId,
    /// The candidate.
    pub candidate_id: CandidateId,
}

impl Command for ShortlistCandidate {
    const SPEC: Spec =
        Spec::replace("shortlist_candidate", "/job_orders/{job_order_id}/shortlist/{candidate_id}");
    type Output = CandidateScore;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<CandidateScore> {
        let Self { job_order_id, candidate_id } = self;
        lock_open(tx, job_order_id).await?;
        let is_new = mark_shortlisted(tx, job_order_id, candidate_id).await?;
        let Some(scored) = find(tx, job_order_id, candidate_id).await? else {
            let org_id = tx.org_id();
            candidate::must_be_known(tx.connection(), org_id, candidate_id).await?;
            return Err(Refusal::NotScored { job_order_id, candidate_id }.into());
        };
        if is_new {
            let score = scored.score;
            tx.append(&CandidateShortlisted { job_order_id, candidate_id, score }).await?;
        }
        Ok(scored)
    }
}

/// List the candidates of a job order with their scores, best first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListScores {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// Only candidates on the shortlist.
    #[serde(default)]
    pub shortlisted_only: bool,
    /// Candidates on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListScores {
    const SPEC: Spec = Spec::read("list_scores", "/job_orders/{job_order_id}/scores");
    type Output = Listing<CandidateScore>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<CandidateScore>> {
        let after: Option<(i16, CandidateId)> =
            self.cursor.map(|cursor| cursor.key()).transpose()?;
        let org_id = db.org_id();
        job_order::must_be_known(db.connection(), org_id, self.job_order_id).await?;
        let rows = sqlx::query_as(
            "select scores.candidate_id, full_name, score, rule_version, contributions, scored_at,
                 shortlisted_at
             from recruit.scores
             join recruit.candidates using (org_id, candidate_id)
             where org_id = $1
                 and job_order_id = $2
                 and (not $3 or shortlisted_at is not null)
                 and ($4::smallint is null or (-score, candidate_id) > (-$4, $5))
             order by -score, candidate_id
             limit $6",
        )
        .bind(org_id)
        .bind(self.job_order_id)
        .bind(self.shortlisted_only)
        .bind(after.map(|(score, _)| score))
        .bind(after.map(|(_, candidate_id)| candidate_id))
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |row: &CandidateScore| (row.score, row.candidate_id)))
    }
}

/// Whether the candidate was not on the shortlist before.
async fn mark_shortlisted(
    tx: &mut Tx<'_>,
    job_order_id: JobOrderId,
    candidate_id: CandidateId,
) -> Result<bool> {
    let marked = sqlx::query(
        "update recruit.scores
         set shortlisted_at = $4
         where org_id = $1 and job_order_id = $2 and candidate_id = $3 and shortlisted_at is null",
    )
    .bind(tx.org_id())
    .bind(job_order_id)
    .bind(candidate_id)
    .bind(tx.now())
    .execute(tx.connection())
    .await?;
    Ok(marked.rows_affected() > 0)
}

async fn find(
    tx: &mut Tx<'_>,
    job_order_id: JobOrderId,
    candidate_id: CandidateId,
) -> Result<Option<CandidateScore>> {
    let found = sqlx::query_as(
        "select scores.candidate_id, full_name, score, rule_version, contributions, scored_at,
             shortlisted_at
         from recruit.scores
         join recruit.candidates using (org_id, candidate_id)
         where org_id = $1 and job_order_id = $2 and candidate_id = $3",
    )
    .bind(tx.org_id())
    .bind(job_order_id)
    .bind(candidate_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(found)
}

impl FromRow<'_, PgRow> for CandidateScore {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            candidate_id: row.try_get("candidate_id")?,
            full_name: row.try_get("full_name")?,
            score: row.try_get::<i16, _>("score")?.cast_unsigned(),
            rule_version: row.try_get::<i16, _>("rule_version")?.cast_unsigned(),
            contributions: row.try_get::<Json<Vec<Contribution>>, _>("contributions")?.0,
            scored_at: row.try_get("scored_at")?,
            shortlisted_at: row.try_get("shortlisted_at")?,
        })
    }
}
