//! Feeds: what a channel is told, in order: first what it missed, then what happens.
//!
//! A client that names the last position it has seen gets what came after it from the log, up to a
//! limit, before anything live. The subscription is taken before the log is read, and what both
//! hold is told once; so nothing is lost and nothing is doubled, across restarts of the server too.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use platform::bus::{BusEvent, Interrupted, Subscription, Watching};
use platform::otp::SupervisionEvent;
use platform::store::begin_reading;
use platform::store::read::{self, Standing};
use platform::{Error, Position, System, Topic, UserId, live_event};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::about::concerns;
use crate::delivery::Delivery;
use crate::frame::Payload;
use crate::presence;

/// The most events that are told again to a client that comes back.
pub(crate) const REPLAYED_MAX: u32 = 1_000;
/// The farthest back a client may resume; reading on from there would cost more than starting anew.
const RESUMED_FROM_MAX: i64 = 100_000;

/// From where a client wants to go on, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resume {
    last: Option<Position>,
    /// The numbering that position is of, if the client knows.
    epoch: Option<String>,
    delivery: Delivery,
}

impl Resume {
    /// Reads `last_seq`, `epoch` and `delivery` of a join's parameters.
    pub(crate) fn from_params(payload: &Payload) -> Result<Self, Value> {
        let given = |name| match payload {
            Payload::Json(params) => params.get(name).filter(|value| !value.is_null()),
            Payload::Binary(_) => None,
        };
        let last = match given("last_seq") {
            None => None,
            Some(last) => {
                let number = last.as_i64().filter(|last| *last >= 0);
                let message = || format!("last_seq is the position of an event, not {last}");
                Some(Position(number.ok_or_else(|| bad("bad_last_seq", &message()))?))
            }
        };
        let epoch = match given("epoch") {
            None => None,
            Some(Value::String(epoch)) => Some(epoch.clone()),
            Some(_) => return Err(bad("bad_epoch", "epoch is the text of an answer to a join")),
        };
        let delivery = Delivery::from_params(payload)
            .ok_or_else(|| bad("bad_delivery", "delivery is durable, latest or lossy"))?;
        Ok(Self { last, epoch, delivery })
    }
}

fn bad(code: &str, message: &str) -> Value {
    json!({ "reason": "invalid", "code": code, "message": message })
}

/// What a channel hears next.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// This event of the topic.
    Live(Arc<BusEvent>),
    /// This happened.
    Event {
        /// Its name.
        event: Cow<'static, str>,
        /// The text of a JSON object.
        payload: Cow<'static, str>,
    },
    /// Something was lost, because the client read too slowly.
    Lost,
    /// Whoever tells is gone.
    Ended,
}

/// What a channel is told: of its topic, and of who is present there.
pub(crate) struct Ear {
    feed: Feed,
    present: Option<Watching>,
}

impl Ear {
    pub(crate) fn new(feed: Feed, present: Option<Watching>) -> Self {
        Self { feed, present }
    }

    /// Waits for the next thing to tell. What was missed comes first, then who is present.
    pub(crate) async fn next(&mut self) -> Told {
        match &mut self.present {
            Some(present) if !self.feed.has_missed() => tokio::select! {
                seen = present.recv() => presence::told(seen),
                told = self.feed.next() => told,
            },
            _ => self.feed.next().await,
        }
    }
}

/// What is told of a topic.
pub(crate) enum Feed {
    /// The events of a topic.
    Events(Events),
    /// What happens in the supervision tree.
    Supervision { system: System, events: broadcast::Receiver<Arc<SupervisionEvent>> },
}

/// The events of a topic: the missed ones, then the live ones after them.
pub(crate) struct Events {
    missed: VecDeque<Arc<BusEvent>>,
    seen: Position,
    live: Subscription,
    /// Only what concerns this user.
    about: Option<UserId>,
    delivery: Delivery,
}

impl Feed {
    /// The events of `topic`, and the answer to the join: `seq` is the position the feed goes on
    /// from and `epoch` the numbering it is of, `gap` says that what was missed cannot be told
    /// again, `replayed` counts what will be.
    pub(crate) async fn events(
        system: &System,
        topic: Topic,
        resume: Resume,
    ) -> Result<(Self, Value), Error> {
        Self::some_events(system, topic, None, resume).await
    }

    /// Those of the events of `topic` that concern a user: what happens to their account and their
    /// credentials.
    pub(crate) async fn user(
        system: &System,
        topic: Topic,
        user_id: UserId,
        resume: Resume,
    ) -> Result<(Self, Value), Error> {
        Self::some_events(system, topic, Some(user_id), resume).await
    }

    async fn some_events(
        system: &System,
        topic: Topic,
        about: Option<UserId>,
        resume: Resume,
    ) -> Result<(Self, Value), Error> {
        let delivery = resume.delivery;
        let live = delivery.subscribe(system, topic.clone());
        let Some(last) = resume.last else {
            let epoch = system.log().epoch().await?;
            // What is before it and not yet handed out is not to come after the answer.
            let seq = *system.log().head().borrow();
            let events = Events { missed: VecDeque::new(), seen: seq, live, about, delivery };
            return Ok((Self::Events(events), answer(seq, &epoch, false, 0)));
        };
        let Missed { events, until, epoch, has_gap } =
            missed(system, &topic, about, last, resume.epoch.as_deref()).await?;
        let answer = answer(until, &epoch, has_gap, events.len());
        let events = Events { missed: events, seen: until, live, about, delivery };
        Ok((Self::Events(events), answer))
    }

    /// The changes of the supervision tree, and the answer to the join: the tree as it is.
    pub(crate) fn supervision(system: &System) -> Result<(Self, Value), Error> {
        // Subscribed first: what happens while the picture is taken is told, not lost.
        let events = system.tree().subscribe();
        let answer = json!({ "tree": serde_json::to_value(system.tree().snapshot())? });
        Ok((Self::Supervision { system: system.clone(), events }, answer))
    }

    /// Whether something is to be told again before anything new.
    fn has_missed(&self) -> bool {
        matches!(self, Self::Events(events) if !events.missed.is_empty())
    }

    /// Waits for the next thing to tell.
    pub(crate) async fn next(&mut self) -> Told {
        match self {
            Self::Events(events) => events.next().await,
            Self::Supervision { system, events } => match events.recv().await {
                Ok(event) => told("supervision", &*event),
                // A picture of the tree makes up for every change that led to it.
                Err(RecvError::Lagged(_)) => {
                    told("tree", &json!({ "tree": system.tree().snapshot() }))
                }
                Err(RecvError::Closed) => Told::Ended,
            },
        }
    }
}

impl Events {
    async fn next(&mut self) -> Told {
        if let Some(missed) = self.missed.pop_front() {
            return Told::Live(missed);
        }
        loop {
            match self.live.recv().await {
                Ok(event) if event.position <= self.seen || !is_about(&event, self.about) => {}
                Ok(event) => return Told::Live(event),
                Err(Interrupted::Lagged { lost }) => match self.delivery {
                    Delivery::Durable => return Told::Lost,
                    Delivery::Latest => {}
                    Delivery::Lossy => return told("events_lost", &json!({ "lost": lost })),
                },
                Err(Interrupted::Closed) => return Told::Ended,
            }
        }
    }
}

fn answer(seq: Position, epoch: &str, has_gap: bool, replayed: usize) -> Value {
    json!({ "seq": seq, "epoch": epoch, "gap": has_gap, "replayed": replayed })
}

fn told(event: &'static str, payload: &impl serde::Serialize) -> Told {
    match serde_json::to_string(payload) {
        Ok(payload) => Told::Event { event: event.into(), payload: payload.into() },
        Err(error) => {
            tracing::error!(%error, "what is to be told has no JSON form");
            Told::Ended
        }
    }
}

/// An event as clients get it, with the place to go on from after it.
pub(crate) fn payload(event: &BusEvent) -> String {
    let body = event.body();
    format!("{{\"_seq\":{},{}", event.position, &body[1..])
}

fn is_about(event: &BusEvent, user_id: Option<UserId>) -> bool {
    user_id.is_none_or(|user_id| concerns(event, user_id))
}

/// What a client missed.
struct Missed {
    events: VecDeque<Arc<BusEvent>>,
    /// Nothing after this position is among them, and everything before.
    until: Position,
    epoch: Arc<str>,
    has_gap: bool,
}

/// Reads what happened on `topic` after `last`; a gap when it is too much or cannot be known.
async fn missed(
    system: &System,
    topic: &Topic,
    about: Option<UserId>,
    last: Position,
    known: Option<&str>,
) -> Result<Missed, Error> {
    let mut transaction = begin_reading(system.log().pool()).await?;
    let Standing { head, epoch, is_at_hand } = read::standing(&mut transaction, last).await?;
    let is_other = known.is_some_and(|known| known != &*epoch);
    let gap = Missed { events: VecDeque::new(), until: head, epoch, has_gap: true };
    if is_other || !is_at_hand || last > head || head.0 - last.0 > RESUMED_FROM_MAX {
        return Ok(gap);
    }
    let read = read::of_topic(&mut transaction, topic, last, REPLAYED_MAX + 1).await;
    let read = read.map_err(Error::failure)?;
    if read.len() > REPLAYED_MAX as usize {
        return Ok(gap);
    }
    let until = read.last().map_or(head, |event| event.position.max(head));
    let events = read.iter().map(live_event).filter(|event| is_about(event, about));
    let events = events.map(Arc::new).collect();
    Ok(Missed { events, until, has_gap: false, ..gap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_position_is_read_from_the_join() {
        let read = |params: Value| Resume::from_params(&Payload::Json(params)).ok();
        let resume = |last: Option<i64>, epoch: Option<&str>| {
            Some(Resume {
                last: last.map(Position),
                epoch: epoch.map(str::to_owned),
                delivery: Delivery::Durable,
            })
        };

        assert_eq!(read(json!({})), resume(None, None));
        assert_eq!(read(json!({ "last_seq": null, "epoch": null })), resume(None, None));
        assert_eq!(read(json!([])), resume(None, None));
        assert_eq!(read(json!({ "last_seq": 0 })), resume(Some(0), None));
        assert_eq!(read(json!({ "last_seq": 7, "epoch": "e" })), resume(Some(7), Some("e")));
        for bad in [json!(-1), json!("7"), json!(1.5), json!(u64::MAX)] {
            assert_eq!(read(json!({ "last_seq": bad })), None, "{bad}");
        }
        assert_eq!(read(json!({ "epoch": 7 })), None);
        assert_eq!(read(json!({ "delivery": "durable" })), resume(None, None));
        assert_eq!(read(json!({ "delivery": "perhaps" })), None);
    }
}
