//! The tail: events as they are sealed, one a line.
//!
//! It asks for what comes after the last position it has seen, so it misses nothing and repeats
//! nothing, whatever happens to the connection in between.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::client::{Client, PATIENCE, Trouble};
use crate::exit::Exit;
use crate::options::{Format, Style};
use crate::request::Tail;
use crate::screen::{Screen, Tint, tinted};
use crate::words::{clipped, harmless, padded, width};

const POLL_EVERY: Duration = Duration::from_millis(300);
/// Events fetched at once.
const PAGE: u32 = 500;

/// Prints events until the log ends, or for ever when following.
pub(crate) async fn follow(
    client: &Client,
    tail: &Tail,
    style: &Style,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let format = screen.format(style);
    let mut after = tail.after;
    let mut is_connected = None;
    loop {
        let page = match next(client, tail, after).await {
            Ok(page) => page,
            // Who follows is not sent away by a restart of what he watches.
            Err(trouble) if tail.is_following && is_connected.is_some() && trouble.is_passing() => {
                if is_connected == Some(true) {
                    screen.complain(&format!("{}; trying again", trouble.words()));
                }
                is_connected = Some(false);
                tokio::time::sleep(POLL_EVERY).await;
                continue;
            }
            Err(trouble) => return Err(trouble),
        };
        if is_connected == Some(false) {
            screen.complain("connected again");
        }
        is_connected = Some(true);
        let shown = page.items.iter().filter(|event| wants(tail, event));
        let lines: Vec<String> = match format {
            Format::Json => shown.map(Value::to_string).collect(),
            Format::Table => {
                shown.map(|event| line(event, screen.columns, screen.has_colour)).collect()
            }
        };
        screen.lines(&lines)?;
        let is_last = page.items.len() < PAGE as usize;
        let is_first_glance = after.is_none();
        after = Some(page.last);
        if is_first_glance || is_last {
            if !tail.is_following {
                return Ok(Exit::Done);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

/// Some events in a row, and where to go on.
#[derive(Debug, PartialEq)]
struct Events {
    items: Vec<Value>,
    last: i64,
}

async fn next(client: &Client, tail: &Tail, after: Option<i64>) -> Result<Events, Trouble> {
    let mut input = Map::new();
    input.insert("limit".into(), after.map_or(tail.last, |_| PAGE).into());
    if let Some(after) = after {
        input.insert("after".into(), after.into());
    }
    let call = tail.route.call(input).map_err(|error| Trouble::Address(error.to_string()))?;
    Ok(events(client.send(&call, PATIENCE).await?, after))
}

/// Without events, where to go on is where we were, or at the head of the log.
fn events(mut page: Value, after: Option<i64>) -> Events {
    let items = match page["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    let last = items.last().and_then(|event| event["position"].as_i64());
    let head = || page["head"].as_i64().unwrap_or_default();
    Events { last: last.or(after).unwrap_or_else(head), items }
}

fn wants(tail: &Tail, event: &Value) -> bool {
    let of_domain = tail.domain.as_ref().is_none_or(|domain| event["domain"] == domain.as_str());
    let of_org = tail
        .org
        .as_ref()
        .is_none_or(|org| event["org_id"].as_str().is_some_and(|id| id.ends_with(org.as_str())));
    of_domain && of_org
}

/// Position, time, organisation, domain, type and as much of the fact as fits.
fn line(event: &Value, columns: Option<usize>, has_colour: bool) -> String {
    let text = |name: &str| harmless(event[name].as_str().unwrap_or("–"));
    let org = text("org_id");
    let org = org.rsplit('-').next().unwrap_or_default();
    let position = format!("{:>7}", event["position"].to_string());
    let time = time(&text("recorded_at"));
    let domain = padded(&text("domain"), 8);
    let event_type = padded(&text("event_type"), 26);
    let before = format!("{position}  {time}  {org}  {domain}  {event_type}  ");
    let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(width(&before)));
    let data = clipped(&harmless(&event["data"].to_string()), room);
    let faint = |text: &str| tinted(text, Tint::Faint, has_colour);
    let domain = tinted(&domain, Tint::Strong, has_colour);
    let line = format!(
        "{position}  {}  {}  {domain}  {event_type}  {}",
        faint(&time),
        faint(org),
        faint(&data)
    );
    line.trim_end().to_owned()
}

/// An instant in UTC to the millisecond, as in `2026-08-01 03:28:19.123`.
fn time(instant: &str) -> String {
    let instant = instant.trim_end_matches('Z').replacen('T', " ", 1);
    let (seconds, fraction) = instant.split_once('.').unwrap_or((&instant, ""));
    let milliseconds: String = fraction.chars().chain("000".chars()).take(3).collect();
    format!("{seconds}.{milliseconds}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::example;
    use crate::route::Route;

    fn event() -> Value {
        json!({"position": 42, "recorded_at": "2026-08-01T03:28:19.5Z", "domain": "recruit",
            "org_id": "01890a5d-ac96-774b-bcce-b302099a8057", "event_type": "job_order_opened",
            "data": {"headcount": 3, "title": "Forklift\u{1b}[2J driver"}})
    }

    fn tail(org: Option<&str>, domain: Option<&str>) -> Tail {
        let catalog = example::catalog();
        let operation = catalog.operation("operator", "list_events").expect("an operation");
        Tail {
            route: Route::of(operation).expect("a surface"),
            after: None,
            last: 10,
            org: org.map(str::to_owned),
            domain: domain.map(str::to_owned),
            is_following: true,
        }
    }

    #[test]
    fn an_event_is_one_line_that_fits_the_terminal() {
        let whole = line(&event(), None, false);

        assert!(
            whole.starts_with("     42  2026-08-01 03:28:19.500  b302099a8057  recruit   job_")
        );
        assert!(
            whole.ends_with(r#"{"headcount":3,"title":"Forklift\u001b[2J driver"}"#),
            "{whole}"
        );
        assert_eq!(width(&line(&event(), Some(100), false)), 100);
        assert!(line(&event(), Some(40), false).ends_with("job_order_opened"));
    }

    #[test]
    fn an_event_of_a_shape_not_known_here_still_is_a_line() {
        assert!(line(&json!({"position": 1}), Some(80), false).contains("1  –.000"));
    }

    #[test]
    fn it_goes_on_after_the_last_event_or_at_the_head() {
        let cases = [
            (json!({"head": 50, "items": [{"position": 41}, {"position": 42}]}), None, 42),
            (json!({"head": 50, "items": []}), Some(50), 50),
            (json!({"head": 0, "items": []}), None, 0),
            (json!({"head": 7, "items": []}), None, 7),
        ];

        for (page, after, expected) in cases {
            assert_eq!(events(page.clone(), after).last, expected, "{page}");
        }
    }

    #[test]
    fn an_organisation_may_be_named_by_the_end_of_its_id() {
        let cases = [
            (None, None, true),
            (Some("b302099a8057"), None, true),
            (Some("01890a5d-ac96-774b-bcce-b302099a8057"), Some("recruit"), true),
            (Some("b302099a8058"), None, false),
            (None, Some("pulse"), false),
        ];

        for (org, domain, expected) in cases {
            assert_eq!(wants(&tail(org, domain), &event()), expected, "{org:?} {domain:?}");
        }
    }
}
