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
mod tests {
    use super::*;

    const TOPIC: &str = "org:1:recruit";

    fn message(join_ref: Option<&str>, reference: &str, topic: &str, event: &str) -> Incoming {
        Incoming {
            join_ref: join_ref.map(Into::into),
            reference: Some(reference.into()),
            topic: topic.into(),
            event: event.into(),
            payload: Payload::Json(json!({})),
        }
    }

    /// Every step as the text it sends, or as `join` or `work` with its reference.
    fn print(steps: &[Step]) -> Vec<String> {
        let print = |step: &Step| match step {
            Step::Send(outgoing) => outgoing.text(),
            Step::Join(join) => format!("join {}", join.reference.as_deref().unwrap_or("-")),
            Step::Work(work) => format!("work {}", work.reference.as_deref().unwrap_or("-")),
        };
        steps.iter().map(print).collect()
    }

    fn enter(channels: &mut Channels<()>, topic: &str, join_ref: &str) -> Instance {
        match channels.receive(message(Some(join_ref), join_ref, topic, JOIN)).pop() {
            Some(Step::Join(join)) => channels.enter(&join, ()),
            other => panic!("a join was expected, not {other:?}"),
        }
    }

    fn work(steps: Vec<Step>) -> Request {
        match steps.into_iter().next_back() {
            Some(Step::Work(request)) => request,
            other => panic!("work was expected, not {other:?}"),
        }
    }

    #[test]
    fn a_heartbeat_is_answered_without_a_join() {
        let mut channels = Channels::<()>::default();

        let steps = channels.receive(message(None, "7", CONNECTION, HEARTBEAT));

        let expected = r#"[null,"7","phoenix","phx_reply",{"response":{},"status":"ok"}]"#;
        assert_eq!(print(&steps), [expected]);
    }

    #[test]
    fn outside_a_channel_only_join_and_leave_are_granted() {
        let mut channels = Channels::<()>::default();
        let cases = [
            (message(Some("1"), "1", TOPIC, JOIN), "join 1"),
            (
                message(Some("1"), "2", TOPIC, LEAVE),
                r#"["1","2","org:1:recruit","phx_reply",{"response":{},"status":"ok"}]"#,
            ),
            (
                message(Some("1"), "3", TOPIC, "open"),
                r#"[null,"3","org:1:recruit","phx_reply",{"response":{"reason":"unmatched topic"},"status":"error"}]"#,
            ),
        ];

        for (message, expected) in cases {
            assert_eq!(print(&channels.receive(message)), [expected]);
        }
    }

    #[test]
    fn a_join_without_join_ref_takes_its_ref() {
        let mut channels = Channels::<()>::default();

        let steps = channels.receive(message(None, "5", TOPIC, JOIN));

        let [Step::Join(join)] = &steps[..] else { panic!("a join was expected") };
        assert_eq!(join.join_ref.as_deref(), Some("5"));
    }

    #[test]
    fn joining_again_closes_the_old_instance_first() {
        let mut channels = Channels::default();
        let old = enter(&mut channels, TOPIC, "1");

        let steps = channels.receive(message(Some("4"), "4", TOPIC, JOIN));

        let close = r#"["1","1","org:1:recruit","phx_close",{}]"#;
        assert_eq!(print(&steps), [close, "join 4"]);
        assert_eq!(channels.feed(TOPIC, old), None);
    }

    #[test]
    fn the_hundred_and_first_channel_is_refused() {
        let mut channels = Channels::default();
        for number in 0..CHANNELS_MAX {
            enter(&mut channels, &format!("t{number}"), "1");
        }

        let steps = channels.receive(message(Some("2"), "2", TOPIC, JOIN));

        let expected = r#"["2","2","org:1:recruit","phx_reply",{"response":{"reason":"too many channels joined"},"status":"error"}]"#;
        assert_eq!(print(&steps), [expected]);
    }

    #[test]
    fn leaving_is_answered_and_then_closed() {
        for join_ref in [Some("1"), None] {
            let mut channels = Channels::default();
            enter(&mut channels, TOPIC, "1");

            let steps = channels.receive(message(join_ref, "2", TOPIC, LEAVE));

            let reply = r#"["1","2","org:1:recruit","phx_reply",{"response":{},"status":"ok"}]"#;
            let close = r#"["1","1","org:1:recruit","phx_close",{}]"#;
            assert_eq!(print(&steps), [reply, close]);
            assert_eq!(channels.count(), 0);
        }
    }

    #[test]
    fn a_message_of_an_earlier_join_is_ignored() {
        let mut channels = Channels::default();
        enter(&mut channels, TOPIC, "2");

        let leave = channels.receive(message(Some("1"), "3", TOPIC, LEAVE));
        let open = channels.receive(message(Some("1"), "4", TOPIC, "open"));

        assert_eq!((leave, open), (vec![], vec![]));
        assert_eq!(channels.count(), 1);
    }

    #[test]
    fn requests_of_one_channel_are_answered_in_their_order() {
        let mut channels = Channels::default();
        enter(&mut channels, TOPIC, "1");
        let first = work(channels.receive(message(None, "2", TOPIC, "open")));

        let second = channels.receive(message(Some("1"), "3", TOPIC, "open"));
        let leave = channels.receive(message(Some("1"), "4", TOPIC, LEAVE));
        let after_first = channels.finished(&first, Status::Ok, json!({}));

        assert_eq!((second, leave), (vec![], vec![]));
        let reply = |reference| {
            format!(
                r#"["1","{reference}","org:1:recruit","phx_reply",{{"response":{{}},"status":"ok"}}]"#
            )
        };
        assert_eq!(print(&after_first), [reply("2"), "work 3".into()]);
        let after_second = channels.finished(&work(after_first), Status::Ok, json!({}));
        let close = r#"["1","1","org:1:recruit","phx_close",{}]"#.to_owned();
        assert_eq!(print(&after_second), [reply("3"), reply("4"), close]);
    }

    #[test]
    fn channels_do_not_wait_for_each_other() {
        let mut channels = Channels::default();
        enter(&mut channels, TOPIC, "1");
        enter(&mut channels, "org:1:pulse", "2");
        channels.receive(message(None, "3", TOPIC, "open"));

        let steps = channels.receive(message(None, "4", "org:1:pulse", "open"));

        assert_eq!(print(&steps), ["work 4"]);
    }

    #[test]
    fn too_many_waiting_requests_are_refused() {
        let mut channels = Channels::default();
        enter(&mut channels, TOPIC, "1");
        for _ in 0..=WAITING_MAX {
            channels.receive(message(None, "2", TOPIC, "open"));
        }

        let steps = channels.receive(message(None, "3", TOPIC, "open"));

        let [Step::Send(Outgoing::Reply { status, response, .. })] = &steps[..] else {
            panic!("a refusal was expected, not {steps:?}");
        };
        assert_eq!((*status, &response["code"]), (Status::Error, &json!("channel_busy")));
    }

    #[test]
    fn an_answer_for_an_ended_channel_is_not_sent() {
        let mut channels = Channels::default();
        enter(&mut channels, TOPIC, "1");
        let request = work(channels.receive(message(None, "2", TOPIC, "open")));
        channels.closed(TOPIC);
        enter(&mut channels, TOPIC, "3");

        let steps = channels.finished(&request, Status::Ok, json!({}));

        assert_eq!(steps, vec![]);
    }

    #[test]
    fn a_crash_ends_one_channel_and_only_in_its_own_life() {
        let mut channels = Channels::default();
        let old = enter(&mut channels, TOPIC, "1");
        enter(&mut channels, "org:1:pulse", "2");
        let new = enter(&mut channels, TOPIC, "3");

        let ended = [channels.crashed(TOPIC, old), channels.crashed(TOPIC, new)].concat();

        let error = r#"["3","3","org:1:recruit","phx_error",{"reason":"channel_crash"}]"#;
        assert_eq!(print(&ended), [error]);
        assert_eq!(channels.count(), 1);
    }

    #[test]
    fn a_channel_that_stops_is_closed_for_good() {
        let mut channels = Channels::default();
        enter(&mut channels, TOPIC, "1");

        let ended = [channels.closed(TOPIC), channels.closed(TOPIC)].concat();

        assert_eq!(print(&ended), [r#"["1","1","org:1:recruit","phx_close",{}]"#]);
        assert_eq!(channels.count(), 0);
    }

    const OLD_CLOSE: &str = r#"["1","1","org:1:recruit","phx_close",{}]"#;

    /// A channel that works on request 2, has request 3 and a leave waiting, and is joined again.
    fn joined_again_while_busy(channels: &mut Channels<()>) -> Request {
        enter(channels, TOPIC, "1");
        let first = work(channels.receive(message(None, "2", TOPIC, "open")));
        channels.receive(message(None, "3", TOPIC, "open"));
        channels.receive(message(None, "4", TOPIC, LEAVE));
        let steps = channels.receive(message(Some("5"), "5", TOPIC, JOIN));
        assert_eq!((steps, channels.is_replacing()), (vec![], true));
        first
    }

    #[test]
    fn the_old_instance_finishes_its_request_before_the_new_one_begins() {
        let mut channels = Channels::default();
        let first = joined_again_while_busy(&mut channels);

        let steps = channels.finished(&first, Status::Ok, json!({}));

        let reply = |reference| {
            format!(
                r#"["1","{reference}","org:1:recruit","phx_reply",{{"response":{{}},"status":"ok"}}]"#
            )
        };
        let expected = [reply("2"), reply("4"), OLD_CLOSE.into(), "join 5".into()];
        assert_eq!(print(&steps), expected);
        assert!(!channels.is_replacing());
    }

    #[test]
    fn an_old_instance_that_does_not_finish_in_time_is_not_waited_for() {
        let mut channels = Channels::default();
        let first = joined_again_while_busy(&mut channels);

        let steps = channels.replaced();
        let late = channels.finished(&first, Status::Ok, json!({}));

        assert_eq!(print(&steps)[1..], [OLD_CLOSE, "join 5"]);
        assert_eq!(late, vec![]);
    }

    #[test]
    fn an_old_instance_that_breaks_makes_way_for_the_new_one() {
        let mut channels = Channels::default();
        let first = joined_again_while_busy(&mut channels);

        let steps = channels.crashed(TOPIC, first.instance);

        assert_eq!(print(&steps)[1..], [OLD_CLOSE, "join 5"]);
    }

    #[test]
    fn whoever_gives_no_reference_gets_no_answer() {
        let mut channels = Channels::default();
        enter(&mut channels, TOPIC, "1");
        let message = Incoming { reference: None, ..message(None, "2", TOPIC, "open") };
        let request = work(channels.receive(message));

        let steps = channels.finished(&request, Status::Ok, json!({}));

        assert_eq!(steps, vec![]);
    }
}
