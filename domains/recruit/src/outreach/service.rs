//! The outreach service: the one door through which text messages leave, at a pace the provider
//! takes.
//!
//! The pace is a fact about the provider and not about one message, so somebody has to hold it for
//! all of them: this process. Whoever comes too early is told when to come again.

use std::borrow::Cow;
use std::time::Duration;

use chrono::TimeDelta;
use contracts::recruit::RECRUIT;
use platform::otp::{Actor, CallError, ChildSpec, Context, ExitReason, Reply};
use platform::{Error, Result, Scope, System, Timestamp};
use serde_json::{Value, json};

use super::sms::{Sms, hand_over};

/// Messages the provider takes within one second.
const MESSAGES_PER_SECOND: u32 = 20;
/// How long handing over may take, waiting included.
const WITHIN: Duration = Duration::from_secs(10);
/// When to ask again while the service restarts.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The child of the domain's tree.
pub(crate) fn child(system: &System) -> ChildSpec {
    let system = system.clone();
    ChildSpec::worker("outreach", move || OutreachService {
        system: system.clone(),
        pace: Pace::default(),
    })
    .label("hands messages to the provider, not too fast")
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Sent {
    /// The provider took it, under this reference.
    Taken(String),
    /// The provider takes no more for that long.
    TooFast(Duration),
}

/// Sends a message through the service.
///
/// # Errors
/// [`Error::Unavailable`] when the service does not answer; otherwise what the adapter says.
pub(crate) async fn send(system: &System, scope: &Scope, sms: Sms) -> Result<Sent> {
    let path = format!("root/domains/{RECRUIT}/children/outreach");
    let away = |cause: CallError| {
        Error::unavailable(format!("the outreach service does not answer: {cause}"), RETRY_AFTER)
    };
    let service = system.tree().whereis::<Send>(&path).ok_or_else(|| away(CallError::NoProc))?;
    let scope = scope.clone();
    service.call(|reply| Send { scope, sms, reply }, WITHIN).await.map_err(away)?
}

/// Send this message.
struct Send {
    scope: Scope,
    sms: Sms,
    reply: Reply<Result<Sent>>,
}

struct OutreachService {
    system: System,
    pace: Pace,
}

impl Actor for OutreachService {
    type Message = Send;

    async fn handle(&mut self, message: Send, context: &Context<Send>) -> Result<(), ExitReason> {
        let Send { scope, sms, reply } = message;
        if reply.is_abandoned() {
            return Ok(());
        }
        let answer = match self.pace.admit(context.clock().now()) {
            Ok(()) => hand_over(&self.system, &scope, sms).await.map(Sent::Taken),
            Err(wait) => Ok(Sent::TooFast(wait)),
        };
        reply.send(answer);
        Ok(())
    }

    fn state(&self) -> Option<Value> {
        let Pace { since, count } = &self.pace;
        Some(
            json!({ "second": since, "taken_in_it": count, "per_second_max": MESSAGES_PER_SECOND }),
        )
    }

    fn describe(_: &Send) -> Cow<'static, str> {
        "send a message".into()
    }
}

/// How many messages went within the current second.
#[derive(Debug, Default)]
struct Pace {
    since: Timestamp,
    count: u32,
}

impl Pace {
    /// Lets one message through, or says how long to wait.
    fn admit(&mut self, now: Timestamp) -> Result<(), Duration> {
        let within = TimeDelta::seconds(1);
        if now - self.since >= within || now < self.since {
            *self = Self { since: now, count: 0 };
        }
        if self.count < MESSAGES_PER_SECOND {
            self.count += 1;
            return Ok(());
        }
        Err((self.since + within - now).to_std().unwrap_or(RETRY_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_too_early_is_told_when_to_come_again() {
        let start = Timestamp::default();
        let mut pace = Pace::default();
        for _ in 0..MESSAGES_PER_SECOND {
            assert_eq!(pace.admit(start), Ok(()));
        }

        let early = pace.admit(start + TimeDelta::milliseconds(400));
        let later = pace.admit(start + TimeDelta::milliseconds(1000));

        assert_eq!((early, later), (Err(Duration::from_millis(600)), Ok(())));
    }
}
