//! Channels: which topics one connection has joined, and what each message means in that state.
//!
//! This is the state table of Phoenix Channels V2. A channel is one *instance*: joining the same
//! topic again ends the old one, and whatever the old one was still doing is not heard any more.
//! Per channel one request is worked on at a time and the others wait, so that answers come in the
//! order of the questions.
//!
//! **Invariant:** nothing here waits, and nothing here touches the network.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use crate::frame::{
    CLOSE, CONNECTION, ERROR, HEARTBEAT, Incoming, JOIN, LEAVE, Outgoing, Payload, Status,
};

/// The most channels of one connection.
pub const CHANNELS_MAX: usize = 100;
/// The most requests that wait for their turn in one channel.
pub const WAITING_MAX: usize = 32;
/// How long the old life of a topic that is joined again has to finish its request.
pub const REPLACED_WITHIN: Duration = Duration::from_secs(5);

/// One life of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance(u64);

/// A request to enter a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// The topic.
    pub topic: String,
    /// The reference that everything in this channel will carry.
    pub join_ref: Option<String>,
    /// What the answer must repeat.
    pub reference: Option<String>,
    /// What the client said with it.
    pub payload: Payload,
}

impl Join {
    /// The answer to this request.
    #[must_use]
    pub fn reply(&self, status: Status, response: Value) -> Outgoing {
        Outgoing::Reply {
            join_ref: self.join_ref.clone(),
            reference: self.reference.clone(),
            topic: self.topic.clone(),
            status,
            response,
            is_binary: false,
        }
    }
}

/// A request within a joined channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The channel's topic.
    pub topic: String,
    /// The life of the channel in which it was made.
    pub instance: Instance,
    /// The channel's join.
    pub join_ref: Option<String>,
    /// What the answer must repeat.
    pub reference: Option<String>,
    /// The event: the name of an operation.
    pub event: String,
    /// Its input.
    pub payload: Payload,
}

impl Request {
    /// The answer to this request, in bytes if it came so; refusals are always text, because what
    /// shows them expects an object.
    #[must_use]
    pub fn reply(&self, status: Status, response: Value) -> Outgoing {
        Outgoing::Reply {
            join_ref: self.join_ref.clone(),
            reference: self.reference.clone(),
            topic: self.topic.clone(),
            status,
            response,
            is_binary: matches!(self.payload, Payload::Binary(_)) && status == Status::Ok,
        }
    }
}

/// What is to be done about a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send this.
    Send(Outgoing),
    /// Decide whether the client may enter, then tell [`Channels::enter`] or answer.
    Join(Join),
    /// Work on this, then tell [`Channels::finished`].
    Work(Request),
}

/// What waits for its turn in a channel.
#[derive(Debug)]
enum Waiting {
    Work(Request),
    Leave(Option<String>),
}

/// One joined topic; `feed` is whatever keeps its events coming, and ends when dropped.
#[derive(Debug)]
struct Channel<Feed> {
    instance: Instance,
    join_ref: Option<String>,
    is_busy: bool,
    waiting: VecDeque<Waiting>,
    feed: Feed,
}

/// The channels of one connection.
#[derive(Debug)]
pub struct Channels<Feed> {
    joined: HashMap<String, Channel<Feed>>,
    instances: u64,
    /// The join that waits until the old life of its topic has finished its request.
    replacing: Option<Join>,
}

impl<Feed> Default for Channels<Feed> {
    fn default() -> Self {
        Self { joined: HashMap::new(), instances: 0, replacing: None }
    }
}

impl<Feed> Channels<Feed> {
    /// What a message means now.
    pub fn receive(&mut self, message: Incoming) -> Vec<Step> {
        if message.topic == CONNECTION && message.event == HEARTBEAT {
            return vec![Step::Send(reply(None, &message, Status::Ok, json!({})))];
        }
        match message.event.as_str() {
            JOIN => self.join(message),
            LEAVE => self.leave(&message),
            _ => self.request(message),
        }
    }

    fn join(&mut self, message: Incoming) -> Vec<Step> {
        let Incoming { join_ref, reference, topic, payload, .. } = message;
        let join_ref = join_ref.or_else(|| reference.clone());
        let join = Join { topic, join_ref, reference, payload };
        match self.joined.get(&join.topic) {
            Some(old) if old.is_busy => {
                self.replacing = Some(join);
                Vec::new()
            }
            Some(_) => self.replace(join),
            None if self.joined.len() >= CHANNELS_MAX => {
                let refused = json!({ "reason": "too many channels joined" });
                vec![Step::Send(join.reply(Status::Error, refused))]
            }
            None => vec![Step::Join(join)],
        }
    }

    /// Whether a topic is joined again while its old life still works on a request. Until
    /// [`Channels::replaced`], or the end of that request, nothing more shall be received.
    #[must_use]
    pub const fn is_replacing(&self) -> bool {
        self.replacing.is_some()
    }

    /// The old life of a topic that is joined again has had its time. What it still works on is
    /// done to its end, but not heard any more.
    pub fn replaced(&mut self) -> Vec<Step> {
        self.replacing.take().map(|join| self.replace(join)).unwrap_or_default()
    }

    /// Ends the old life of a topic and begins the new one.
    fn replace(&mut self, join: Join) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(old) = self.joined.remove(&join.topic) {
            let leaves = old.waiting.iter().filter_map(|waiting| match waiting {
                Waiting::Leave(reference) => Some(reference.clone()),
                Waiting::Work(_) => None,
            });
            let left = |reference| granted(&join.topic, old.join_ref.clone(), reference);
            steps.extend(leaves.map(left).map(Step::Send));
            let close = end(&join.topic, old.join_ref, CLOSE, json!({}));
            steps.push(Step::Send(close));
        }
        steps.push(Step::Join(join));
        steps
    }

    fn leave(&mut self, message: &Incoming) -> Vec<Step> {
        let Some(channel) = self.joined.get_mut(&message.topic) else {
            let join_ref = message.join_ref.clone();
            return vec![Step::Send(reply(join_ref, message, Status::Ok, json!({})))];
        };
        if is_stale(channel, message) {
            return Vec::new();
        }
        if channel.is_busy {
            channel.waiting.push_back(Waiting::Leave(message.reference.clone()));
            return Vec::new();
        }
        self.left(&message.topic, message.reference.clone())
    }

    fn left(&mut self, topic: &str, reference: Option<String>) -> Vec<Step> {
        let Some(channel) = self.joined.remove(topic) else {
            return Vec::new();
        };
        let granted = granted(topic, channel.join_ref.clone(), reference);
        vec![Step::Send(granted), Step::Send(end(topic, channel.join_ref, CLOSE, json!({})))]
    }

    fn request(&mut self, message: Incoming) -> Vec<Step> {
        let Some(channel) = self.joined.get_mut(&message.topic) else {
            let refused = json!({ "reason": "unmatched topic" });
            return vec![Step::Send(reply(None, &message, Status::Error, refused))];
        };
        if is_stale(channel, &message) {
            return Vec::new();
        }
        let Incoming { reference, topic, event, payload, .. } = message;
        let (instance, join_ref) = (channel.instance, channel.join_ref.clone());
        let request = Request { topic, instance, join_ref, reference, event, payload };
        if !channel.is_busy {
            channel.is_busy = true;
            return vec![Step::Work(request)];
        }
        if channel.waiting.len() >= WAITING_MAX {
            let refused = json!({
                "reason": "too_many_requests",
                "code": "channel_busy",
                "message": format!("{WAITING_MAX} requests already wait in this channel"),
            });
            return vec![Step::Send(request.reply(Status::Error, refused))];
        }
        channel.waiting.push_back(Waiting::Work(request));
        Vec::new()
    }

    /// Lets a client in, after its join was granted.
    pub fn enter(&mut self, join: &Join, feed: Feed) -> Instance {
        self.instances += 1;
        let instance = Instance(self.instances);
        let channel = Channel {
            instance,
            join_ref: join.join_ref.clone(),
            is_busy: false,
            waiting: VecDeque::new(),
            feed,
        };
        self.joined.insert(join.topic.clone(), channel);
        instance
    }

    /// What keeps the events of a channel coming, if it still is in that life.
    pub fn feed(&mut self, topic: &str, instance: Instance) -> Option<&mut Feed> {
        self.live(topic, instance).map(|channel| &mut channel.feed)
    }

    /// How many requests wait for their turn, over all channels.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.joined.values().map(|channel| channel.waiting.len()).sum()
    }

    /// A request was worked on: its answer, if the channel still lives, and what comes next.
    pub fn finished(&mut self, request: &Request, status: Status, response: Value) -> Vec<Step> {
        if self.live(&request.topic, request.instance).is_none() {
            return Vec::new();
        }
        // Whoever gave no reference does not wait for an answer.
        let answer = request.reference.is_some().then(|| request.reply(status, response));
        let mut steps: Vec<Step> = answer.map(Step::Send).into_iter().collect();
        if self.is_replaced(&request.topic) {
            steps.extend(self.replaced());
            return steps;
        }
        let Some(channel) = self.live(&request.topic, request.instance) else {
            return steps;
        };
        let next = channel.waiting.pop_front();
        channel.is_busy = next.is_some();
        match next {
            None => {}
            Some(Waiting::Work(request)) => steps.push(Step::Work(request)),
            Some(Waiting::Leave(reference)) => steps.extend(self.left(&request.topic, reference)),
        }
        steps
    }

    /// A channel broke: the client is told to join it again. Other channels are not concerned.
    pub fn crashed(&mut self, topic: &str, instance: Instance) -> Vec<Step> {
        if self.live(topic, instance).is_none() {
            return Vec::new();
        }
        if self.is_replaced(topic) {
            return self.replaced();
        }
        self.ended(topic, ERROR, json!({ "reason": "channel_crash" }))
    }

    /// Ends a channel for good: the client is not to join it again by itself.
    pub fn closed(&mut self, topic: &str) -> Vec<Step> {
        if self.is_replaced(topic) {
            return self.replaced();
        }
        self.ended(topic, CLOSE, json!({}))
    }

    fn ended(&mut self, topic: &str, event: &'static str, payload: Value) -> Vec<Step> {
        let Some(channel) = self.joined.remove(topic) else {
            return Vec::new();
        };
        vec![Step::Send(end(topic, channel.join_ref, event, payload))]
    }

    fn is_replaced(&self, topic: &str) -> bool {
        self.replacing.as_ref().is_some_and(|join| join.topic == topic)
    }

    /// The topics that are joined.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.joined.keys().map(String::as_str)
    }

    /// The refusal of a join to a topic that there is not. It belongs to no join.
    #[must_use]
    pub fn unmatched(join: &Join) -> Outgoing {
        let refused = json!({ "reason": "unmatched topic" });
        Join { join_ref: None, ..join.clone() }.reply(Status::Error, refused)
    }

    /// How many topics are joined.
    #[must_use]
    pub fn count(&self) -> usize {
        self.joined.len()
    }

    fn live(&mut self, topic: &str, instance: Instance) -> Option<&mut Channel<Feed>> {
        self.joined.get_mut(topic).filter(|channel| channel.instance == instance)
    }
}

/// A message of an earlier join: the client has not yet noticed that it joined again.
fn is_stale<Feed>(channel: &Channel<Feed>, message: &Incoming) -> bool {
    message.join_ref.is_some() && message.join_ref != channel.join_ref
}

fn reply(join_ref: Option<String>, to: &Incoming, status: Status, response: Value) -> Outgoing {
    let (reference, topic) = (to.reference.clone(), to.topic.clone());
    Outgoing::Reply { join_ref, reference, topic, status, response, is_binary: false }
}

/// The answer to a leave.
fn granted(topic: &str, join_ref: Option<String>, reference: Option<String>) -> Outgoing {
    let (topic, status) = (topic.to_owned(), Status::Ok);
    Outgoing::Reply { join_ref, reference, topic, status, response: json!({}), is_binary: false }
}

fn end(topic: &str, join_ref: Option<String>, event: &'static str, payload: Value) -> Outgoing {
    Outgoing::End { join_ref, topic: topic.to_owned(), event, payload }
}

#[cfg(test)]
mod tests;
