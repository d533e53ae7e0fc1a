//! The transactions of a lane: cursor, stalls and effects in one commit.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use kernel::{OrgId, Position, is_outage};
use sqlx::{Postgres, Transaction};

use super::Reader;
use crate::consumer::lane::Passed;
use crate::consumer::open::Working;
use crate::consumer::stall::{self, Failure};
use crate::consumer::{ConsumeError, ConsumerError};
use crate::cursor::{self, Standing};
use crate::sealed::SealedEvent;
use crate::transaction;

/// What happens beside the effects and the move of the cursor.
pub(super) enum Deed<'a> {
    Nothing,
    /// Nothing of the organisation is in the way any more.
    Clear(OrgId),
    /// A parked organisation has come so far.
    Settle(OrgId, Position),
    /// An attempt has failed.
    Note(&'a Failure),
}

/// How a transaction ended.
pub(super) enum Ended {
    Committed,
    Moved,
    Refused(ConsumeError),
}

impl Reader {
    /// Cursor, stalls and effects in one commit; the cursor first, because it locks out others.
    pub(super) async fn commit(
        &self,
        to: Position,
        deed: Deed<'_>,
        events: Vec<SealedEvent>,
    ) -> Result<Ended, ConsumerError> {
        let mut transaction = transaction::begin(self.working.consumer.log.pool()).await?;
        let applied = self.act(&mut transaction, to, deed, events).await;
        let ended = match applied {
            Ok(true) => transaction.commit().await.map_err(ConsumeError::Database),
            Ok(false) => {
                transaction.rollback().await?;
                return Ok(Ended::Moved);
            }
            Err(error) => {
                // What matters is the effect's own error; a failed rollback closes the connection.
                let _ = transaction.rollback().await;
                Err(error)
            }
        };
        match ended {
            Ok(()) => Ok(Ended::Committed),
            Err(ConsumeError::Database(error)) if is_outage(&error) => Err(error.into()),
            Err(error) => Ok(Ended::Refused(error)),
        }
    }

    /// Answers whether the cursor still stood where it was left; otherwise nothing is done.
    async fn act(
        &self,
        transaction: &mut Transaction<'static, Postgres>,
        to: Position,
        deed: Deed<'_>,
        events: Vec<SealedEvent>,
    ) -> Result<bool, ConsumeError> {
        let Working { consumer, name, .. } = &self.working;
        let is_plain = matches!(deed, Deed::Nothing);
        let mut passed = self.passed.clone();
        passed.forget(to);
        let standing = |position, epoch, passed: &Passed| Standing {
            name: name.to_string(),
            position,
            epoch,
            passed: passed.column(),
        };
        let from = standing(self.saved, self.epoch, &self.passed);
        let to = standing(to, self.epoch + i64::from(!is_plain), &passed);
        let now = consumer.log.clock().now();
        if !cursor::advance(transaction, self.working.key(), &from, &to, now).await? {
            return Ok(false);
        }
        match deed {
            Deed::Nothing => {}
            Deed::Clear(org_id) => stall::remove(transaction, &consumer.name, org_id).await?,
            Deed::Settle(org_id, settled) => {
                stall::settle(transaction, &consumer.name, org_id, settled).await?;
            }
            Deed::Note(failure) => stall::note(transaction, &consumer.name, failure).await?,
        }
        if !events.is_empty() {
            AssertUnwindSafe((consumer.apply)(transaction, events))
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| Err(ConsumeError::Panicked(message_of(&*panic))))?;
        }
        Ok(true)
    }
}

/// The cursor and the stalls are ours alone, so what is refused there will be accepted later.
pub(super) fn unavailable(error: ConsumeError) -> ConsumerError {
    match error {
        ConsumeError::Database(error) => error.into(),
        ConsumeError::Read(error) => error.into(),
        error => ConsumerError::Unavailable(sqlx::Error::Protocol(error.to_string()).into()),
    }
}

pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
