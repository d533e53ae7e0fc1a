//! Opening a lane: its cursor is found, made, or follows from those of another layout.

use kernel::{Digest, Position};
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::sync::watch;

use super::lane::{Lane, Layout, Passed};
use super::lease;
use super::stall::{self, Waitings};
use super::{Consumer, ConsumerError, ConsumerStatus, Start};
use crate::cursor::{self, Standing};
use crate::{read, transaction};

/// A lane of a consumer.
#[derive(Debug, Clone)]
pub(super) struct Working {
    pub(super) consumer: Consumer,
    pub(super) lane: Lane,
    /// The name of its cursor.
    pub(super) name: std::sync::Arc<str>,
}

impl Working {
    pub(super) fn new(consumer: Consumer, lane: Lane) -> Self {
        let name = lane.name(&consumer.name).into();
        Self { consumer, lane, name }
    }

    /// Where it tells what it is doing.
    pub(super) fn status(&self) -> &watch::Sender<ConsumerStatus> {
        &self.consumer.status[usize::from(self.lane.number - 1)]
    }

    /// The lock that its transactions hold, so that whoever takes over can tell whose they are.
    pub(super) fn key(&self) -> i64 {
        key(&self.name)
    }

    /// Finds the cursor of the lane and what stands in its way; makes it if there is none.
    pub(super) async fn open(&self) -> Result<Opened, ConsumerError> {
        let consumer = &*self.consumer.name;
        let mut transaction = transaction::begin(self.consumer.log.pool()).await?;
        let cursors = cursor::of_consumer(&mut transaction, consumer, false).await?;
        let cursors = if is_layout(&cursors, self.lane.count) {
            cursors
        } else {
            transaction.rollback().await?;
            let old: Vec<i64> = cursors.iter().map(|cursor| key(&cursor.name)).collect();
            self.must_be_free(&cursors).await?;
            for key in old {
                lease::fence(self.consumer.log.pool(), key).await?;
            }
            transaction = transaction::begin(self.consumer.log.pool()).await?;
            self.lay_out(&mut transaction).await?
        };
        let own = cursors.into_iter().find(|cursor| *cursor.name == *self.name);
        let mut cursor = own.expect("a layout has a cursor for each of its lanes");
        let passed = Passed::from_column(cursor.passed.take().as_deref());
        let mut waitings = stall::of_lane(&mut transaction, consumer, self.lane).await?;
        // An event behind the cursor stands in nobody's way, whatever was noted of it.
        waitings.retain(|_, waiting| {
            waiting.is_parked || waiting.position.is_some_and(|at| at > cursor.position)
        });
        transaction.commit().await?;
        Ok(Opened { position: cursor.position, epoch: cursor.epoch, passed, waitings })
    }

    /// Makes the cursors of this layout: from those of another one, or from nothing.
    async fn lay_out(
        &self,
        transaction: &mut Transaction<'static, Postgres>,
    ) -> Result<Vec<Standing>, ConsumerError> {
        let consumer = &*self.consumer.name;
        sqlx::query("select pg_advisory_xact_lock($1)")
            .bind(key(&format!("{consumer}#")))
            .execute(&mut **transaction)
            .await?;
        let old = cursor::of_consumer(transaction, consumer, true).await?;
        if is_layout(&old, self.lane.count) {
            // One of its other lanes was here first.
            return Ok(old);
        }
        let (position, passed) = match following(&old) {
            Some(follows) => follows,
            None => (start(&self.consumer, transaction).await?, Passed::default()),
        };
        let epoch = old.iter().map(|cursor| cursor.epoch + 1).max().unwrap_or_default();
        cursor::remove(transaction, consumer).await?;
        let now = self.consumer.log.clock().now();
        for lane in Lane::all(self.lane.count) {
            let name = lane.name(consumer);
            let cursor = Standing { name, position, epoch, passed: passed.column() };
            cursor::create(transaction, &cursor, now).await?;
        }
        if !old.is_empty() {
            let (before, now) = (old.len(), self.lane.count);
            tracing::info!(consumer, before, now, %position, "lanes are laid out anew");
        }
        Ok(cursor::of_consumer(transaction, consumer, false).await?)
    }

    /// Refuses a change of layout while another process works by the old one.
    async fn must_be_free(&self, cursors: &[Standing]) -> Result<(), ConsumerError> {
        let names: Vec<&str> = cursors.iter().map(|cursor| cursor.name.as_str()).collect();
        let mut reading = transaction::begin_reading(self.consumer.log.pool()).await?;
        let is_worked: bool = sqlx::query_scalar(
            "select exists (
                 select from events.leases
                 where name = any($1) and holder <> $2 and expires_at > clock_timestamp())",
        )
        .bind(names)
        .bind(self.consumer.log.consumers().holder)
        .fetch_one(&mut *reading)
        .await?;
        reading.rollback().await?;
        if is_worked { Err(ConsumerError::Elsewhere) } else { Ok(()) }
    }
}

/// Where a lane stands, by the table.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) position: Position,
    pub(super) epoch: i64,
    pub(super) passed: Passed,
    pub(super) waitings: Waitings,
}

/// Whether these are the cursors of so many lanes, neither more nor fewer.
fn is_layout(cursors: &[Standing], count: u16) -> bool {
    cursors.len() == usize::from(count)
        && cursors
            .iter()
            .all(|cursor| Lane::named(&cursor.name).is_some_and(|lane| lane.count == count))
}

/// Where the lanes of a new layout begin, and what they must not do again.
fn following(old: &[Standing]) -> Option<(Position, Passed)> {
    let position = old.iter().map(|cursor| cursor.position).min()?;
    let mut passed = Passed::default();
    let mut lanes: Vec<(u16, Position)> = Vec::new();
    for cursor in old {
        passed.merge(Passed::from_column(cursor.passed.as_deref()));
        lanes.push((Lane::named(&cursor.name)?.number, cursor.position));
    }
    lanes.sort_unstable();
    passed.add(Layout { positions: lanes.into_iter().map(|(_, position)| position).collect() });
    passed.forget(position);
    Some((position, passed))
}

/// Where a consumer without a cursor begins: after this position.
async fn start(
    consumer: &Consumer,
    connection: &mut PgConnection,
) -> Result<Position, sqlx::Error> {
    match consumer.from {
        Start::Origin => Ok(Position::ORIGIN),
        Start::Now => read::head(connection).await,
        Start::At(time) => sqlx::query_scalar(
            "select coalesce(
                 (select min(position) - 1 from events.seals where inserted_at >= $1),
                 (select max(position) from events.seals),
                 0)",
        )
        .bind(time)
        .fetch_one(connection)
        .await
        .map(Position),
    }
}

/// The advisory lock of a name.
pub(super) fn key(name: &str) -> i64 {
    let digest = Digest::of(format!("finnest consumer {name}").as_bytes());
    i64::from_be_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(lane: Lane, position: i64) -> Standing {
        let name = lane.name("pulse.draft");
        Standing { name, position: Position(position), epoch: 0, passed: None }
    }

    #[test]
    fn a_new_layout_begins_where_the_last_of_the_old_lanes_stood() {
        let old: Vec<Standing> =
            Lane::all(3).zip([40, 10, 30]).map(|(lane, at)| standing(lane, at)).collect();

        let (position, passed) = following(&old).expect("there was a layout");

        assert_eq!(position, Position(10));
        assert_eq!(passed.column(), Some(vec![3, 40, 10, 30]));
        assert_eq!(following(&[]), None);
    }

    #[test]
    fn a_layout_is_complete_or_none() {
        let lanes: Vec<Standing> = Lane::all(2).map(|lane| standing(lane, 0)).collect();

        assert!(is_layout(&lanes, 2));
        assert!(!is_layout(&lanes[..1], 2));
        assert!(!is_layout(&lanes, 1));
        assert!(!is_layout(&[], 1));
    }
}
