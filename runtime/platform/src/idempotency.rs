//! Remembered answers: a command called twice with one key has one effect and one answer.
//!
//! The key, a fingerprint of the request and the answer are rows of the same transaction as the
//! effect. A second call waits for the first one's commit and then finds its answer.

use kernel::{Digest, canonical_bytes};
use serde_json::Value;

use crate::operation::Operation;
use crate::refusal::{Error, Reason, Result};
use crate::tx::Tx;

/// A call with a key, as it is remembered.
pub(crate) struct Request {
    operation: String,
    key: String,
    fingerprint: Digest,
}

/// What is known of a key.
pub(crate) enum Remembered {
    /// It is new, and now taken by this transaction.
    Nothing,
    /// It was used before for the same request, which had this answer.
    Answer(Value),
}

/// The longest key accepted, in bytes.
const KEY_BYTES_MAX: usize = 255;

impl Request {
    pub(crate) fn new(operation: &Operation, key: &str, input: &Value) -> Result<Self> {
        if key.is_empty()
            || key.len() > KEY_BYTES_MAX
            || !key.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Error::refused(
                Reason::invalid("bad_idempotency_key"),
                format!("an idempotency key is 1 to {KEY_BYTES_MAX} visible ASCII characters"),
            ));
        }
        // Inputs may hold floats, which have no canonical form; then their text must do.
        let bytes = canonical_bytes(input).unwrap_or_else(|_| input.to_string().into_bytes());
        Ok(Self {
            operation: operation.spec.name().to_owned(),
            key: key.to_owned(),
            fingerprint: Digest::of(&bytes),
        })
    }
}

/// Whether nothing has been done under this key yet; then it is taken. For what has no caller to
/// answer, so nothing but the key is remembered.
pub(crate) async fn is_first(tx: &mut Tx<'_>, operation: &str, key: &str) -> Result<bool> {
    let nothing = Digest::of(&[]);
    take(tx, operation, key, &nothing).await
}

/// Takes the key, or finds what it was used for.
pub(crate) async fn begin(tx: &mut Tx<'_>, request: &Request) -> Result<Remembered> {
    let org_id = tx.org_id();
    if take(tx, &request.operation, &request.key, &request.fingerprint).await? {
        return Ok(Remembered::Nothing);
    }
    let (fingerprint, answer): (Vec<u8>, Option<Value>) = sqlx::query_as(
        "select fingerprint, answer from platform.idempotency
         where org_id = $1 and domain = current_user and operation = $2 and key = $3",
    )
    .bind(org_id)
    .bind(&request.operation)
    .bind(&request.key)
    .fetch_one(tx.connection())
    .await?;
    if fingerprint != request.fingerprint.as_bytes() {
        return Err(Error::refused(
            Reason::invalid("idempotency_key_reused"),
            format!(
                "the idempotency key `{}` was used for another request; take a new one",
                request.key
            ),
        ));
    }
    answer.map(Remembered::Answer).ok_or_else(|| Error::failure("a remembered call has no answer"))
}

async fn take(tx: &mut Tx<'_>, operation: &str, key: &str, fingerprint: &Digest) -> Result<bool> {
    let (org_id, now) = (tx.org_id(), tx.now());
    let taken = sqlx::query(
        "insert into platform.idempotency (org_id, domain, operation, key, fingerprint, created_at)
         values ($1, current_user, $2, $3, $4, $5)
         on conflict do nothing",
    )
    .bind(org_id)
    .bind(operation)
    .bind(key)
    .bind(fingerprint.as_bytes().as_slice())
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Remembers the answer; it commits with the effect or not at all.
pub(crate) async fn finish(tx: &mut Tx<'_>, request: &Request, answer: &Value) -> Result<()> {
    let org_id = tx.org_id();
    sqlx::query(
        "update platform.idempotency set answer = $4
         where org_id = $1 and domain = current_user and operation = $2 and key = $3",
    )
    .bind(org_id)
    .bind(&request.operation)
    .bind(&request.key)
    .bind(answer)
    .execute(tx.connection())
    .await?;
    Ok(())
}
