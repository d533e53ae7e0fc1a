//! The conversation with one client, without its transport: frames in, frames out.
//!
//! One connection carries one view. A client that navigates joins the next page before it leaves
//! the last, so a join simply replaces what was there, and a leave of something else is answered
//! and forgotten.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use crate::CLIENT_VERSION;
use crate::diff::Differ;
use crate::frame::Frame;
use crate::session::Signer;
use crate::view::{Effect, Event, Join, Refused, View};

/// Makes the view of a join, or refuses it; the context is what the transport knows of the viewer.
pub type MountView<C> = Arc<dyn Fn(C, Join) -> Mounting + Send + Sync>;

/// A view that is being made: it may have to ask the database first.
pub type Mounting = BoxFuture<'static, Result<Box<dyn View>, Refused>>;

/// The conversation with one client.
pub struct Channel<C> {
    context: C,
    signer: Signer,
    mount: MountView<C>,
    joined: Option<Joined>,
}

struct Joined {
    join_ref: String,
    topic: String,
    view: Box<dyn View>,
    differ: Differ,
    title: Option<String>,
}

impl<C> fmt::Debug for Channel<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Channel")
            .field("topic", &self.joined.as_ref().map(|joined| &joined.topic))
            .finish_non_exhaustive()
    }
}

impl<C: Clone> Channel<C> {
    /// A conversation that has not begun.
    pub fn new(context: C, signer: Signer, mount: MountView<C>) -> Self {
        Self { context, signer, mount, joined: None }
    }

    /// Waits until the page may look different; for ever while there is none.
    ///
    /// # Cancel safety
    ///
    /// As safe as the view's own waiting, which loses nothing.
    pub async fn changed(&mut self) {
        match &mut self.joined {
            Some(joined) => joined.view.changed().await,
            None => std::future::pending().await,
        }
    }

    /// What the client must hear now, if anything.
    pub fn refresh(&mut self) -> Option<Frame> {
        let joined = self.joined.as_mut()?;
        let diff = joined.diff(&[])?;
        Some(Frame::push(&joined.join_ref, &joined.topic, "diff", diff))
    }

    /// Answers one frame at the instant `now`, in seconds since 1970.
    pub async fn handle(&mut self, frame: Frame, now: i64) -> Vec<Frame> {
        match (frame.topic.as_str(), frame.event.as_str()) {
            ("phoenix", "heartbeat") => vec![frame.reply("ok", &json!({}))],
            (_, "phx_join") => vec![self.join(&frame, now).await],
            (_, "phx_leave") => self.leave(&frame),
            _ => self.deliver(&frame).await.into_iter().collect(),
        }
    }

    async fn join(&mut self, frame: &Frame, now: i64) -> Frame {
        let mut answer = frame.clone();
        answer.join_ref = frame.join_ref.clone().or_else(|| frame.reference.clone());
        if !frame.topic.starts_with("lv:") {
            answer.join_ref = None;
            return answer.reply("error", &json!({ "reason": "unmatched topic" }));
        }
        match self.mount(&frame.payload, now).await {
            Ok(view) => {
                let mut joined = Joined {
                    join_ref: answer.join_ref.clone().unwrap_or_default(),
                    topic: frame.topic.clone(),
                    view,
                    differ: Differ::default(),
                    title: None,
                };
                let rendered = joined.diff(&[]).unwrap_or_else(|| json!({ "s": [""] }));
                self.joined = Some(joined);
                let version = CLIENT_VERSION;
                answer.reply("ok", &json!({ "rendered": rendered, "liveview_version": version }))
            }
            Err(refused) => {
                tracing::debug!(%refused, "a page may not connect");
                answer.reply("error", &json!({ "reason": refused.to_string() }))
            }
        }
    }

    async fn mount(&mut self, payload: &Value, now: i64) -> Result<Box<dyn View>, Refused> {
        let session = payload["session"].as_str().ok_or(Refused::Unauthorized)?;
        let claims = self.signer.verify_session(session, now).map_err(|_| Refused::Unauthorized)?;
        // Tokens are compared as texts: both sides of the comparison came from the client, and one
        // of them is signed, so timing tells an attacker nothing that they do not hold.
        if payload["params"]["_csrf_token"].as_str() != Some(claims.csrf.as_str()) {
            return Err(Refused::Unauthorized);
        }
        let url = payload["url"].as_str().or_else(|| payload["redirect"].as_str());
        let join =
            Join { claims, url: url.unwrap_or("/").to_owned(), params: payload["params"].clone() };
        (self.mount)(self.context.clone(), join).await
    }

    fn leave(&mut self, frame: &Frame) -> Vec<Frame> {
        let reply = frame.reply("ok", &json!({}));
        if self.joined.as_ref().is_some_and(|joined| joined.is_meant_by(frame)) {
            self.joined = None;
            let close_ref = frame.join_ref.clone();
            let close = Frame {
                join_ref: close_ref.clone(),
                reference: close_ref,
                topic: frame.topic.clone(),
                event: "phx_close".to_owned(),
                payload: json!({}),
            };
            return vec![reply, close];
        }
        vec![reply]
    }

    async fn deliver(&mut self, frame: &Frame) -> Option<Frame> {
        let Some(joined) = self.joined.as_mut().filter(|joined| joined.topic == frame.topic) else {
            let stray = Frame { join_ref: None, ..frame.clone() };
            return Some(stray.reply("error", &json!({ "reason": "unmatched topic" })));
        };
        if !joined.is_meant_by(frame) {
            return None;
        }
        let response = match frame.event.as_str() {
            "event" => joined.event(&frame.payload).await,
            "live_patch" => {
                joined.view.patch(frame.payload["url"].as_str().unwrap_or("/"));
                joined.response(Effect::none())
            }
            "cids_will_destroy" => json!({}),
            "cids_destroyed" => {
                let numbers: Vec<u64> =
                    serde_json::from_value(frame.payload["cids"].clone()).unwrap_or_default();
                json!({ "cids": joined.differ.forgotten(&numbers) })
            }
            // Uploads and what a later client may ask are not for us.
            other => {
                let reason = format!("unknown event {other}");
                return Some(frame.reply("error", &json!({ "reason": reason })));
            }
        };
        Some(frame.reply("ok", &response))
    }
}

impl Joined {
    /// A frame of an earlier join of the same page is stale.
    fn is_meant_by(&self, frame: &Frame) -> bool {
        frame.topic == self.topic
            && frame.join_ref.as_ref().is_none_or(|join_ref| *join_ref == self.join_ref)
    }

    async fn event(&mut self, payload: &Value) -> Value {
        let event = Event {
            kind: payload["type"].as_str().unwrap_or_default().to_owned(),
            name: payload["event"].as_str().unwrap_or_default().to_owned(),
            value: payload["value"].clone(),
        };
        let effect = self.view.handle_event(event).await;
        self.response(effect)
    }

    fn response(&mut self, effect: Effect) -> Value {
        let mut response = Map::new();
        if let Some(diff) = self.diff(&effect.events) {
            response.insert("diff".to_owned(), diff);
        }
        if let Some(to) = effect.patch {
            response.insert("live_patch".to_owned(), json!({ "kind": "replace", "to": to }));
        }
        if let Some(to) = effect.redirect {
            response.insert("redirect".to_owned(), json!({ "to": to }));
        }
        Value::Object(response)
    }

    fn diff(&mut self, events: &[(String, Value)]) -> Option<Value> {
        let mut message = match self.differ.update(self.view.render()) {
            Some(Value::Object(message)) => message,
            _ => Map::new(),
        };
        let title = self.view.title();
        if title != self.title {
            if let Some(title) = &title {
                message.insert("t".to_owned(), json!(title));
            }
            self.title = title;
        }
        if !events.is_empty() {
            message.insert("e".to_owned(), json!(events));
        }
        (!message.is_empty()).then_some(Value::Object(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendered::Rendered;
    use crate::session::Claims;

    struct Counter {
        count: u32,
        place: String,
    }

    impl View for Counter {
        fn render(&self) -> Rendered {
            Rendered::build(|slots| {
                format!("<b>{}</b><i>{}</i>", slots.text(self.count), slots.text(&self.place))
            })
        }

        fn title(&self) -> Option<String> {
            Some(format!("{} counted", self.count))
        }

        fn patch(&mut self, url: &str) {
            url.clone_into(&mut self.place);
        }

        fn handle_event(&mut self, event: Event) -> BoxFuture<'_, Effect> {
            Box::pin(async move {
                match event.name.as_str() {
                    "add" => {
                        self.count += event.field("by").and_then(|by| by.parse().ok()).unwrap_or(1);
                        Effect::none().event("counted", json!({ "count": self.count }))
                    }
                    _ => Effect::redirect("/sign-in"),
                }
            })
        }

        fn changed(&mut self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }
    }

    fn claims() -> Claims {
        Claims {
            view: "counter".to_owned(),
            user: "u".to_owned(),
            org: "o".to_owned(),
            csrf: "token".to_owned(),
            expires_at: 100,
        }
    }

    fn channel() -> Channel<&'static str> {
        let mount: MountView<&'static str> = Arc::new(|user, join| {
            Box::pin(async move {
                if join.claims.user != user {
                    return Err(Refused::Unauthorized);
                }
                let view = Counter { count: 0, place: join.url };
                Ok(Box::new(view) as Box<dyn View>)
            })
        });
        Channel::new("u", Signer::new([1; 32]), mount)
    }

    fn frame(event: &str, payload: Value) -> Frame {
        Frame {
            join_ref: Some("1".to_owned()),
            reference: Some("2".to_owned()),
            topic: "lv:phx-a".to_owned(),
            event: event.to_owned(),
            payload,
        }
    }

    fn join_frame(claims: &Claims, csrf: &str) -> Frame {
        let session = Signer::new([1; 32]).sign_session(claims);
        let params = json!({ "_csrf_token": csrf });
        frame("phx_join", json!({ "session": session, "url": "http://a/", "params": params }))
    }

    async fn joined() -> Channel<&'static str> {
        let mut channel = channel();
        channel.handle(join_frame(&claims(), "token"), 0).await;
        channel
    }

    fn encode(frames: &[Frame]) -> Vec<String> {
        frames.iter().map(Frame::encode).collect()
    }

    #[tokio::test]
    async fn a_join_answers_the_whole_page_and_the_version_of_the_client() {
        let answer = channel().handle(join_frame(&claims(), "token"), 0).await;

        insta::assert_json_snapshot!(encode(&answer));
    }

    #[tokio::test]
    async fn a_join_without_right_session_token_or_viewer_is_refused() {
        let stranger = Claims { user: "x".to_owned(), ..claims() };
        let cases = [
            (join_frame(&claims(), "other token"), 0),
            (join_frame(&claims(), "token"), 100),
            (join_frame(&stranger, "token"), 0),
            (frame("phx_join", json!({ "params": { "_csrf_token": "token" } })), 0),
        ];

        for (frame, now) in cases {
            let answer = channel().handle(frame, now).await;

            assert_eq!(answer[0].payload["status"], "error");
            assert_eq!(answer[0].payload["response"]["reason"], "unauthorized");
        }
    }

    #[tokio::test]
    async fn an_event_is_answered_with_what_changed() {
        let mut channel = joined().await;

        let event = json!({ "type": "form", "event": "add", "value": "by=4" });
        let answer = channel.handle(frame("event", event), 0).await;

        insta::assert_json_snapshot!(encode(&answer));
    }

    #[tokio::test]
    async fn a_link_within_the_page_reaches_the_view() {
        let mut channel = joined().await;

        let answer = channel.handle(frame("live_patch", json!({ "url": "http://a/?b" })), 0).await;

        assert_eq!(answer[0].payload["response"], json!({ "diff": { "1": "http://a/?b" } }));
    }

    #[tokio::test]
    async fn an_event_that_leads_elsewhere_is_answered_with_a_redirect() {
        let mut channel = joined().await;

        let event = json!({ "type": "click", "event": "other", "value": {} });
        let answer = channel.handle(frame("event", event), 0).await;

        assert_eq!(answer[0].payload["response"], json!({ "redirect": { "to": "/sign-in" } }));
    }

    #[tokio::test]
    async fn a_heartbeat_is_answered_before_any_join() {
        let beat = Frame {
            join_ref: None,
            reference: Some("9".to_owned()),
            topic: "phoenix".to_owned(),
            event: "heartbeat".to_owned(),
            payload: json!({}),
        };

        let answer = channel().handle(beat, 0).await;

        let expected = r#"[null,"9","phoenix","phx_reply",{"response":{},"status":"ok"}]"#;
        assert_eq!(encode(&answer), [expected]);
    }

    #[tokio::test]
    async fn a_frame_of_an_earlier_join_is_ignored() {
        let mut channel = joined().await;
        let stale = Frame { join_ref: Some("0".to_owned()), ..frame("event", json!({})) };

        assert_eq!(channel.handle(stale, 0).await, []);
    }

    #[tokio::test]
    async fn after_leaving_the_page_is_closed_and_unknown() {
        let mut channel = joined().await;

        let left = channel.handle(frame("phx_leave", json!({})), 0).await;
        let after = channel.handle(frame("event", json!({})), 0).await;

        assert_eq!(left[1].event, "phx_close");
        assert_eq!(after[0].payload["response"]["reason"], "unmatched topic");
        assert!(channel.refresh().is_none());
    }

    #[tokio::test]
    async fn destroyed_components_are_confirmed() {
        let mut channel = joined().await;

        let will = channel.handle(frame("cids_will_destroy", json!({ "cids": [3] })), 0).await;
        let gone = channel.handle(frame("cids_destroyed", json!({ "cids": [3] })), 0).await;

        assert_eq!(will[0].payload["response"], json!({}));
        assert_eq!(gone[0].payload["response"], json!({ "cids": [3] }));
    }
}
