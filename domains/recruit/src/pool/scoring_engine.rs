//! The scoring engine: a pool of scorers, each with a mailbox, that judge candidates for an order.
//!
//! Judging needs no database, so it does not happen inside a transaction and cannot hold one open.
//! A scorer keeps nothing but a count between two requests; killing one costs the request it was
//! at, which the next scorer is then asked.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use contracts::recruit::RECRUIT;
use futures_util::future::try_join_all;
use platform::otp::{
    Actor, ChildSpec, Context, ExitReason, Intensity, Reply, Strategy, SupervisorSpec,
};
use platform::{Error, Result, System};
use serde_json::{Value, json};

use super::PoolFacts;
use super::scoring::{self, CandidateFacts, OrderFacts, Score};

/// Scorers, unless supervision.toml says otherwise.
const POOL: u32 = 4;
/// Candidates in one request, so that a scorer is never busy for long.
const REQUEST_MAX: usize = 250;
/// How long one request may take, waiting included.
const WITHIN: Duration = Duration::from_secs(5);
/// Restarts of one scorer that are tolerated ...
const RESTARTS_PER_SCORER_MAX: u32 = 3;
/// ... within this time.
const RESTARTS_WITHIN: Duration = Duration::from_secs(5);
/// When to ask again after no scorer answered.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The child of the domain's tree: a supervisor with its scorers.
pub(crate) fn child(system: &System) -> ChildSpec {
    let count = scorer_count(system);
    let scorers = (0..count).map(|number| {
        ChildSpec::worker(format!("scorer_{number}"), Scorer::default).label("judges candidates")
    });
    // The pool tolerates what its scorers would tolerate one by one.
    let intensity = Intensity::new(RESTARTS_PER_SCORER_MAX * count, RESTARTS_WITHIN);
    let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(intensity).children(scorers);
    ChildSpec::supervisor("scoring_engine", spec).label("scores candidates by fixed rules")
}

fn scorer_count(system: &System) -> u32 {
    let tuning = system.tuning().domain(RECRUIT.as_str()).child("scoring_engine");
    tuning.pool.unwrap_or(POOL).max(1)
}

/// Has the engine judge a whole pool, its parts side by side.
///
/// # Errors
/// [`Error::Unavailable`] when no scorer answers.
pub(crate) async fn score(system: &System, facts: PoolFacts) -> Result<Vec<Score>> {
    let order = Arc::new(facts.order);
    // Orders begin with different scorers, so that many small pools keep all of them busy.
    let first = (order.job_order_id.uuid().as_u128() % u128::from(scorer_count(system))) as usize;
    let parts = facts.candidates.chunks(REQUEST_MAX).enumerate();
    let parts = parts.map(|(index, part)| judge(system, first + index, Arc::clone(&order), part));
    Ok(try_join_all(parts).await?.into_iter().flatten().collect())
}

/// Asks one scorer after the other, beginning with `first`, until one answers.
async fn judge(
    system: &System,
    first: usize,
    order: Arc<OrderFacts>,
    candidates: &[CandidateFacts],
) -> Result<Vec<Score>> {
    let count = scorer_count(system) as usize;
    for turn in 0..count {
        let number = (first + turn) % count;
        let path = format!("root/domains/{RECRUIT}/children/scoring_engine/scorer_{number}");
        let Some(scorer) = system.tree().whereis::<Judge>(&path) else {
            continue;
        };
        let (order, candidates) = (Arc::clone(&order), candidates.to_vec());
        match scorer.call(|reply| Judge { order, candidates, reply }, WITHIN).await {
            Ok(judged) => return Ok(judged),
            Err(error) => {
                tracing::info!(path, %error, "a scorer did not answer, the next is asked");
            }
        }
    }
    Err(Error::unavailable("no scorer answers just now", RETRY_AFTER))
}

/// Judge these candidates for that order.
struct Judge {
    order: Arc<OrderFacts>,
    candidates: Vec<CandidateFacts>,
    reply: Reply<Vec<Score>>,
}

/// Judges candidates, one request at a time.
#[derive(Default)]
struct Scorer {
    /// Since it came up.
    candidate_count: usize,
}

impl Actor for Scorer {
    type Message = Judge;

    async fn handle(&mut self, message: Judge, _: &Context<Judge>) -> Result<(), ExitReason> {
        let Judge { order, candidates, reply } = message;
        let scores = candidates.iter().map(|candidate| scoring::score(&order, candidate));
        reply.send(scores.collect());
        self.candidate_count += candidates.len();
        Ok(())
    }

    fn state(&self) -> Option<Value> {
        Some(json!({ "candidates_judged": self.candidate_count }))
    }

    fn describe(message: &Judge) -> Cow<'static, str> {
        format!("judge {} candidates", message.candidates.len()).into()
    }
}
