//! A view: one page for one viewer.

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::rendered::Rendered;
use crate::session::Claims;

/// One page for one viewer. It holds receivers, never queues: however much happens between two
/// frames, the viewer sees the newest state once.
pub trait View: Send + 'static {
    /// What the page shows now. Called once per frame; must not wait.
    fn render(&self) -> Rendered;

    /// The title of the window; `None` keeps the one of the page.
    fn title(&self) -> Option<String> {
        None
    }

    /// The viewer followed a link within the page; `url` is the whole address.
    fn patch(&mut self, url: &str);

    /// The viewer did something. Whether they may is decided here, for every event: what the page
    /// offered proves nothing about who answers.
    fn handle_event(&mut self, event: Event) -> BoxFuture<'_, Effect>;

    /// Waits until the page may look different. Dropped and called again at will, so it must
    /// lose nothing when it is dropped.
    fn changed(&mut self) -> BoxFuture<'_, ()>;
}

/// What the client tells when it joins.
#[derive(Clone, Debug)]
pub struct Join {
    /// The verified session of the page.
    pub claims: Claims,
    /// The address of the page.
    pub url: String,
    /// What the page's script added.
    pub params: Value,
}

/// Why a join is refused. The client then loads the page anew, and so is sent to sign in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The viewer may not see this, or not any more.
    #[error("unauthorized")]
    Unauthorized,
    /// The page is older than the platform and must be loaded again.
    #[error("stale")]
    Stale,
}

/// Something the viewer did.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// How: `click`, `form`, `keydown`, `hook` …
    pub kind: String,
    /// What the page calls it.
    pub name: String,
    /// What came with it: an object, or the encoded text of a form.
    pub value: Value,
}

impl Event {
    /// A field of the form or of the object that came with the event.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        match &self.value {
            Value::String(form) => form_urlencoded::parse(form.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned()),
            Value::Object(object) => match object.get(name)? {
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            },
            _ => None,
        }
    }
}

/// What an event leads to, beside a page that may look different.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effect {
    /// The address to show instead, without loading anything.
    pub patch: Option<String>,
    /// The page to load instead.
    pub redirect: Option<String>,
    /// Events for the script of the page.
    pub events: Vec<(String, Value)>,
}

impl Effect {
    /// Nothing but what the page shows.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Another page is loaded.
    #[must_use]
    pub fn redirect(to: impl Into<String>) -> Self {
        Self { redirect: Some(to.into()), ..Self::default() }
    }

    /// Adds an event for the script of the page.
    #[must_use]
    pub fn event(mut self, name: impl Into<String>, detail: Value) -> Self {
        self.events.push((name.into(), detail));
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_in_a_form_and_in_an_object() {
        let form = Event {
            kind: "form".to_owned(),
            name: "kill".to_owned(),
            value: json!("path=root%2Fbus&reason=a+test"),
        };
        let click = Event { value: json!({ "path": "root/bus", "n": 1 }), ..form.clone() };

        assert_eq!(form.field("reason").as_deref(), Some("a test"));
        assert_eq!(click.field("path").as_deref(), Some("root/bus"));
        assert_eq!(click.field("n").as_deref(), Some("1"));
        assert_eq!(click.field("reason"), None);
    }
}
