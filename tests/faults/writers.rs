//! The writers: independent clients, each with its own connection and its own record of which of
//! its commands were acknowledged.
//!
//! A command whose answer does not arrive is in doubt. Half of the writers give it up, the others
//! send it again under the same event id until they have an answer, as a careful client does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use kernel::{EventId, OrgId, Scope};
use otp::Clock;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, Transaction};
use store::{AppendError, Log, NewEvent};
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::amount::WRITERS;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time between two commands of one client: together they send up to 1,600 a second.
const PACE: Duration = Duration::from_millis(20);
/// For how many organisations they write.
const ORGANISATIONS: usize = 5;

/// What to write, and as whom.
pub(crate) struct Writers {
    app: PgConnectOptions,
    log: Log,
    clock: Clock,
    pub(crate) organisations: Vec<OrgId>,
    /// How many commands have been acknowledged so far.
    acknowledged: AtomicU64,
    /// How many have not been, for whatever reason.
    failed: AtomicU64,
    /// Tells of each command just before it is sent.
    on_begin: Box<dyn Fn(EventId) + Send + Sync>,
}

/// What the writers were promised.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// The acknowledged events of each writer, in the order in which it sent them.
    pub(crate) acknowledged: Vec<Vec<Uuid>>,
    /// How often a commit was sent and no answer came.
    pub(crate) in_doubt: u64,
    /// How often a command failed before its commit was sent.
    pub(crate) failed: u64,
}

impl Promises {
    pub(crate) fn acknowledged_count(&self) -> usize {
        self.acknowledged.iter().map(Vec::len).sum()
    }
}

impl Writers {
    pub(crate) fn new(app: &PgConnectOptions, log: &Log, clock: Clock) -> Self {
        let organisations = (0..ORGANISATIONS).map(|_| OrgId::new()).collect();
        let on_begin = Box::new(|_| {});
        Self {
            app: app.clone(),
            log: log.clone(),
            clock,
            organisations,
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            on_begin,
        }
    }

    /// Tells `act` of each command just before it is sent.
    pub(crate) fn on_begin(mut self, act: impl Fn(EventId) + Send + Sync + 'static) -> Self {
        self.on_begin = Box::new(act);
        self
    }

    /// How many commands have been acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How many have not been so far, for whatever reason.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until `count` more commands are acknowledged.
    pub(crate) async fn write_more(&self, count: u64) {
        let target = self.acknowledged() + count;
        let mut ticks = interval(Duration::from_millis(1));
        while self.acknowledged() < target {
            ticks.tick().await;
        }
    }

    /// Writes until `is_done`.
    pub(crate) async fn write_until(&self, is_done: &AtomicBool) -> Promises {
        let mut promises = Promises::default();
        for kept in join_all((0..WRITERS).map(|writer| self.write(writer, is_done))).await {
            promises.acknowledged.extend(kept.acknowledged);
            promises.in_doubt += kept.in_doubt;
            promises.failed += kept.failed;
        }
        promises
    }

    async fn write(&self, writer: usize, is_done: &AtomicBool) -> Promises {
        let gives_up = writer.is_multiple_of(2);
        let mut session = Session { app: &self.app, connection: None };
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut acknowledged, mut in_doubt, mut failed) = (Vec::new(), 0, 0);
        let mut repeated = None;
        for number in 0_u64.. {
            ticks.tick().await;
            // What is in doubt is decided even after the end, so that it counts.
            if is_done.load(Ordering::Relaxed) && repeated.is_none() {
                break;
            }
            let event = repeated.take().unwrap_or_else(|| self.event(writer, number));
            (self.on_begin)(event.event_id);
            let mut is_sent = false;
            if let Ok(Ok(())) = timeout(PATIENCE, session.record(&event, &mut is_sent)).await {
                acknowledged.push(event.event_id.uuid());
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                self.log.nudge();
            } else {
                session.connection = None;
                self.failed.fetch_add(1, Ordering::Relaxed);
                in_doubt += u64::from(is_sent);
                failed += u64::from(!is_sent);
                repeated = (is_sent && !gives_up).then_some(event);
            }
        }
        Promises { acknowledged: vec![acknowledged], in_doubt, failed }
    }

    fn event(&self, writer: usize, number: u64) -> NewEvent {
        let turn = writer + usize::try_from(number).unwrap_or_default();
        event(self.organisations[turn % ORGANISATIONS], &self.clock, writer, number)
    }
}

/// A job order was opened: the event that all writers record.
pub(crate) fn event(org_id: OrgId, clock: &Clock, writer: usize, number: u64) -> NewEvent {
    NewEvent {
        event_id: EventId::new(),
        scope: Scope::system(org_id, "faults", Uuid::now_v7()),
        domain: "recruit",
        event_type: "job_order_opened",
        version: 1,
        aggregate_id: Some(Uuid::now_v7()),
        payload: json!({ "writer": writer, "number": number }),
        recorded_at: clock.now(),
    }
}

/// A client's connection, opened anew whenever it is lost.
pub(crate) struct Session<'a> {
    pub(crate) app: &'a PgConnectOptions,
    pub(crate) connection: Option<PgConnection>,
}

impl Session<'_> {
    /// Records `event` in a transaction of its own; done when Postgres has acknowledged it.
    ///
    /// `is_sent` tells whether the commit was sent: from then on only an answer tells its outcome.
    pub(crate) async fn record(
        &mut self,
        event: &NewEvent,
        is_sent: &mut bool,
    ) -> Result<(), sqlx::Error> {
        let transaction = self.append(event).await?;
        *is_sent = true;
        transaction.commit().await
    }

    /// Appends `event` and leaves the transaction open.
    pub(crate) async fn append(
        &mut self,
        event: &NewEvent,
    ) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
        if self.connection.is_none() {
            self.connection = Some(PgConnection::connect_with(self.app).await?);
        }
        let connection = self.connection.as_mut().expect("it was opened just now");
        let (domain, org_id) = (event.domain, event.scope.org_id);
        let begin = format!("begin; set local role {domain}; set local app.org_id = '{org_id}'");
        let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
        match store::append(&mut transaction, event).await.err() {
            None => Ok(transaction),
            // It was recorded when it was sent before; only the answer was lost.
            Some(AppendError::Database { source, .. }) if is_repeated(&source) => Ok(transaction),
            Some(AppendError::Database { source, .. }) => Err(source),
            Some(error) => panic!("an event that can be recorded is refused: {error}"),
        }
    }
}

fn is_repeated(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
