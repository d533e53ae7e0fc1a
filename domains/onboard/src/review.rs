//! The manual review queue: documents a person must decide about.

use contracts::onboard::{DocumentId, ReviewId, Stage};
use platform::{
    Command, Cursor, Limit, Listing, Query, Reason, Result, Snapshot, Spec, Timestamp, Tx, trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::document::lock;
use crate::pipeline::finding::{after, stage_from_name};
use crate::pipeline::{advance, fail};

/// A question about a document that a person must answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    /// The entry in the review queue.
    pub review_id: ReviewId,
    /// The document.
    pub document_id: DocumentId,
    /// The stage that could not decide.
    pub stage: Stage,
    /// What is to be decided.
    pub question: String,
    /// `waiting`, `approved` or `rejected`.
    pub state: String,
    /// Why it was decided so, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the question came up.
    pub created_at: Timestamp,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
}

/// How a person decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Decision {
    /// The document goes on with the next stage.
    Approve,
    /// The document fails.
    Reject,
}

/// What the rules of reviews say no to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no review {0}")]
    NotFound(ReviewId),
    #[error("review {0} was {1} already")]
    Decided(ReviewId, String),
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => Reason::not_found("review_not_found").at("/review_id"),
            Self::Decided(..) => Reason::conflict("review_decided"),
        }
    }
}

/// Decide about a document that waits for manual review.
///
/// An approved document goes on with the next stage, a rejected one fails. A decision is final.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideReview {
    /// The entry in the review queue.
    pub review_id: ReviewId,
    /// How you decide.
    pub decision: Decision,
    /// Why, 3 to 500 characters.
    #[schemars(length(min = 3, max = 500))]
    pub note: String,
}

impl Command for DecideReview {
    const SPEC: Spec = Spec::invoke("decide_review", "/reviews/{review_id}/decide");
    type Output = Review;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Review> {
        let note = trimmed("/note", &self.note, 3..=500)?;
        let waiting = lock_review(tx, self.review_id).await?;
        if waiting.state != "waiting" {
            return Err(Refusal::Decided(self.review_id, waiting.state).into());
        }
        let document_id = waiting.document_id;
        let document = lock(tx, document_id).await?;
        match (self.decision, after(waiting.stage)) {
            (Decision::Approve, Some(next)) => advance(tx, document_id, next).await?,
            // Only a stage with another behind it asks a person; approving the last changes
            // nothing.
            (Decision::Approve, None) => {}
            (Decision::Reject, _) => {
                fail(tx, document_id, &document, "rejected_by_reviewer".to_owned()).await?;
            }
        }
        decide(tx, self.review_id, self.decision, &note).await
    }
}

/// List reviews, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListReviews {
    /// Only those that wait for a decision.
    #[serde(default)]
    pub waiting_only: bool,
    /// Reviews on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListReviews {
    const SPEC: Spec = Spec::read("list_reviews", "/reviews");
    type Output = Listing<Review>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<Review>> {
        let before: Option<ReviewId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select review_id, document_id, stage, question, state, note, created_at, decided_at
             from onboard.reviews
             where org_id = $1
                 and (not $2 or state = 'waiting')
                 and ($3::uuid is null or review_id < $3)
             order by review_id desc
             limit $4",
        )
        .bind(db.org_id())
        .bind(self.waiting_only)
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |review: &Review| review.review_id))
    }
}

async fn lock_review(tx: &mut Tx<'_>, review_id: ReviewId) -> Result<Review> {
    let found = sqlx::query_as(
        "select review_id, document_id, stage, question, state, note, created_at, decided_at
         from onboard.reviews
         where org_id = $1 and review_id = $2
         for update",
    )
    .bind(tx.org_id())
    .bind(review_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(found.ok_or(Refusal::NotFound(review_id))?)
}

async fn decide(
    tx: &mut Tx<'_>,
    review_id: ReviewId,
    decision: Decision,
    note: &str,
) -> Result<Review> {
    let state = match decision {
        Decision::Approve => "approved",
        Decision::Reject => "rejected",
    };
    let decided = sqlx::query_as(
        "update onboard.reviews
         set state = $3, note = $4, decided_at = $5
         where org_id = $1 and review_id = $2
         returning review_id, document_id, stage, question, state, note, created_at, decided_at",
    )
    .bind(tx.org_id())
    .bind(review_id)
    .bind(state)
    .bind(note)
    .bind(tx.now())
    .fetch_one(tx.connection())
    .await?;
    Ok(decided)
}

impl FromRow<'_, PgRow> for Review {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            review_id: row.try_get("review_id")?,
            document_id: row.try_get("document_id")?,
            stage: stage_from_name(row.try_get("stage")?)?,
            question: row.try_get("question")?,
            state: row.try_get("state")?,
            note: row.try_get("note")?,
            created_at: row.try_get("created_at")?,
            decided_at: row.try_get("decided_at")?,
        })
    }
}
