//! Remembered answers: a command called twice with one key has one effect and one answer.
//!
//! The key, a fingerprint of the request and the answer are rows of the same transaction as the
//! effect. A second call while the first is under way is told to come back, so that nobody holds
//! a connection to wait for somebody else's; afterwards it finds the answer, for a day.
//!
//! The fingerprint is made with a key that only the nodes of this installation have: what stands in
//! a request may be few digits, such as a tax file number, which anybody who reads the table could
//! find again from a plain digest by trying all of them.

use std::time::Duration;

use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::{Digest, canonical_bytes};
use otp::{ChildSpec, ExitReason};
use serde_json::Value;
use sha2::Sha256;

use crate::operation::Operation;
use crate::refusal::{Error, Reason, Result};
use crate::secret::MasterSecret;
use crate::system::System;
use crate::tx::Tx;

/// A call with a key, as it is remembered.
pub(crate) struct Request {
    operation: String,
    key: String,
    fingerprint: [u8; 32],
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
/// How long an answer is remembered.
const REMEMBERED_FOR: TimeDelta = TimeDelta::hours(24);
/// How often forgotten answers are deleted.
const PRUNED_EVERY: Duration = Duration::from_mins(15);

impl Request {
    pub(crate) fn new(
        secret: &MasterSecret,
        operation: &Operation,
        key: &str,
        input: &Value,
    ) -> Result<Self> {
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
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret.derive("idempotency"))
            .expect("a key of any length fits");
        mac.update(&bytes);
        Ok(Self {
            operation: operation.spec.name().to_owned(),
            key: key.to_owned(),
            fingerprint: mac.finalize().into_bytes().into(),
        })
    }
}

/// Whether nothing has been done under this key yet; then it is taken. For what has no caller to
/// answer, so nothing but the key is remembered, and who comes second waits for the first.
pub(crate) async fn is_first(tx: &mut Tx<'_>, operation: &str, key: &str) -> Result<bool> {
    let (org_id, now) = (tx.org_id(), tx.now());
    let taken = sqlx::query(
        "insert into platform.idempotency (org_id, domain, operation, key, fingerprint, created_at)
         values ($1, current_user, $2, $3, $4, $5)
         on conflict do nothing",
    )
    .bind(org_id)
    .bind(operation)
    .bind(key)
    .bind(Digest::of(&[]).as_bytes().as_slice())
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Takes the key, or finds what it was used for.
pub(crate) async fn begin(tx: &mut Tx<'_>, request: &Request) -> Result<Remembered> {
    let org_id = tx.org_id();
    let (is_free, is_taken) = take(tx, request).await?;
    if !is_free {
        return Err(Error::refused(
            Reason::conflict("idempotency_key_in_use"),
            format!(
                "the request with the idempotency key `{}` is still being answered; send it again \
                 in a moment",
                request.key
            ),
        ));
    }
    if is_taken {
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
    if fingerprint != request.fingerprint {
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

/// Whether nobody else is at it, and whether the key was new, or so old that it is new again. Both
/// by one statement: the lock ends with the transaction, whichever way that ends.
async fn take(tx: &mut Tx<'_>, request: &Request) -> Result<(bool, bool)> {
    let (org_id, now) = (tx.org_id(), tx.now());
    let taken = sqlx::query_as(
        "with turn as materialized (
             select pg_try_advisory_xact_lock(
                 hashtextextended(concat_ws(' ', $1::uuid, current_user, $2::text, $3::text), 0)
             ) as is_free
         ), taken as (
             insert into platform.idempotency as known (
                 org_id, domain, operation, key, fingerprint, created_at
             )
             select $1::uuid, current_user, $2::text, $3::text, $4::bytea, $5::timestamptz
             from turn
             where is_free
             on conflict (org_id, domain, operation, key) do update
                 set fingerprint = excluded.fingerprint, answer = null,
                     created_at = excluded.created_at
                 where known.created_at < $6::timestamptz
             returning true
         )
         select (select is_free from turn), exists (select from taken)",
    )
    .bind(org_id)
    .bind(&request.operation)
    .bind(&request.key)
    .bind(request.fingerprint.as_slice())
    .bind(now)
    .bind(now - REMEMBERED_FOR)
    .fetch_one(tx.connection())
    .await?;
    Ok(taken)
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

/// Deletes the answers that are not remembered any more, as a child of `root/jobs`. Every node
/// does; what one has deleted, another does not find.
pub(crate) fn pruner(system: &System) -> ChildSpec {
    let system = system.clone();
    ChildSpec::periodic("answers", PRUNED_EVERY, PRUNED_EVERY / 10, None, move |_| {
        let system = system.clone();
        Box::pin(async move {
            match prune(&system).await {
                Err(error) if !kernel::is_outage(&error) => {
                    Err(ExitReason::Failed(format!("remembered answers: {error}")))
                }
                _ => Ok(()),
            }
        })
    })
}

async fn prune(system: &System) -> Result<u64, sqlx::Error> {
    let mut transaction = store::begin(system.pool()).await?;
    let pruned = sqlx::query("delete from platform.idempotency where created_at < $1")
        .bind(system.now() - REMEMBERED_FOR)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(pruned.rows_affected())
}
