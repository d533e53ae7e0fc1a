//! The budget guard: the one who is asked before an AI stage spends money.
//!
//! It holds a breaker for each organisation and stage. The ledger in the database is the truth and
//! is asked under a row lock; the guard spares it the questions whose answer is known. A guard that
//! was killed begins with closed breakers, which costs one question each.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use contracts::onboard::{DocumentId, ONBOARD, Stage};
use platform::otp::{Actor, CallError, ChildSpec, Context, ExitReason, Reply};
use platform::{Attempt, Error, OrgId, Result, Scope, System, Timestamp};
use serde_json::{Value, json};

use super::breaker::{Breaker, Passage};
use super::{Reservation, ReserveBudget};

/// How long asking may take, waiting included.
const WITHIN: Duration = Duration::from_secs(10);
/// When to ask again while the guard restarts.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How many open breakers are shown to those who look inside.
const SHOWN_MAX: usize = 100;

/// The child of the domain's tree.
pub(crate) fn child(system: &System) -> ChildSpec {
    let system = system.clone();
    ChildSpec::worker("budget_guard", move || BudgetGuard {
        system: system.clone(),
        breakers: HashMap::new(),
    })
    .label("stops AI stages whose budget is used up")
}

/// Whether a stage may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The money is reserved.
    Granted,
    /// The budget is used up; come again after that long.
    Wait(Duration),
}

/// Reserves money for one stage of one document.
///
/// # Errors
/// [`Error::Unavailable`] when the guard does not answer; otherwise what the ledger says.
pub(crate) async fn reserve(
    attempt: &Attempt,
    document_id: DocumentId,
    stage: Stage,
    micro_dollars: u64,
) -> Result<Admission> {
    let path = format!("root/domains/{ONBOARD}/children/budget_guard");
    let away = |cause: CallError| {
        Error::unavailable(format!("the budget guard does not answer: {cause}"), RETRY_AFTER)
    };
    let guard = attempt.system().tree().whereis::<Reserve>(&path);
    let guard = guard.ok_or_else(|| away(CallError::NoProc))?;
    let scope = attempt.scope().clone();
    let budget = ReserveBudget { document_id, stage, micro_dollars };
    guard.call(|reply| Reserve { scope, budget, reply }, WITHIN).await.map_err(away)?
}

/// Reserve this.
struct Reserve {
    scope: Scope,
    budget: ReserveBudget,
    reply: Reply<Result<Admission>>,
}

struct BudgetGuard {
    system: System,
    breakers: HashMap<(OrgId, Stage), Breaker>,
}

impl BudgetGuard {
    async fn reserve(
        &mut self,
        scope: &Scope,
        budget: ReserveBudget,
        now: Timestamp,
    ) -> Result<Admission> {
        let breaker = self.breakers.entry((scope.org_id, budget.stage)).or_default();
        let come_again_at = match breaker.pass(now) {
            Passage::Refuse(until) => until,
            Passage::Ask => match self.system.run(scope, budget).await? {
                Reservation::Granted => {
                    breaker.granted();
                    return Ok(Admission::Granted);
                }
                Reservation::Exhausted { rolls_over_at } => breaker.exhausted(rolls_over_at, now),
            },
        };
        Ok(Admission::Wait((come_again_at - now).to_std().unwrap_or(RETRY_AFTER).max(RETRY_AFTER)))
    }
}

impl Actor for BudgetGuard {
    type Message = Reserve;

    async fn handle(
        &mut self,
        message: Reserve,
        context: &Context<Reserve>,
    ) -> Result<(), ExitReason> {
        let Reserve { scope, budget, reply } = message;
        if !reply.is_abandoned() {
            reply.send(self.reserve(&scope, budget, context.clock().now()).await);
        }
        Ok(())
    }

    fn state(&self) -> Option<Value> {
        let open = self.breakers.iter().filter_map(|((org_id, stage), breaker)| match breaker {
            Breaker::Open { until } => {
                Some(json!({ "org_id": org_id, "stage": stage, "until": until }))
            }
            Breaker::Closed | Breaker::HalfOpen => None,
        });
        let open: Vec<_> = open.take(SHOWN_MAX).collect();
        Some(json!({ "breakers": self.breakers.len(), "open": open }))
    }

    fn describe(message: &Reserve) -> Cow<'static, str> {
        format!("reserve for {:?}", message.budget.stage).into()
    }
}
