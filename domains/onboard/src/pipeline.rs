//! The pipeline: five stages that a document passes, each check-pointed.
//!
//! A stage is a job. It looks outside any transaction and then commits its check point, the money
//! it settled and the job of the next stage together with its own completion. So a crash anywhere
//! goes on behind the last check point, and nothing is paid for twice.

mod development;
pub(crate) mod finding;
pub(crate) mod health;
pub(crate) mod orchestrator;
mod provider;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::NaiveDate;
use contracts::onboard::{
    DocumentId, ManualReviewRequested, ReviewId, Stage, StageCompleted, VerificationCompleted,
    VerificationFailed,
};

use platform::{Attempt, Command, Error, Job, Outcome, Result, Spec, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use crate::budget::guard::{self, Admission};
use crate::budget::settle;
use crate::credential::prove;
use crate::document::{DocumentState, Locked, lock, move_to};

use self::finding::{Step, stage_from_name, stage_name, validate};
use self::provider::{Examined, provider};

pub use self::finding::Finding;
pub use self::health::GetProviderHealth;
pub(crate) use self::orchestrator::ResumePipelines;

/// When to ask again after a provider was away.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a stage is to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Assignment {
    pub(crate) document_id: DocumentId,
    pub(crate) stage: Stage,
    /// The credential the document is said to prove.
    pub(crate) credential_code: String,
    /// Whose document it is said to be.
    pub(crate) holder_name: String,
    pub(crate) content: String,
    /// What classification found.
    pub(crate) document_kind: Option<String>,
    /// What extraction found.
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) today: NaiveDate,
}

/// Does the next stage of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RunStage {
    pub(crate) document_id: DocumentId,
}

impl Job for RunStage {
    const NAME: &'static str = "run_stage";

    async fn perform(self, attempt: &Attempt) -> Result<Outcome> {
        let document_id = self.document_id;
        let Some(assignment) = attempt.run(TakeStage { document_id }).await? else {
            return Ok(Outcome::Complete);
        };
        let (by, examined) = if assignment.stage == Stage::Validation {
            ("rules", Examined { finding: validate(&assignment), cost_micro_dollars: 0 })
        } else {
            health::must_be_up(attempt.system()).await?;
            let cost_max = provider().cost_max_micro_dollars(&assignment);
            match guard::reserve(attempt, document_id, assignment.stage, cost_max).await? {
                Admission::Granted => (provider().name(), examine(&assignment).await?),
                Admission::Wait(wait) => return Ok(Outcome::Snooze(wait)),
            }
        };
        let Examined { finding, cost_micro_dollars } = examined;
        let by = by.to_owned();
        attempt
            .complete_with(CompleteStage { document_id, finding, by, cost_micro_dollars })
            .await?;
        Ok(Outcome::Complete)
    }
}

async fn examine(assignment: &Assignment) -> Result<Examined> {
    let away = |error: provider::ProviderError| Error::unavailable(error.to_string(), RETRY_AFTER);
    provider().examine(assignment).await.map_err(away)
}

/// Takes the next stage of a document in progress; nothing for one that is not.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct TakeStage {
    document_id: DocumentId,
}

impl Command for TakeStage {
    const SPEC: Spec = Spec::internal("take_stage");
    type Output = Option<Assignment>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<Assignment>> {
        let document_id = self.document_id;
        // Marked as driven, so that the orchestrator leaves alone what is being worked on.
        let taken: Option<(String, String, String, String)> = sqlx::query_as(
            "update onboard.documents
             set driven_at = $3
             where org_id = $1 and document_id = $2 and state = 'in_progress'
             returning stage, credential_code, holder_name, content",
        )
        .bind(tx.org_id())
        .bind(document_id)
        .bind(tx.now())
        .fetch_optional(tx.connection())
        .await?;
        let Some((stage, credential_code, holder_name, content)) = taken else { return Ok(None) };
        let (document_kind, fields) = known_so_far(tx, document_id).await?;
        Ok(Some(Assignment {
            document_id,
            stage: stage_from_name(&stage)?,
            credential_code,
            holder_name,
            content,
            document_kind,
            fields,
            today: tx.now().date_naive(),
        }))
    }
}

/// Records what a stage found and does the step that follows from it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct CompleteStage {
    document_id: DocumentId,
    finding: Finding,
    by: String,
    cost_micro_dollars: u64,
}

impl Command for CompleteStage {
    const SPEC: Spec = Spec::internal("complete_stage");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let document_id = self.document_id;
        let stage = self.finding.stage();
        let document = lock(tx, document_id).await?;
        // Another attempt was here before: its check point stands.
        if document.state != DocumentState::InProgress || document.stage != stage {
            return Ok(());
        }
        insert_check_point(tx, &self).await?;
        settle(tx, document_id, stage, self.cost_micro_dollars).await?;
        let cost_micro_dollars = self.cost_micro_dollars;
        tx.append(&StageCompleted { document_id, stage, cost_micro_dollars }).await?;
        match self.finding.step() {
            Step::Advance(next) => advance(tx, document_id, next).await,
            Step::Complete => complete(tx, document_id, &document).await,
            Step::Fail(reason_code) => fail(tx, document_id, &document, reason_code).await,
            Step::Review(question) => request_review(tx, document_id, stage, &question).await,
        }
    }
}

/// Goes on with the next stage.
pub(crate) async fn advance(tx: &mut Tx<'_>, document_id: DocumentId, next: Stage) -> Result<()> {
    move_to(tx, document_id, DocumentState::InProgress, next, None).await?;
    tx.enqueue(&RunStage { document_id }).await?;
    Ok(())
}

async fn complete(tx: &mut Tx<'_>, document_id: DocumentId, document: &Locked) -> Result<()> {
    move_to(tx, document_id, DocumentState::Verified, document.stage, None).await?;
    let (_, fields) = known_so_far(tx, document_id).await?;
    let expires_on = fields.get("expires_on").and_then(|day| day.parse().ok());
    let Locked { candidate_id, credential_code, .. } = document.clone();
    prove(tx, candidate_id, &credential_code, expires_on, document_id).await?;
    tx.append(&VerificationCompleted { document_id, candidate_id, credential_code }).await?;
    Ok(())
}

/// Ends the verification of a document that did not pass.
pub(crate) async fn fail(
    tx: &mut Tx<'_>,
    document_id: DocumentId,
    document: &Locked,
    reason_code: String,
) -> Result<()> {
    let Locked { candidate_id, stage, .. } = *document;
    move_to(tx, document_id, DocumentState::Failed, stage, Some(&reason_code)).await?;
    tx.append(&VerificationFailed { document_id, candidate_id, stage, reason_code }).await?;
    Ok(())
}

async fn request_review(
    tx: &mut Tx<'_>,
    document_id: DocumentId,
    stage: Stage,
    question: &str,
) -> Result<()> {
    let review_id = ReviewId::new();
    move_to(tx, document_id, DocumentState::InReview, stage, None).await?;
    sqlx::query(
        "insert into onboard.reviews (
             org_id, review_id, document_id, stage, question, state, created_at
         ) values ($1, $2, $3, $4, $5, 'waiting', $6)",
    )
    .bind(tx.org_id())
    .bind(review_id)
    .bind(document_id)
    .bind(stage_name(stage))
    .bind(question)
    .bind(tx.now())
    .execute(tx.connection())
    .await?;
    tx.append(&ManualReviewRequested { review_id, document_id, stage }).await?;
    Ok(())
}

async fn insert_check_point(tx: &mut Tx<'_>, done: &CompleteStage) -> Result<()> {
    sqlx::query(
        "insert into onboard.stages (
             org_id, document_id, stage, finding, provider, cost_micro_dollars, completed_at
         ) values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(tx.org_id())
    .bind(done.document_id)
    .bind(stage_name(done.finding.stage()))
    .bind(Json(&done.finding))
    .bind(&done.by)
    .bind(done.cost_micro_dollars.cast_signed())
    .bind(tx.now())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What classification and extraction found, as far as they are done.
async fn known_so_far(
    tx: &mut Tx<'_>,
    document_id: DocumentId,
) -> Result<(Option<String>, BTreeMap<String, String>)> {
    let findings: Vec<Json<Finding>> = sqlx::query_scalar(
        "select finding
         from onboard.stages
         where org_id = $1 and document_id = $2 and stage in ('classification', 'extraction')",
    )
    .bind(tx.org_id())
    .bind(document_id)
    .fetch_all(tx.connection())
    .await?;
    let mut known = (None, BTreeMap::new());
    for Json(finding) in findings {
        match finding {
            Finding::Classification { document_kind, .. } => known.0 = Some(document_kind),
            Finding::Extraction { fields } => known.1 = fields,
            _ => {}
        }
    }
    Ok(known)
}
