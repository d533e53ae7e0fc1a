//! Credentials: onboard's own copy of who holds what, as recruit tells it and as documents prove
//! it.

use chrono::NaiveDate;
use contracts::onboard::DocumentId;
use contracts::recruit::{CandidateId, Credential};
use platform::{Command, Result, Spec, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::credential_check::{check_candidate, take_turns};

/// Keeps a copy of a candidate and the credentials the candidate says to hold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KeepCandidate {
    pub(crate) candidate_id: CandidateId,
    pub(crate) credentials: Vec<Credential>,
}

impl Command for KeepCandidate {
    const SPEC: Spec = Spec::internal("keep_candidate");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        take_turns(tx).await?;
        insert_candidate(tx, self.candidate_id).await?;
        insert_credentials(tx, self.candidate_id, &self.credentials).await?;
        check_candidate(tx, self.candidate_id).await
    }
}

/// Records that a document proves a credential, and checks its holder again.
pub(crate) async fn prove(
    tx: &mut Tx<'_>,
    candidate_id: CandidateId,
    code: &str,
    expires_on: Option<NaiveDate>,
    document_id: DocumentId,
) -> Result<()> {
    take_turns(tx).await?;
    sqlx::query(
        "insert into onboard.credentials (org_id, candidate_id, code, expires_on, document_id)
         values ($1, $2, $3, $4, $5)
         on conflict (org_id, candidate_id, code) do update
         set expires_on = excluded.expires_on, document_id = excluded.document_id",
    )
    .bind(tx.org_id())
    .bind(candidate_id)
    .bind(code)
    .bind(expires_on)
    .bind(document_id)
    .execute(tx.connection())
    .await?;
    check_candidate(tx, candidate_id).await
}

async fn insert_candidate(tx: &mut Tx<'_>, candidate_id: CandidateId) -> Result<()> {
    sqlx::query(
        "insert into onboard.candidates (org_id, candidate_id, created_at, updated_at)
         values ($1, $2, $3, $3)
         on conflict (org_id, candidate_id) do nothing",
    )
    .bind(tx.org_id())
    .bind(candidate_id)
    .bind(tx.now())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What a document has proved already is not overwritten by what a candidate says.
async fn insert_credentials(
    tx: &mut Tx<'_>,
    candidate_id: CandidateId,
    credentials: &[Credential],
) -> Result<()> {
    let codes: Vec<&str> = credentials.iter().map(|credential| credential.code.as_str()).collect();
    let last_days: Vec<Option<NaiveDate>> =
        credentials.iter().map(|credential| credential.expires_on).collect();
    sqlx::query(
        "insert into onboard.credentials (org_id, candidate_id, code, expires_on)
         select $1, $2, held.code, held.expires_on
         from unnest($3::text[], $4::date[]) as held (code, expires_on)
         on conflict (org_id, candidate_id, code) do nothing",
    )
    .bind(tx.org_id())
    .bind(candidate_id)
    .bind(codes)
    .bind(last_days)
    .execute(tx.connection())
    .await?;
    Ok(())
}
