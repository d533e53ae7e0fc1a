//! The provider health check: asks the provider now and then whether it would answer.
//!
//! Stages ask this process before they ask the provider, so that a provider that is away costs one
//! question every half minute and not one per document.

use std::borrow::Cow;
use std::time::Duration;

use contracts::onboard::ONBOARD;
use platform::otp::{Actor, CallError, ChildSpec, Context, ExitReason, Reply, StartError, Timer};
use platform::{Action, Error, Result, Spec, System, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::provider::{Provider, provider};

/// How often the provider is asked.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to answer.
const CHECK_WITHIN: Duration = Duration::from_secs(5);
/// So many failures in a row mean that it is away; one may be chance.
const FAILURES_MAX: u32 = 3;
/// How long asking this process may take.
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// The child of the domain's tree.
pub(crate) fn child(system: &System) -> ChildSpec {
    let tuning = system.tuning().domain(ONBOARD.as_str()).child("provider_health");
    let interval = tuning.interval.unwrap_or(INTERVAL);
    ChildSpec::worker("provider_health", move || ProviderCheck::new(provider(), interval))
        .label("asks whether the AI provider would answer")
}

/// Get the health of the provider that looks at documents.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetProviderHealth {}

/// The health of the provider that looks at documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderHealth {
    /// Its name.
    pub provider: String,
    /// Whether it would answer.
    pub is_up: bool,
    /// Failures in a row; three mean that it is away.
    pub failure_count: u32,
    /// When it was last asked; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

impl Action for GetProviderHealth {
    const SPEC: Spec = Spec::read("get_provider_health", "/provider_health");
    type Output = ProviderHealth;

    async fn act(self, system: &System) -> Result<ProviderHealth> {
        health(system).await
    }
}

/// Refuses to go on while the provider is away.
///
/// # Errors
/// [`Error::Unavailable`] when it is, or when nobody knows.
pub(super) async fn must_be_up(system: &System) -> Result<()> {
    let health = health(system).await?;
    if health.is_up {
        return Ok(());
    }
    Err(Error::unavailable(format!("the provider {} is away", health.provider), INTERVAL))
}

async fn health(system: &System) -> Result<ProviderHealth> {
    let path = format!("root/domains/{ONBOARD}/children/provider_health");
    let away = |cause: CallError| {
        let message = format!("the provider health check does not answer: {cause}");
        Error::unavailable(message, ASK_WITHIN)
    };
    let check = system.tree().whereis::<Message>(&path).ok_or_else(|| away(CallError::NoProc))?;
    check.call(Message::Ask, ASK_WITHIN).await.map_err(away)
}

enum Message {
    /// Asks the provider.
    Check,
    /// Tells what is known.
    Ask(Reply<ProviderHealth>),
}

struct ProviderCheck {
    provider: &'static dyn Provider,
    interval: Duration,
    failure_count: u32,
    checked_at: Option<Timestamp>,
    next: Option<Timer>,
}

impl ProviderCheck {
    fn new(provider: &'static dyn Provider, interval: Duration) -> Self {
        Self { provider, interval, failure_count: 0, checked_at: None, next: None }
    }

    async fn check(&mut self, now: Timestamp) {
        let answer = tokio::time::timeout(CHECK_WITHIN, self.provider.check()).await;
        let is_well = matches!(answer, Ok(Ok(())));
        self.failure_count = if is_well { 0 } else { self.failure_count.saturating_add(1) };
        self.checked_at = Some(now);
    }

    fn health(&self) -> ProviderHealth {
        ProviderHealth {
            provider: self.provider.name().to_owned(),
            is_up: self.failure_count < FAILURES_MAX,
            failure_count: self.failure_count,
            checked_at: self.checked_at,
        }
    }
}

impl Actor for ProviderCheck {
    type Message = Message;

    async fn init(&mut self, context: &Context<Message>) -> Result<(), StartError> {
        self.next = Some(context.send_after(Duration::ZERO, Message::Check));
        Ok(())
    }

    async fn handle(
        &mut self,
        message: Message,
        context: &Context<Message>,
    ) -> Result<(), ExitReason> {
        match message {
            Message::Check => {
                self.check(context.clock().now()).await;
                self.next = Some(context.send_after(self.interval, Message::Check));
            }
            Message::Ask(reply) => reply.send(self.health()),
        }
        Ok(())
    }

    fn state(&self) -> Option<serde_json::Value> {
        serde_json::to_value(self.health()).ok()
    }

    fn describe(message: &Message) -> Cow<'static, str> {
        match message {
            Message::Check => "check".into(),
            Message::Ask(_) => "ask".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use platform::otp::BoxFuture;

    use super::super::Assignment;
    use super::super::provider::{Examined, ProviderError};
    use super::*;

    /// A provider that is away.
    struct Away;

    impl Provider for Away {
        fn name(&self) -> &'static str {
            "away"
        }
        fn cost_max_micro_dollars(&self, _: &Assignment) -> u64 {
            0
        }
        fn examine<'a>(
            &'a self,
            _: &'a Assignment,
        ) -> BoxFuture<'a, Result<Examined, ProviderError>> {
            Box::pin(async { Err(ProviderError::Away("for the test")) })
        }
        fn check(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
            Box::pin(async { Err(ProviderError::Away("for the test")) })
        }
    }

    #[tokio::test]
    async fn a_provider_is_away_after_three_failures_and_back_after_one_answer() {
        let mut check = ProviderCheck::new(&Away, INTERVAL);
        let mut seen = Vec::new();
        for _ in 0..3 {
            check.check(Timestamp::default()).await;
            seen.push(check.health().is_up);
        }

        check.provider = provider();
        check.check(Timestamp::default()).await;

        assert_eq!(seen, [true, true, false]);
        assert!(check.health().is_up);
    }
}
