//! One rebuild on one session, and the step that moves it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use kernel::{Position, Timestamp, is_outage};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{Connection as _, PgConnection, Row};
use uuid::Uuid;

use super::digest::{differences, digest, digest_tables};
use super::listing::RebuildState;
use super::pace::Pace;
use super::record::{live_version, note_digests};
use super::source::{Batch, Source};
use super::{ApplyTo, Comparison, ReadModel, ReplayError, shadow, shadow_of};
use crate::consumer::{ConsumeError, message_of};
use crate::log::Log;
use crate::{cursor, transaction};

/// The first half of the advisory lock of whoever runs a rebuild: "fnrb" in ASCII. The second is a
/// hash of the projection's name.
const REBUILD_LOCK: i32 = 0x666e_7262;

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many events are in the shadow now; none, if they were looked through in vain.
    Applied(usize),
    /// It is not running any more: somebody has paused or cancelled it.
    Halted,
    /// It has caught up, and this is how it ended or what it waits for.
    Ended(RebuildState),
}

/// A rebuild, held by this session and by no other.
pub struct Rebuild {
    source: Source,
    target: Target,
    /// Read while the batch before it was applied.
    ahead: Option<Batch>,
    has_shadow: bool,
    throttle: Option<u32>,
    /// An operator has decided for the shadow already.
    is_accepted: bool,
    /// An operator decides.
    asks: bool,
}

/// The shadow, and the session that fills it.
struct Target {
    model: ReadModel,
    log: Log,
    apply: ApplyTo,
    /// Holds the lock. Every batch is committed on it, so whoever loses the lock commits nothing.
    session: PgConnection,
    rebuild_id: Uuid,
    position: Position,
    pace: Pace,
}

impl Rebuild {
    /// Takes up the rebuild of `model` that is running, if there is one and no other session holds
    /// it.
    ///
    /// # Errors
    /// When Postgres refuses or cannot be reached.
    pub async fn take_up(
        model: &ReadModel,
        log: &Log,
        apply: &ApplyTo,
    ) -> Result<Option<Self>, ReplayError> {
        if running(log, model).await?.is_none() {
            return Ok(None);
        }
        // Not one of the pool's: it ends, and gives its lock back, with whoever holds it.
        let mut session = PgConnection::connect_with(&log.pool().connect_options()).await?;
        sqlx::raw_sql("set role finnest_runtime; set jit = off").execute(&mut session).await?;
        let is_held: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, hashtext($2))")
            .bind(REBUILD_LOCK)
            .bind(&model.name)
            .fetch_one(&mut session)
            .await?;
        if !is_held {
            return Ok(None);
        }
        // Read again: whoever held the lock before may have gone on meanwhile.
        let Some(row) = running(log, model).await? else { return Ok(None) };
        let throttle = row.try_get::<Option<i32>, _>("throttle")?.map(i32::cast_unsigned);
        let batch_size = row.try_get::<i32, _>("batch_size")?.cast_unsigned();
        // A throttled batch is not worth more than a second.
        let batch_max = batch_size.min(throttle.unwrap_or(u32::MAX)).max(1);
        Ok(Some(Self {
            source: Source::new(model.clone(), log.clone(), batch_max, throttle.is_some()),
            target: Target {
                model: model.clone(),
                log: log.clone(),
                apply: apply.clone(),
                session,
                rebuild_id: row.try_get("rebuild_id")?,
                position: Position(row.try_get("position")?),
                pace: Pace::new(),
            },
            ahead: None,
            has_shadow: row.try_get("has_shadow")?,
            throttle,
            is_accepted: row.try_get("is_accepted")?,
            asks: row.try_get("asks")?,
        }))
    }

    /// Everything up to here has had its effect on the shadow.
    #[must_use]
    pub fn position(&self) -> Position {
        self.target.position
    }

    /// How many positions lie before it, as far as it knows.
    #[must_use]
    pub fn behind(&self) -> u64 {
        u64::try_from(self.source.bound().0 - self.target.position.0).unwrap_or_default()
    }

    /// How long to wait before the next step, so that the throttle holds.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.throttle.map_or(Duration::ZERO, |throttle| self.target.pace.wait(throttle))
    }

    /// Applies one batch, or ends the rebuild when nothing is left to apply.
    ///
    /// # Errors
    /// [`ReplayError`]; the step has left no trace then.
    pub async fn step(&mut self) -> Result<Step, ReplayError> {
        if !self.has_shadow {
            if !self.target.make_shadow().await? {
                return Ok(Step::Halted);
            }
            (self.has_shadow, self.ahead) = (true, None);
        }
        let batch = match self.ahead.take() {
            Some(batch) => Some(batch),
            None => self.source.read(self.target.position).await?,
        };
        let Some(batch) = batch else { return self.end().await };
        // The next batch is read while this one is applied.
        let (ahead, is_running) =
            tokio::join!(self.source.read(batch.to), self.target.commit(&batch));
        if !is_running? {
            return Ok(Step::Halted);
        }
        self.ahead = ahead?;
        Ok(Step::Applied(batch.events.len()))
    }

    /// Notes that it cannot go on, unless somebody has stopped it anyway.
    ///
    /// # Errors
    /// When Postgres refuses or cannot be reached.
    pub async fn fail(&mut self, failure: &str) -> Result<(), sqlx::Error> {
        let now = self.target.log.clock().now();
        sqlx::query(
            "update events.rebuilds set state = 'failed', failure = $2, updated_at = $3
             where rebuild_id = $1 and state = 'running'",
        )
        .bind(self.target.rebuild_id)
        .bind(failure)
        .bind(now)
        .execute(&mut self.target.session)
        .await?;
        Ok(())
    }

    /// Brings the shadow to where the live tables stand, compares the two and, if nobody has to be
    /// asked, swaps them: all in one transaction that holds the live cursor still.
    async fn end(&mut self) -> Result<Step, ReplayError> {
        let target = &mut self.target;
        let mut transaction = target.session.begin().await?;
        let live = cursor::lock(&mut transaction, &target.model.name).await?;
        let live = live.unwrap_or(Position::ORIGIN);
        if live < target.position {
            // Somebody has moved the live cursor back, so the shadow holds what is not to be.
            transaction.rollback().await?;
            self.has_shadow = false;
            return Ok(Step::Applied(0));
        }
        let batch = self.source.read_up_to(target.position, live).await?;
        if batch.to < live {
            transaction.rollback().await?;
            self.ahead = Some(batch);
            return Ok(Step::Applied(0));
        }
        let Target { model, log, apply, rebuild_id, position, pace, .. } = target;
        let place = Place { rebuild_id: *rebuild_id, from: *position, now: log.clock().now() };
        if !place.advance(&mut transaction, &batch, pace).await? {
            return Ok(Step::Halted);
        }
        fill(&mut transaction, model, apply, &batch).await?;
        let comparison = compare(&mut transaction, model, live).await?;
        let state = match (comparison.is_mismatch(), self.asks) {
            _ if self.is_accepted => RebuildState::Swapped,
            (false, false) => RebuildState::Swapped,
            (true, _) => RebuildState::DigestMismatch,
            (false, true) => RebuildState::Ready,
        };
        place.end(&mut transaction, state, &comparison).await?;
        if state == RebuildState::Swapped {
            swap(&mut transaction, model, &comparison, place.now).await?;
        }
        transaction.commit().await?;
        *position = live;
        Ok(Step::Ended(state))
    }
}

impl Target {
    /// Makes the shadow, empty; answers whether the rebuild is still running.
    async fn make_shadow(&mut self) -> Result<bool, ReplayError> {
        let mut transaction = self.session.begin().await?;
        let begun = sqlx::query(
            "update events.rebuilds set has_shadow = true, position = 0, events = 0
             where rebuild_id = $1 and state = 'running'",
        )
        .bind(self.rebuild_id)
        .execute(&mut *transaction)
        .await?;
        if begun.rows_affected() == 0 {
            return Ok(false);
        }
        let archived: Option<String> = sqlx::query_scalar(
            "select to_char(min(month), 'YYYY-MM') from events.archives
             where detached_at is not null",
        )
        .fetch_one(&mut *transaction)
        .await?;
        if let Some(month) = archived {
            return Err(ReplayError::Archived { projection: self.model.name.clone(), month });
        }
        shadow::make(&mut transaction, &self.model).await?;
        transaction.commit().await?;
        self.position = Position::ORIGIN;
        Ok(true)
    }

    /// Rows and position in one commit; answers whether the rebuild is still running.
    async fn commit(&mut self, batch: &Batch) -> Result<bool, ReplayError> {
        let now = self.log.clock().now();
        let place = Place { rebuild_id: self.rebuild_id, from: self.position, now };
        let mut transaction = self.session.begin().await?;
        if !place.advance(&mut transaction, batch, &self.pace).await? {
            return Ok(false);
        }
        fill(&mut transaction, &self.model, &self.apply, batch).await?;
        transaction.commit().await?;
        let passed = u64::try_from(batch.to.0 - self.position.0).unwrap_or_default();
        self.pace.passed(batch.events.len() as u64, passed);
        self.position = batch.to;
        Ok(true)
    }
}

/// Where a rebuild stands before a transaction.
struct Place {
    rebuild_id: Uuid,
    from: Position,
    now: Timestamp,
}

impl Place {
    /// Moves the rebuild past `batch`; answers whether it was running and stood here.
    ///
    /// The row stays locked until the transaction ends, so who pauses or cancels waits for it.
    async fn advance(
        &self,
        connection: &mut PgConnection,
        batch: &Batch,
        pace: &Pace,
    ) -> Result<bool, sqlx::Error> {
        let moved = sqlx::query(
            "update events.rebuilds
             set position = $3, events = events + $4, events_per_second = $5,
                 positions_per_second = $6, updated_at = $7
             where rebuild_id = $1 and position = $2 and state = 'running'",
        )
        .bind(self.rebuild_id)
        .bind(self.from.0)
        .bind(batch.to.0)
        .bind(i64::try_from(batch.events.len()).unwrap_or(i64::MAX))
        .bind(pace.events_per_second.cast_signed())
        .bind(pace.positions_per_second.cast_signed())
        .bind(self.now)
        .execute(connection)
        .await?;
        Ok(moved.rows_affected() == 1)
    }

    async fn end(
        &self,
        connection: &mut PgConnection,
        state: RebuildState,
        comparison: &Comparison,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update events.rebuilds
             set state = $2, comparison = $3, updated_at = $4,
                 finished_at = case when $5 then $4::timestamptz end
             where rebuild_id = $1",
        )
        .bind(self.rebuild_id)
        .bind(state.name())
        .bind(Json(comparison))
        .bind(self.now)
        .bind(state.is_over())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Gives a batch its effect on the shadow, and on nothing else of the projection.
async fn fill(
    connection: &mut PgConnection,
    model: &ReadModel,
    apply: &ApplyTo,
    batch: &Batch,
) -> Result<(), ReplayError> {
    let Some(first) = batch.events.first() else { return Ok(()) };
    let search_path = shadow::search_path(model);
    let applied = AssertUnwindSafe(apply(&mut *connection, &search_path, &batch.events))
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(ConsumeError::Panicked(message_of(&*panic))));
    match applied {
        Ok(()) => shadow::must_be_apart(connection, model).await,
        Err(ConsumeError::Database(error)) if is_outage(&error) => Err(error.into()),
        Err(source) => Err(ReplayError::Apply { position: first.position, source }),
    }
}

/// What both sides hold, now that they stand at the same `position`.
async fn compare(
    connection: &mut PgConnection,
    model: &ReadModel,
    position: Position,
) -> Result<Comparison, sqlx::Error> {
    let rebuilt = digest_tables(connection, &shadow_of(&model.name), &model.tables).await?;
    // What another version has made is meant to be different.
    let is_comparable = live_version(connection, &model.name).await? == Some(model.version);
    let live = if is_comparable { digest(connection, model).await? } else { Vec::new() };
    let mut comparison =
        Comparison { position: position.0, live, rebuilt, differences: Vec::new() };
    if comparison.is_mismatch() {
        comparison.differences = differences(connection, model).await?;
    }
    Ok(comparison)
}

async fn swap(
    connection: &mut PgConnection,
    model: &ReadModel,
    comparison: &Comparison,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    shadow::swap(connection, model).await?;
    sqlx::query("update events.projections set version = $2, rebuilt_at = $3 where name = $1")
        .bind(&model.name)
        .bind(i32::from(model.version))
        .bind(now)
        .execute(&mut *connection)
        .await?;
    let position = Position(comparison.position);
    note_digests(connection, &model.name, position, &comparison.rebuilt).await
}

/// The rebuild of `model` that is running, if there is one for this version of its logic.
async fn running(log: &Log, model: &ReadModel) -> Result<Option<PgRow>, sqlx::Error> {
    let mut reading = transaction::begin_reading(log.pool()).await?;
    let row = sqlx::query(
        "select rebuild_id, position, batch_size, throttle, has_shadow, is_accepted, asks
         from events.rebuilds
         where projection = $1 and version = $2 and state = 'running'",
    )
    .bind(&model.name)
    .bind(i32::from(model.version))
    .fetch_optional(&mut *reading)
    .await?;
    reading.rollback().await?;
    Ok(row)
}
