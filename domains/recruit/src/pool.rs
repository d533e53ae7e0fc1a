//! The pool of an order: the best candidates for it, as the scoring engine judged them.
//!
//! A job takes the facts, has the engine judge them, and records the outcome in the transaction
//! that completes it. A pool is the best hundred: whoever is worse will not be asked.

pub(crate) mod refresh;
mod score;
mod scoring;
pub(crate) mod scoring_engine;

use chrono::NaiveDate;
use contracts::recruit::{CandidateId, CandidatesScored, Credential, JobOrderId, ScoredCandidate};
use platform::{Attempt, Command, Job, Outcome, Result, Spec, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use crate::job_order::{NOT_OPEN, lock_open};

pub use self::score::{CandidateScore, ListScores, ScoreCandidates, ShortlistCandidate};
use self::scoring::{CandidateFacts, OrderFacts, Score};
pub use self::scoring::{Contribution, RULE_VERSION, Rule};

/// Candidates in the pool of one order.
const POOL_MAX: usize = 100;
/// Candidates looked at for one order, the newest first.
const CANDIDATES_MAX: i64 = 5_000;
/// Candidates named in the event.
const BEST_MAX: usize = 10;

/// Scores the pool of one order: takes the facts, asks the engine, records what it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ScorePool {
    pub(crate) job_order_id: JobOrderId,
}

impl Job for ScorePool {
    const NAME: &'static str = "score_pool";

    async fn perform(self, attempt: &Attempt) -> Result<Outcome> {
        let job_order_id = self.job_order_id;
        let Some(facts) = attempt.run(TakeForScoring { job_order_id }).await? else {
            return Ok(Outcome::Cancel(format!("job order {job_order_id} is not open any more")));
        };
        let scores = scoring_engine::score(attempt.system(), facts).await?;
        attempt.complete_with(RecordScores { job_order_id, scores }).await?;
        Ok(Outcome::Complete)
    }
}

/// Everything the rules look at for one order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PoolFacts {
    pub(crate) order: OrderFacts,
    pub(crate) candidates: Vec<CandidateFacts>,
}

/// Takes the facts of an open order and its candidates; nothing for an order that is closed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TakeForScoring {
    pub(crate) job_order_id: JobOrderId,
}

impl Command for TakeForScoring {
    const SPEC: Spec = Spec::internal("take_for_scoring");
    type Output = Option<PoolFacts>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<PoolFacts>> {
        let Some(order) = order_facts(tx, self.job_order_id).await? else {
            return Ok(None);
        };
        let candidates = candidate_facts(tx).await?;
        Ok(Some(PoolFacts { order, candidates }))
    }
}

/// Records the pool of an order: the best candidates and their scores.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RecordScores {
    pub(crate) job_order_id: JobOrderId,
    pub(crate) scores: Vec<Score>,
}

impl Command for RecordScores {
    const SPEC: Spec = Spec::internal("record_scores");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let Self { job_order_id, mut scores } = self;
        match lock_open(tx, job_order_id).await {
            Ok(_) => {}
            // Closed while it was scored: the scores are of no use any more, and that is no fault.
            Err(refused) if refused.code() == NOT_OPEN => return Ok(()),
            Err(error) => return Err(error),
        }
        let scored_count = u32::try_from(scores.len()).unwrap_or(u32::MAX);
        scores.sort_by(|a, b| b.points.cmp(&a.points).then(a.candidate_id.cmp(&b.candidate_id)));
        scores.truncate(POOL_MAX);
        let dropped_count = drop_others(tx, job_order_id, &scores).await?;
        let changed_count = upsert(tx, job_order_id, &scores).await?;
        if dropped_count + changed_count > 0 {
            let best = scores.iter().take(BEST_MAX);
            let best = best.map(|Score { candidate_id, points, .. }| ScoredCandidate {
                candidate_id: *candidate_id,
                score: *points,
            });
            let (rule_version, best) = (RULE_VERSION, best.collect());
            tx.append(&CandidatesScored { job_order_id, rule_version, scored_count, best }).await?;
        }
        Ok(())
    }
}

async fn order_facts(tx: &mut Tx<'_>, job_order_id: JobOrderId) -> Result<Option<OrderFacts>> {
    type OrderRow = (Vec<String>, Vec<String>, Option<String>, NaiveDate);
    let row: Option<OrderRow> = sqlx::query_as(
        "update recruit.job_orders
         set scoring_requested_at = $3
         where org_id = $1 and job_order_id = $2 and state = 'open'
         returning skills, credentials_required, postcode,
             coalesce(starts_on, (created_at at time zone 'utc')::date)",
    )
    .bind(tx.org_id())
    .bind(job_order_id)
    .bind(tx.now())
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|(skills, credentials_required, postcode, needed_on)| OrderFacts {
        job_order_id,
        skills,
        credentials_required,
        postcode,
        needed_on,
    }))
}

async fn candidate_facts(tx: &mut Tx<'_>) -> Result<Vec<CandidateFacts>> {
    type CandidateRow =
        (CandidateId, Vec<String>, Json<Vec<Credential>>, String, Option<NaiveDate>);
    let rows: Vec<CandidateRow> = sqlx::query_as(
        "select candidate_id, skills, credentials, postcode, available_from
         from recruit.candidates
         where org_id = $1
         order by candidate_id desc
         limit $2",
    )
    .bind(tx.org_id())
    .bind(CANDIDATES_MAX)
    .fetch_all(tx.connection())
    .await?;
    let facts = |(candidate_id, skills, Json(credentials), postcode, available_from)| {
        CandidateFacts { candidate_id, skills, credentials, postcode, available_from }
    };
    Ok(rows.into_iter().map(facts).collect())
}

/// Removes who is no longer among the best; a recruiter's shortlist is never touched.
async fn drop_others(tx: &mut Tx<'_>, job_order_id: JobOrderId, pool: &[Score]) -> Result<u64> {
    let kept: Vec<CandidateId> = pool.iter().map(|score| score.candidate_id).collect();
    let deleted = sqlx::query(
        "delete from recruit.scores
         where org_id = $1
             and job_order_id = $2
             and shortlisted_at is null
             and candidate_id <> all ($3)",
    )
    .bind(tx.org_id())
    .bind(job_order_id)
    .bind(kept)
    .execute(tx.connection())
    .await?;
    Ok(deleted.rows_affected())
}

/// Writes the scores that are new or different, in one statement.
async fn upsert(tx: &mut Tx<'_>, job_order_id: JobOrderId, pool: &[Score]) -> Result<u64> {
    let candidate_ids: Vec<CandidateId> = pool.iter().map(|score| score.candidate_id).collect();
    let points: Vec<i16> = pool.iter().map(|score| score.points.cast_signed()).collect();
    let contributions = pool.iter().map(|score| serde_json::to_value(&score.contributions));
    let contributions: Vec<serde_json::Value> = contributions.collect::<Result<_, _>>()?;
    let written = sqlx::query(
        "insert into recruit.scores as known (
             org_id, job_order_id, candidate_id, score, rule_version, contributions, scored_at
         )
         select $1, $2, scored.candidate_id, scored.score, $3, scored.contributions, $4
         from unnest($5::uuid[], $6::smallint[], $7::jsonb[])
             as scored (candidate_id, score, contributions)
         on conflict (org_id, job_order_id, candidate_id) do update
         set score = excluded.score,
             rule_version = excluded.rule_version,
             contributions = excluded.contributions,
             scored_at = excluded.scored_at
         where (known.score, known.rule_version, known.contributions)
             is distinct from (excluded.score, excluded.rule_version, excluded.contributions)",
    )
    .bind(tx.org_id())
    .bind(job_order_id)
    .bind(RULE_VERSION.cast_signed())
    .bind(tx.now())
    .bind(candidate_ids)
    .bind(points)
    .bind(contributions)
    .execute(tx.connection())
    .await?;
    Ok(written.rows_affected())
}
