//! The leader: the one session that may seal, and what it knows.
//!
//! Two locks hold it. An advisory lock on its connection chooses it, and Postgres gives that lock
//! back the moment the connection ends. The epoch makes the choice binding: every new leader raises
//! it, and seals are stored only while the epoch is still the leader's own; so a leader whose lock
//! was lost unnoticed can do nothing at all.

mod seals;

use std::collections::HashSet;

use kernel::Timestamp;
use sqlx::{PgConnection, PgPool, Row};

use crate::chain::{Head, Heads, Unsealed};
use crate::read::EventName;
use crate::sealed::digest;
use crate::unsealed::{self, Found, Horizon};

/// Events sealed in one statement at most. Small enough to commit in a fraction of a second, large
/// enough that a backlog is not looked through many times.
pub(crate) const BATCH_EVENTS_MAX: i64 = 20_000;

/// The advisory lock of the leader: "finnseal" in ASCII.
const LEADER_LOCK: i64 = 0x6669_6e6e_7365_616c;

/// How long Postgres keeps the session of a leader that says nothing. A leader looks at least every
/// half second; one that does not was stopped, or its machine is gone, and an open connection is
/// all that is left of it. With the session ends the lock, and a stand-by takes over.
///
/// The user timeout is for a leader that stopped while it was being sent events: then Postgres does
/// not wait for it but for the network.
const WHILE_ALIVE: &str = "set idle_session_timeout = '1500ms'; set tcp_user_timeout = '1500ms'";

/// The sealer could not seal.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Postgres refused or could not be reached.
    #[error("could not seal")]
    Database(#[from] sqlx::Error),
    /// Another leader has taken over.
    #[error("another leader has taken over; epoch {epoch} has passed")]
    Deposed {
        /// The epoch that has passed.
        epoch: i64,
    },
}

/// Opens the sealer's own session, apart from the pool: it holds a lock for as long as it leads.
///
/// Its planner must never read the whole log for want of statistics, nor plan anew for every look.
/// A look takes a fraction of a millisecond; compiling it or starting workers for it takes
/// hundreds. And without merge joins, a look at a long backlog keeps one batch in memory instead of
/// sorting it all.
///
/// Whoever was cut off while opening a transaction may have left the connection in it, and seals
/// inside one that nobody commits are never seen; so it is rolled back first. Outside of one that
/// is worth a warning, which would only puzzle whoever reads it.
pub(crate) async fn open_session(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    let mut session = pool.acquire().await?.detach();
    sqlx::raw_sql(
        "set client_min_messages = error; rollback; reset client_min_messages; \
         set role finnest_runtime; \
         set enable_seqscan = off; set plan_cache_mode = force_generic_plan; \
         set enable_mergejoin = off; set enable_hashjoin = off; \
         set jit = off; set max_parallel_workers_per_gather = 0; set work_mem = '64MB'",
    )
    .execute(&mut session)
    .await?;
    Ok(session)
}

/// Tries to become the leader; answers whether this session is it now.
pub(crate) async fn try_lock(session: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LEADER_LOCK).fetch_one(session).await
}

/// Gives the leadership back.
pub(crate) async fn unlock(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_unlock($1)").bind(LEADER_LOCK).execute(session).await?;
    Ok(())
}

/// Lets Postgres end this session, and with it the leadership, when the leader falls silent. For a
/// leader that looks for events all the time.
pub(crate) async fn hold_while_alive(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(WHILE_ALIVE).execute(session).await?;
    Ok(())
}

/// What one batch achieved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// How many events were sealed.
    pub(crate) sealed: usize,
    /// Whether nothing was left of what this look found.
    pub(crate) is_last: bool,
    /// When the oldest of them was recorded.
    pub(crate) oldest: Option<Timestamp>,
    /// Their domains and types, in the order of their positions.
    pub(crate) names: Vec<EventName>,
}

/// What the leader knows. All of it can be read again from Postgres.
#[derive(Debug)]
pub(crate) struct Leader {
    epoch: i64,
    /// The last position given.
    position: i64,
    horizon: Horizon,
    heads: Heads,
    /// The log was restored into another cluster, where the snapshots it remembers mean nothing.
    is_foreign: bool,
    noted_position: i64,
}

impl Leader {
    /// Begins a new epoch. The session must hold the lock.
    pub(crate) async fn take(session: &mut PgConnection) -> Result<Self, SealError> {
        // Waits for a predecessor's last batch to commit, since that holds the row.
        let state = sqlx::query(
            "update events.sealer_state as state
             set epoch = state.epoch + 1,
                 system_identifier = coalesce(state.system_identifier, control.system_identifier)
             from pg_control_system() as control
             returning state.epoch, state.noted_position,
                 state.system_identifier <> control.system_identifier as is_foreign",
        )
        .fetch_one(&mut *session)
        .await?;
        let is_foreign: bool = state.try_get("is_foreign")?;
        let last = seals::last_seal(session).await?;
        let (position, mut horizon) = last.unwrap_or_else(|| {
            let nothing = Horizon { sealed: Some(Horizon::NOTHING.to_owned()), target: None };
            (0, nothing)
        });
        if is_foreign {
            tracing::warn!(
                "the log was restored into another cluster; comparing events with seals"
            );
            horizon.sealed = None;
        }
        let leader = Self {
            epoch: state.try_get("epoch")?,
            position,
            horizon,
            heads: Heads::default(),
            is_foreign,
            noted_position: state.try_get("noted_position")?,
        };
        tracing::info!(epoch = leader.epoch, position, "leading the sealing of events");
        Ok(leader)
    }

    /// The last position given.
    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    /// Seals one batch of what waits.
    pub(crate) async fn seal_batch(
        &mut self,
        session: &mut PgConnection,
        now: Timestamp,
    ) -> Result<Batch, SealError> {
        let Found { events, snapshot } = match self.horizon.sealed {
            Some(_) => unsealed::find(session, &self.horizon, BATCH_EVENTS_MAX).await?,
            None => unsealed::find_by_comparison(session, BATCH_EVENTS_MAX).await?,
        };
        let (Some(last), Some(snapshot)) = (events.last(), snapshot.clone()) else {
            return Ok(self.nothing_found(snapshot));
        };
        let is_full = i64::try_from(events.len()).is_ok_and(|count| count >= BATCH_EVENTS_MAX);
        let horizon = match self.horizon.sealed {
            Some(_) => self.horizon.after(snapshot, is_full.then_some(last.arrival)),
            // A comparison of the tables vouches for a snapshot only when it finds nothing more.
            None => self.horizon.clone(),
        };
        let is_last = !is_full && horizon.sealed.is_some();
        self.learn_heads(session, &events).await?;
        let links = self.heads.extend(self.position, &events);
        match seals::store(session, self.epoch, &links, &horizon).await {
            Ok(0) => Err(SealError::Deposed { epoch: self.epoch }),
            Ok(_) => {
                self.position += i64::try_from(links.len()).unwrap_or(i64::MAX);
                self.horizon = horizon;
                self.heads.trim();
                self.note_cluster(session).await?;
                Ok(Batch {
                    sealed: links.len(),
                    is_last,
                    oldest: events.iter().map(|event| event.inserted_at).min(),
                    names: events
                        .into_iter()
                        .map(|event| (event.domain, event.event_type))
                        .collect(),
                })
            }
            Err(error) if names_a_sealed_event(&error) => {
                self.heads.forget();
                self.set_duplicates_aside(session, &events, error, now).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Notes the head while there is time, as evidence against a tail that is cut off later.
    ///
    /// Not with every batch: updating one row thousands of times a second leaves thousands of dead
    /// versions behind as soon as a long report holds a snapshot open.
    pub(crate) async fn note_position(
        &mut self,
        session: &mut PgConnection,
        now: Timestamp,
    ) -> Result<(), SealError> {
        if self.noted_position == self.position {
            return Ok(());
        }
        let noted = sqlx::query(
            "update events.sealer_state set noted_position = $2, noted_at = $3 where epoch = $1",
        )
        .bind(self.epoch)
        .bind(self.position)
        .bind(now)
        .execute(session)
        .await?;
        if noted.rows_affected() == 0 {
            return Err(SealError::Deposed { epoch: self.epoch });
        }
        self.noted_position = self.position;
        Ok(())
    }

    /// Nothing is left of this look; whatever it was part of is finished.
    fn nothing_found(&mut self, snapshot: Option<String>) -> Batch {
        let vouched = match self.horizon.target.take() {
            Some(target) => Some(target.snapshot),
            None => snapshot,
        };
        let is_last = vouched.is_none();
        self.horizon.sealed = vouched.or_else(|| self.horizon.sealed.take());
        Batch { sealed: 0, is_last, oldest: None, names: Vec::new() }
    }

    async fn learn_heads(
        &mut self,
        session: &mut PgConnection,
        events: &[Unsealed],
    ) -> Result<(), sqlx::Error> {
        let unknown = self.heads.unknown(events);
        if unknown.is_empty() {
            return Ok(());
        }
        let rows = seals::heads_of(session, &unknown).await?;
        for org_id in unknown {
            self.heads.learn(org_id, Head::GENESIS);
        }
        for row in &rows {
            let head =
                Head { org_sequence: row.try_get("org_sequence")?, link: digest(row, "hash")? };
            self.heads.learn(row.try_get("org_id")?, head);
        }
        Ok(())
    }

    /// Records which cluster the snapshots speak of, once one of it is stored with the seals.
    async fn note_cluster(&mut self, session: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.is_foreign || self.horizon.sealed.is_none() {
            return Ok(());
        }
        sqlx::query(
            "update events.sealer_state as state
             set system_identifier = control.system_identifier
             from pg_control_system() as control
             where state.epoch = $1",
        )
        .bind(self.epoch)
        .execute(session)
        .await?;
        self.is_foreign = false;
        Ok(())
    }

    /// Some event carries an id that is sealed already. It must not stop the others.
    async fn set_duplicates_aside(
        &mut self,
        session: &mut PgConnection,
        events: &[Unsealed],
        error: sqlx::Error,
        now: Timestamp,
    ) -> Result<Batch, SealError> {
        let sealed = seals::sealed_ids(session, events).await?;
        let mut seen = HashSet::new();
        let duplicates: Vec<&Unsealed> = events
            .iter()
            .filter(|event| sealed.contains(&event.event_id.uuid()) || !seen.insert(event.event_id))
            .collect();
        if duplicates.is_empty() {
            return Err(error.into());
        }
        for duplicate in duplicates {
            tracing::error!(
                event_id = %duplicate.event_id,
                domain = duplicate.domain,
                org_id = %duplicate.org_id,
                "an event carries the id of a sealed event and is set aside"
            );
            seals::keep_duplicate(session, duplicate, now).await?;
        }
        Ok(Batch { sealed: 0, is_last: false, oldest: None, names: Vec::new() })
    }
}

/// Whether the seals were refused because one of the events is sealed already.
fn names_a_sealed_event(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.constraint() == Some("seals_event_id_key"))
}
