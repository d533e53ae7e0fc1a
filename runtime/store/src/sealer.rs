//! The sealer: the single writer of order.
//!
//! It finds what was committed since it last looked, gives each event its position and the next
//! link of its organisation's chain, stores both in one commit and tells the node. One process in
//! the whole cluster leads; the sealers of other nodes stand by and take over when its session
//! ends.
//!
//! **Invariant:** it never waits for a writer and no writer ever waits for it.

use std::time::Duration;

use kernel::Position;
use otp::{ChildSpec, ExitReason, Process, RunContext, StartError};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::leader::{self, Leader, SealError};
use crate::log::Log;
use crate::{read, transaction};

/// How often the leader looks without being nudged: what another node commits waits this long at
/// most.
const SCAN_INTERVAL: Duration = Duration::from_millis(500);

/// The shortest time between the beginnings of two looks, so that the first event after a pause is
/// looked for at once.
const PACE: Duration = Duration::from_millis(2);

/// The same while many events come. A look and its commit cost much the same for ten events as for
/// forty, and each commit of the sealer is one that no writer has.
const PACE_UNDER_LOAD: Duration = Duration::from_millis(4);

/// Sealed in one look, so many events are load.
const LOAD_EVENTS: usize = 16;

/// How soon a sealer that finds the lock taken tries again; doubled up to [`STANDBY_INTERVAL`].
///
/// Short at first: after a crash the lock is held only until Postgres has noticed it.
const STANDBY_FIRST_WAIT: Duration = Duration::from_millis(1);

/// How often a stand-by tries to lead and asks for the head.
const STANDBY_INTERVAL: Duration = Duration::from_millis(250);

/// How often [`seal_all`] asks whether the leader is done.
const PATIENCE_WITH_LEADER: Duration = Duration::from_millis(2);

/// The sealer of this node, as a child of the store's supervisor.
#[must_use]
pub fn child(log: &Log) -> ChildSpec {
    let log = log.clone();
    ChildSpec::process("sealer", move || Sealer { log: log.clone() })
}

/// Seals what is committed now, once, and answers how many events that were.
///
/// For tests and for stopping. While a sealer leads elsewhere, it is nudged and waited for instead.
///
/// # Errors
/// [`SealError`].
pub async fn seal_all(log: &Log) -> Result<usize, SealError> {
    let mut spare = log.spare_session().lock().await;
    if let Some(mut session) = spare.take()
        && let Ok(sealed) = seal_with(log, &mut session).await
    {
        *spare = Some(session);
        return Ok(sealed);
    }
    // No session yet, or one that Postgres has closed in the meantime.
    let mut session = leader::open_session(log.pool()).await?;
    let sealed = seal_with(log, &mut session).await?;
    *spare = Some(session);
    Ok(sealed)
}

async fn seal_with(log: &Log, session: &mut PgConnection) -> Result<usize, SealError> {
    let before = read::head(session).await?;
    while !leader::try_lock(session).await? {
        if read::unsealed_count(session).await? == 0 {
            let head = read::head(session).await?;
            log.publish_head(head);
            return Ok(usize::try_from(head.0 - before.0).unwrap_or_default());
        }
        log.nudge();
        tokio::time::sleep(PATIENCE_WITH_LEADER).await;
    }
    let mut leader = Leader::take(session).await?;
    let sealed = drain(log, &mut leader, session).await?;
    leader.note_position(session, log.clock().now()).await?;
    leader::unlock(session).await?;
    Ok(sealed)
}

/// Seals batch after batch until nothing is left; answers how many events that were.
async fn drain(
    log: &Log,
    leader: &mut Leader,
    session: &mut PgConnection,
) -> Result<usize, SealError> {
    let mut sealed = 0;
    loop {
        let begun = Instant::now();
        let batch = leader.seal_batch(session, log.clock().now()).await?;
        log.sealer_stats().looked();
        if batch.sealed > 0 {
            let before = leader.position() - i64::try_from(batch.sealed).unwrap_or_default();
            // Before the head moves, so that whoever it wakes finds the answer.
            log.remember(Position(before), batch.names);
            log.publish_head(Position(leader.position()));
            let now = log.clock().now();
            log.sealer_stats().sealed(batch.sealed, begun.elapsed(), batch.oldest, now);
        }
        sealed += batch.sealed;
        if batch.is_last {
            // Heads are published even if nothing was sealed, for a node that has just started.
            log.publish_head(Position(leader.position()));
            return Ok(sealed);
        }
    }
}

struct Sealer {
    log: Log,
}

impl Process for Sealer {
    /// Tells the node where the log stands, so that what starts after the sealer knows it. Postgres
    /// being away is no reason not to start.
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        match known_head(&self.log).await {
            Ok(head) => self.log.publish_head(head),
            Err(error) => tracing::warn!(error = %error, "the head of the log is not known yet"),
        }
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut backoff = Backoff::default();
        while !context.is_stopping() {
            let ended = self.serve(context, &mut backoff).await;
            self.log.sealer_stats().leads(false);
            let Err(error) = ended else { break };
            self.log.sealer_stats().failed();
            let wait = backoff.next_wait();
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                wait_ms = wait.as_millis(),
                "sealing is interrupted"
            );
            tokio::select! {
                () = context.stopping() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn terminate(&mut self, _: &ExitReason) {
        self.log.sealer_stats().leads(false);
    }
}

impl Sealer {
    /// One session, from opening it until the node stops or something fails. The lock ends with it.
    async fn serve(&self, context: &RunContext, backoff: &mut Backoff) -> Result<(), SealError> {
        let mut session = leader::open_session(self.log.pool()).await?;
        if !self.stand_by(context, &mut session).await? {
            return Ok(());
        }
        leader::hold_while_alive(&mut session).await?;
        let mut leader = Leader::take(&mut session).await?;
        self.log.sealer_stats().leads(true);
        self.lead(context, &mut session, &mut leader, backoff).await?;
        // Closed in good order, so that the next leader need not wait for Postgres to notice.
        session.close().await?;
        Ok(())
    }

    /// Waits until this session leads; answers false if the node stops first.
    async fn stand_by(
        &self,
        context: &RunContext,
        session: &mut PgConnection,
    ) -> Result<bool, SealError> {
        let mut wait = STANDBY_FIRST_WAIT;
        loop {
            let is_leader = leader::try_lock(session).await?;
            self.log.publish_head(read::head(session).await?);
            if is_leader || context.is_stopping() {
                return Ok(is_leader);
            }
            tokio::select! {
                () = context.stopping() => return Ok(false),
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(STANDBY_INTERVAL);
        }
    }

    async fn lead(
        &self,
        context: &RunContext,
        session: &mut PgConnection,
        leader: &mut Leader,
        backoff: &mut Backoff,
    ) -> Result<(), SealError> {
        loop {
            // Asked before the last look, so that what was committed before the stop is sealed.
            let is_stopping = context.is_stopping();
            let begun = Instant::now();
            let sealed = drain(&self.log, leader, session).await?;
            backoff.reset();
            if is_stopping {
                return leader.note_position(session, self.log.clock().now()).await;
            }
            tokio::time::sleep_until(begun + pace(sealed)).await;
            tokio::select! {
                () = self.log.wake().nudged() => {}
                () = context.stopping() => {}
                () = tokio::time::sleep(SCAN_INTERVAL) => {
                    leader.note_position(session, self.log.clock().now()).await?;
                }
            }
        }
    }
}

/// The time between the beginnings of two looks, after one that sealed so many events.
const fn pace(sealed: usize) -> Duration {
    if sealed < LOAD_EVENTS { PACE } else { PACE_UNDER_LOAD }
}

async fn known_head(log: &Log) -> Result<Position, sqlx::Error> {
    let mut reading = transaction::begin_reading(log.pool()).await?;
    let head = read::head(&mut reading).await?;
    reading.rollback().await?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_are_looked_for_at_once_and_many_together() {
        assert_eq!(pace(0), PACE);
        assert_eq!(pace(LOAD_EVENTS - 1), PACE);
        assert_eq!(pace(LOAD_EVENTS), PACE_UNDER_LOAD);
    }
}
