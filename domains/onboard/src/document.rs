//! Documents: what candidates submit to prove a credential.

use contracts::onboard::{DocumentId, Stage};
use contracts::recruit::CandidateId;
use platform::{
    Command, Cursor, Limit, Listing, Query, Reason, Result, Snapshot, Spec, Timestamp, Tx, trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};

use crate::pipeline::finding::{stage_from_name, stage_name};
use crate::pipeline::{Finding, RunStage};

/// A document submitted for verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// The document.
    pub document_id: DocumentId,
    /// Whose document it is said to be.
    pub candidate_id: CandidateId,
    /// Code of the credential it is said to prove.
    pub credential_code: String,
    /// The name of its file.
    pub file_name: String,
    /// How far its verification is.
    pub state: DocumentState,
    /// The stage it is at; of a failed document, the one it failed at.
    pub stage: Stage,
    /// Code of the reason it failed for, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// When it was submitted.
    pub created_at: Timestamp,
}

/// How far the verification of a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DocumentState {
    /// Its stages are being done.
    InProgress,
    /// A person must decide.
    InReview,
    /// It proves the credential.
    Verified,
    /// It proves nothing.
    Failed,
}

impl DocumentState {
    const ALL: [Self; 4] = [Self::InProgress, Self::InReview, Self::Verified, Self::Failed];

    const fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::InReview => "in_review",
            Self::Verified => "verified",
            Self::Failed => "failed",
        }
    }

    fn from_name(name: &str) -> Result<Self, sqlx::Error> {
        let state = Self::ALL.into_iter().find(|state| state.name() == name);
        state.ok_or_else(|| sqlx::Error::Decode(format!("a document is `{name}`").into()))
    }
}

/// What the rules of documents say no to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("onboarding does not know a candidate {0}; register the candidate first")]
    UnknownCandidate(CandidateId),
    #[error("there is no document {0}")]
    NotFound(DocumentId),
    #[error("`{0}` is no code of a credential, as in `forklift_licence`")]
    Code(String),
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::UnknownCandidate(_) => Reason::not_found("unknown_candidate").at("/candidate_id"),
            Self::NotFound(_) => Reason::not_found("document_not_found").at("/document_id"),
            Self::Code(_) => Reason::invalid("bad_code").at("/credential_code"),
        }
    }
}

/// Submit a document that proves a credential.
///
/// Five stages verify it within seconds: classification, extraction, validation, face verification
/// and cross-reference. When a face is doubtful, a person decides.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitDocument {
    /// Whose document it is.
    pub candidate_id: CandidateId,
    /// Code of the credential it proves, for example `forklift_licence`.
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,47}$"))]
    pub credential_code: String,
    /// The name of its holder, as the candidate writes it.
    #[schemars(length(min = 2, max = 120))]
    pub holder_name: String,
    /// The name of its file.
    #[schemars(length(min = 1, max = 120))]
    pub file_name: String,
    /// Its text, lines of `Name: value`, at most 20000 characters.
    #[schemars(length(min = 1, max = 20_000))]
    pub content: String,
}

impl Command for SubmitDocument {
    const SPEC: Spec = Spec::create("submit_document", "/documents");
    type Output = Document;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Document> {
        let is_code = self.credential_code.len() <= 48
            && self.credential_code.starts_with(|first: char| first.is_ascii_lowercase())
            && self.credential_code.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !is_code {
            return Err(Refusal::Code(self.credential_code).into());
        }
        let holder_name = trimmed("/holder_name", &self.holder_name, 2..=120)?;
        let content = self.content.replace("\r\n", "\n").replace('\t', " ");
        let content = trimmed("/content", &content, 1..=20_000)?;
        known_candidate(tx, self.candidate_id).await?;
        let document = Document {
            document_id: DocumentId::new(),
            candidate_id: self.candidate_id,
            credential_code: self.credential_code,
            file_name: trimmed("/file_name", &self.file_name, 1..=120)?,
            state: DocumentState::InProgress,
            stage: Stage::Classification,
            reason_code: None,
            created_at: tx.now(),
        };
        insert(tx, &document, &holder_name, &content).await?;
        tx.enqueue(&RunStage { document_id: document.document_id }).await?;
        Ok(document)
    }
}

/// Get one document and what its stages found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetDocument {
    /// The document.
    pub document_id: DocumentId,
}

/// A document and what its stages found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentDetail {
    /// The document.
    pub document: Document,
    /// The stages that are done, in their order.
    pub stages: Vec<StageResult>,
}

/// What one stage found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageResult {
    /// What it found.
    pub finding: Finding,
    /// Who looked: the name of a provider, or `rules`.
    pub provider: String,
    /// What it cost, in millionths of a US dollar.
    pub cost_micro_dollars: u64,
    /// When it was done.
    pub completed_at: Timestamp,
}

impl Query for GetDocument {
    const SPEC: Spec = Spec::read("get_document", "/documents/{document_id}");
    type Output = DocumentDetail;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<DocumentDetail> {
        let document_id = self.document_id;
        let found: Option<Document> = sqlx::query_as(
            "select document_id, candidate_id, credential_code, file_name, state, stage,
                 reason_code, created_at
             from onboard.documents
             where org_id = $1 and document_id = $2",
        )
        .bind(db.org_id())
        .bind(document_id)
        .fetch_optional(db.connection())
        .await?;
        let document = found.ok_or(Refusal::NotFound(document_id))?;
        let stages: Vec<(Json<Finding>, String, i64, Timestamp)> = sqlx::query_as(
            "select finding, provider, cost_micro_dollars, completed_at
             from onboard.stages
             where org_id = $1 and document_id = $2
             order by completed_at",
        )
        .bind(db.org_id())
        .bind(document_id)
        .fetch_all(db.connection())
        .await?;
        let result = |(Json(finding), provider, cost, completed_at): (_, _, i64, _)| StageResult {
            finding,
            provider,
            cost_micro_dollars: cost.cast_unsigned(),
            completed_at,
        };
        Ok(DocumentDetail { document, stages: stages.into_iter().map(result).collect() })
    }
}

/// List documents, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListDocuments {
    /// Only documents of this candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate_id: Option<CandidateId>,
    /// Only documents that are this far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DocumentState>,
    /// Documents on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListDocuments {
    const SPEC: Spec = Spec::read("list_documents", "/documents");
    type Output = Listing<Document>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<Document>> {
        let before: Option<DocumentId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select document_id, candidate_id, credential_code, file_name, state, stage,
                 reason_code, created_at
             from onboard.documents
             where org_id = $1
                 and ($2::uuid is null or candidate_id = $2)
                 and ($3::text is null or state = $3)
                 and ($4::uuid is null or document_id < $4)
             order by document_id desc
             limit $5",
        )
        .bind(db.org_id())
        .bind(self.candidate_id)
        .bind(self.state.map(DocumentState::name))
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |document: &Document| document.document_id))
    }
}

/// Refuses a candidate that recruit has not told of.
pub(crate) async fn known_candidate(tx: &mut Tx<'_>, candidate_id: CandidateId) -> Result<()> {
    let is_known: bool = sqlx::query_scalar(
        "select exists (
             select from onboard.candidates where org_id = $1 and candidate_id = $2
         )",
    )
    .bind(tx.org_id())
    .bind(candidate_id)
    .fetch_one(tx.connection())
    .await?;
    if is_known { Ok(()) } else { Err(Refusal::UnknownCandidate(candidate_id).into()) }
}

/// What whoever moves a document must know of it.
#[derive(Debug, Clone)]
pub(crate) struct Locked {
    pub(crate) candidate_id: CandidateId,
    pub(crate) credential_code: String,
    pub(crate) state: DocumentState,
    pub(crate) stage: Stage,
}

/// Locks a document against everybody else who would move it.
pub(crate) async fn lock(tx: &mut Tx<'_>, document_id: DocumentId) -> Result<Locked> {
    let locked: Option<(CandidateId, String, String, String)> = sqlx::query_as(
        "select candidate_id, credential_code, state, stage
         from onboard.documents
         where org_id = $1 and document_id = $2
         for update",
    )
    .bind(tx.org_id())
    .bind(document_id)
    .fetch_optional(tx.connection())
    .await?;
    let (candidate_id, credential_code, state_name, at_stage) =
        locked.ok_or(Refusal::NotFound(document_id))?;
    let state = DocumentState::from_name(&state_name)?;
    Ok(Locked { candidate_id, credential_code, state, stage: stage_from_name(&at_stage)? })
}

/// Moves a locked document on.
pub(crate) async fn move_to(
    tx: &mut Tx<'_>,
    document_id: DocumentId,
    to: DocumentState,
    at: Stage,
    reason_code: Option<&str>,
) -> Result<()> {
    sqlx::query(
        "update onboard.documents
         set state = $3, stage = $4, reason_code = $5, driven_at = $6
         where org_id = $1 and document_id = $2",
    )
    .bind(tx.org_id())
    .bind(document_id)
    .bind(to.name())
    .bind(stage_name(at))
    .bind(reason_code)
    .bind(tx.now())
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn insert(
    tx: &mut Tx<'_>,
    document: &Document,
    holder_name: &str,
    content: &str,
) -> Result<()> {
    sqlx::query(
        "insert into onboard.documents (
             org_id, document_id, candidate_id, credential_code, holder_name, file_name, content,
             state, stage, created_at, driven_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
    )
    .bind(tx.org_id())
    .bind(document.document_id)
    .bind(document.candidate_id)
    .bind(&document.credential_code)
    .bind(holder_name)
    .bind(&document.file_name)
    .bind(content)
    .bind(document.state.name())
    .bind(stage_name(document.stage))
    .bind(document.created_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

impl FromRow<'_, PgRow> for Document {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            document_id: row.try_get("document_id")?,
            candidate_id: row.try_get("candidate_id")?,
            credential_code: row.try_get("credential_code")?,
            file_name: row.try_get("file_name")?,
            state: DocumentState::from_name(row.try_get("state")?)?,
            stage: stage_from_name(row.try_get("stage")?)?,
            reason_code: row.try_get("reason_code")?,
            created_at: row.try_get("created_at")?,
        })
    }
}
