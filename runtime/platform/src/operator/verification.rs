//! Verifying the log from afar: a walk that may take minutes is a process, and the request that
//! starts it does not wait for it.
//!
//! Where each walk stands is kept in the database, so that it can be asked for on every node, and
//! goes on where it stopped when its node went down.

use std::time::Duration;

use chrono::TimeDelta;
use kernel::{OrgId, Position, Timestamp};
use otp::{ChildSpec, DynamicSupervisor, RunContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use store::verify::{Break, Standing, Task, Verdict};
use tokio::sync::watch;
use uuid::Uuid;

use super::OPERATOR;
use crate::dispatch::RETRY_AFTER;
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;

/// The id of the supervisor of walks, among the children of the operator's domain.
const VERIFICATIONS: &str = "verifications";
/// How many walks may be under way on one node.
const WALKS_MAX: usize = 2;
/// How often a walk says where it stands.
const SAVE_EVERY: Duration = Duration::from_millis(500);
/// A walk that has said nothing for so long has stopped with its node.
const SILENT_MAX: TimeDelta = TimeDelta::seconds(30);
/// How many positions a single request may verify while it is waited for; a few seconds' worth.
pub(super) const POSITIONS_AT_ONCE_MAX: i64 = 500_000;

/// The supervisor of the walks that are under way.
pub(super) fn supervisor(_: &System) -> ChildSpec {
    DynamicSupervisor::child(VERIFICATIONS, Some(WALKS_MAX))
}

/// Why a wish about a verification is not granted.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotVerified {
    #[error("there is no verification {0}")]
    Unknown(Uuid),
    #[error("verification {0} is {1}; only one that was interrupted or has failed goes on")]
    NotInterrupted(Uuid, &'static str),
    #[error(
        "the log has {0} events, too many for one request; use `start_verification` and \
         `show_verification`, as `finnest verify` does"
    )]
    TooLong(i64),
}

impl Refusal for NotVerified {
    fn reason(&self) -> Reason {
        match self {
            Self::Unknown(_) => Reason::not_found("no_such_verification").at("/verification_id"),
            Self::NotInterrupted(..) => Reason::conflict("not_interrupted").at("/resume"),
            Self::TooLong(_) => Reason::conflict("too_long_for_one_request"),
        }
    }
}

/// Start walking the chain of one organisation, or of all, in the background.
///
/// Ask `show_verification` how far it is. An event that was changed, removed, inserted or swapped
/// breaks the chain at its place.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartVerification {
    /// Only this organisation; all of them unless told.
    #[serde(default)]
    pub org_id: Option<OrgId>,
    /// The first position; the first of the log unless told.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub from: Option<i64>,
    /// The last position; the last of the log unless told.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub to: Option<i64>,
    /// Go on with this verification, which was interrupted, instead of starting a new one. What
    /// lies before the place where it stopped is not looked at again.
    #[serde(default)]
    pub resume: Option<Uuid>,
}

/// How a walk over the chains is going, or what it found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Which walk.
    pub verification_id: Uuid,
    /// `running`, `done`, `failed`, or `interrupted` when its node went down.
    pub state: String,
    /// The last position checked.
    pub position: Position,
    /// Where it will end; 0 before it has begun.
    pub until: Position,
    /// Events checked so far.
    pub events: u64,
    /// Places found so far where the chain does not hold.
    pub broken_count: u64,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it last said where it stands.
    pub updated_at: Timestamp,
    /// What it found, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ChainReport>,
    /// Why it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Whether the chain holds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChainReport {
    /// Whether every link is as it should be.
    pub holds: bool,
    /// Events walked.
    pub events: u64,
    /// Organisations walked.
    pub organisations: u64,
    /// For how many events the content lies in the archive: their links were followed, no more.
    #[serde(default)]
    pub archived: u64,
    /// In how many places the chain does not hold.
    #[serde(default)]
    pub broken_count: u64,
    /// The first of these places, by position, each with what is wrong and what to do.
    pub broken: Vec<Value>,
}

impl ChainReport {
    /// What a walk found, in words.
    #[must_use]
    pub fn of(verdict: &Verdict) -> Self {
        Self {
            holds: verdict.holds(),
            events: verdict.events,
            organisations: verdict.organisations,
            archived: verdict.archived,
            broken_count: verdict.broken_count,
            broken: verdict.broken.iter().map(finding).collect(),
        }
    }
}

fn finding(found: &Break) -> Value {
    let mut finding = json!(found);
    finding["what"] = found.problem.what().into();
    finding["advice"] = found.problem.advice().into();
    finding
}

impl Action for StartVerification {
    const SPEC: Spec = Spec::invoke("start_verification", "/verifications").needs(Access::Operate);
    type Output = Verification;
    async fn act(self, system: &System) -> Result<Verification> {
        let pool = system.pool();
        let now = system.clock().now();
        let (id, task) = match self.resume {
            Some(id) => (id, resumed(pool, id, now).await?),
            None => (Uuid::now_v7(), self.begun()),
        };
        save_new(pool, id, &task, now).await?;
        let walk = system.clone();
        let process = ChildSpec::task("verification", move |context| async move {
            run(&walk, id, task, &context).await;
            Ok(())
        });
        let path = format!("root/domains/{OPERATOR}/children/{VERIFICATIONS}");
        let walks = DynamicSupervisor::at(system.tree().clone(), path);
        if let Err(error) = walks.start_numbered(process).await {
            let message = format!("no further verification can be started just now: {error}");
            save(pool, id, &Saved::Failed(message.clone()), now).await?;
            return Err(Error::unavailable(message, RETRY_AFTER));
        }
        view(pool, id, now).await
    }
}

impl StartVerification {
    fn begun(&self) -> Task {
        Task {
            org_id: self.org_id,
            from: Position(self.from.unwrap_or(1)),
            to: self.to.map(Position),
            ..Task::default()
        }
    }
}

/// Show how far a verification is, and what it found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowVerification {
    /// Which, as `start_verification` told.
    pub verification_id: Uuid,
}

impl Action for ShowVerification {
    const SPEC: Spec =
        Spec::read("show_verification", "/verifications/{verification_id}").needs(Access::Operate);
    type Output = Verification;
    async fn act(self, system: &System) -> Result<Verification> {
        view(system.pool(), self.verification_id, system.clock().now()).await
    }
}

/// Walks to the end, or until the node stops, and keeps telling where it stands.
async fn run(system: &System, id: Uuid, task: Task, context: &RunContext) {
    let (told, standing) = watch::channel(task.resume.clone());
    let walking = store::verify::walk(system.pool(), &task, |standing| {
        told.send_replace(Some(standing.clone()));
    });
    let saving = async {
        loop {
            tokio::time::sleep(SAVE_EVERY).await;
            let now = standing.borrow().clone();
            keep(system, id, &Saved::Standing(now)).await;
        }
    };
    let ended = tokio::select! {
        verdict = walking => match verdict {
            Ok(verdict) => Saved::Done(verdict),
            Err(error) => Saved::Failed(error.to_string()),
        },
        () = saving => unreachable!("it saves for ever"),
        () = context.stopping() => Saved::Standing(standing.borrow().clone()),
    };
    keep(system, id, &ended).await;
}

/// What is kept of a walk.
enum Saved {
    Standing(Option<Standing>),
    Done(Verdict),
    Failed(String),
}

async fn keep(system: &System, id: Uuid, saved: &Saved) {
    let now = system.clock().now();
    if let Err(error) = save(system.pool(), id, saved, now).await {
        tracing::warn!(%error, verification_id = %id, "where a verification stands is not kept");
    }
}

async fn save_new(pool: &PgPool, id: Uuid, task: &Task, now: Timestamp) -> Result<()> {
    let mut transaction = store::begin(pool).await?;
    sqlx::query(
        "insert into events.verifications
             (id, org_id, from_position, to_position, started_at, updated_at)
         values ($1, $2, $3, $4, $5, $5)
         on conflict (id) do update set updated_at = excluded.updated_at, failure = null",
    )
    .bind(id)
    .bind(task.org_id)
    .bind(task.from.0)
    .bind(task.to.map(|to| to.0))
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

async fn save(pool: &PgPool, id: Uuid, saved: &Saved, now: Timestamp) -> Result<()> {
    let (standing, outcome, failure) = match saved {
        Saved::Standing(standing) => (standing.as_ref().map(|it| json!(it)), None, None),
        Saved::Done(verdict) => (None, Some(json!(verdict)), None),
        Saved::Failed(failure) => (None, None, Some(failure)),
    };
    let mut transaction = store::begin(pool).await?;
    sqlx::query(
        "update events.verifications
         set standing = coalesce($2, standing), outcome = $3, failure = $4, updated_at = $5
         where id = $1",
    )
    .bind(id)
    .bind(standing)
    .bind(outcome)
    .bind(failure)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

/// The task of a walk that was interrupted, from where it stopped.
async fn resumed(pool: &PgPool, id: Uuid, now: Timestamp) -> Result<Task> {
    let found = view(pool, id, now).await?;
    let state = match found.state.as_str() {
        "running" => Some("still running"),
        "done" => Some("done"),
        _ => None,
    };
    if let Some(state) = state {
        return Err(NotVerified::NotInterrupted(id, state).into());
    }
    let mut reading = store::begin_reading(pool).await?;
    let row = sqlx::query(
        "select org_id, from_position, to_position, standing from events.verifications
         where id = $1",
    )
    .bind(id)
    .fetch_one(&mut *reading)
    .await?;
    reading.rollback().await?;
    let standing: Option<Value> = row.try_get("standing")?;
    Ok(Task {
        org_id: row.try_get("org_id")?,
        from: Position(row.try_get("from_position")?),
        to: row.try_get::<Option<i64>, _>("to_position")?.map(Position),
        resume: standing.map(serde_json::from_value).transpose()?,
        ..Task::default()
    })
}

async fn view(pool: &PgPool, id: Uuid, now: Timestamp) -> Result<Verification> {
    let mut reading = store::begin_reading(pool).await?;
    let row = sqlx::query(
        "select standing, outcome, failure, started_at, updated_at from events.verifications
         where id = $1",
    )
    .bind(id)
    .fetch_optional(&mut *reading)
    .await?
    .ok_or(NotVerified::Unknown(id))?;
    reading.rollback().await?;
    let standing: Option<Value> = row.try_get("standing")?;
    let standing: Option<Standing> = standing.map(serde_json::from_value).transpose()?;
    let outcome: Option<Value> = row.try_get("outcome")?;
    let outcome: Option<Verdict> = outcome.map(serde_json::from_value).transpose()?;
    let failure: Option<String> = row.try_get("failure")?;
    let updated_at: Timestamp = row.try_get("updated_at")?;
    let state = match (&outcome, &failure) {
        (Some(_), _) => "done",
        (None, Some(_)) => "failed",
        (None, None) if now - updated_at > SILENT_MAX => "interrupted",
        (None, None) => "running",
    };
    let so_far = outcome.as_ref().or(standing.as_ref().map(|standing| &standing.verdict));
    Ok(Verification {
        verification_id: id,
        state: state.to_owned(),
        position: standing.as_ref().map_or(Position::ORIGIN, |standing| standing.position),
        until: standing.as_ref().map_or(Position::ORIGIN, |standing| standing.until),
        events: so_far.map_or(0, |verdict| verdict.events),
        broken_count: so_far.map_or(0, |verdict| verdict.broken_count),
        started_at: row.try_get("started_at")?,
        updated_at,
        report: outcome.as_ref().map(ChainReport::of),
        failure,
    })
}
