//! The job queues, alive; an operator may pause and resume them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use live::{Effect, Event, Keyed, Rendered, View};
use maud::html;
use platform::{Identity, System};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use crate::watching::sentence;
use crate::words::in_query;

/// Counting jobs asks the database, so not more often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The states that are shown, in the order of a job's life.
const STATES: [&str; 7] =
    ["scheduled", "available", "executing", "retryable", "completed", "cancelled", "discarded"];

/// The page for one viewer.
pub(crate) struct QueuesPage {
    system: System,
    token: String,
    identity: Identity,
    csrf: String,
    look: Interval,
    queues: Result<Vec<Queue>, String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Queues {
    items: Vec<Queue>,
}

#[derive(Deserialize)]
struct Queue {
    #[serde(rename = "queue")]
    name: String,
    paused_at: Option<String>,
    limit: u32,
    running: u32,
    counts: BTreeMap<String, u64>,
}

impl QueuesPage {
    /// The page for an operator who came with `token`.
    pub(crate) async fn open(
        system: System,
        identity: Identity,
        token: String,
        csrf: String,
    ) -> Self {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        look.reset();
        let mut page =
            Self { system, token, identity, csrf, look, queues: Ok(Vec::new()), refusal: None };
        page.refresh().await;
        page
    }

    async fn refresh(&mut self) {
        let scope = self.identity.scope(Uuid::now_v7());
        let answer = self.system.call(&scope, "operator", "list_queues", json!({})).await;
        self.queues = match answer {
            Ok(value) => serde_json::from_value(value)
                .map(|Queues { items }| items)
                .map_err(|error| error.to_string()),
            Err(error) => Err(sentence(error.message())),
        };
    }

    async fn turn(&mut self, operation: &str, queue: &str) {
        let done = turn(&self.system, &self.token, operation, queue).await;
        self.refusal = done.err();
        self.refresh().await;
    }
}

/// Pauses or resumes a queue as whoever holds the token now.
pub(crate) async fn turn(
    system: &System,
    token: &str,
    operation: &str,
    queue: &str,
) -> Result<(), String> {
    let identity = system.authenticate(token).await;
    let identity = identity.map_err(|error| sentence(error.message()))?;
    let identity = identity.ok_or("Your session has ended. Sign in again.")?;
    let scope = identity.scope(Uuid::now_v7());
    let called = system.call(&scope, "operator", operation, json!({ "queue": queue })).await;
    called.map(drop).map_err(|error| sentence(error.message()))
}

impl View for QueuesPage {
    fn render(&self) -> Rendered {
        let queues = self.queues.as_deref().unwrap_or_default();
        let list =
            Keyed::new(queues.iter().map(|queue| (queue.name.clone(), row(queue, &self.csrf))));
        let problem = self.refusal.as_ref().or(self.queues.as_ref().err());
        Rendered::build(|slots| {
            html! {
                main id="main" class="page" tabindex="-1" {
                    header class="page-head" {
                        h1 { "Queues" }
                        p {
                            "Jobs by state. A paused queue finishes what runs and "
                            "claims nothing more."
                        }
                    }
                    @if let Some(problem) = problem {
                        p class="notice is-refused" role="alert" { (slots.text(problem)) }
                    }
                    div class="card table-card" {
                        table {
                            thead {
                                tr {
                                    th scope="col" { "Queue" }
                                    th class="number" scope="col" { "Running" }
                                    @for state in STATES {
                                        th class="number" scope="col" { (state) }
                                    }
                                    th scope="col" { span class="sr-only" { "Actions" } }
                                }
                            }
                            tbody { (slots.list(list)) }
                        }
                    }
                }
            }
            .into_string()
        })
    }

    fn title(&self) -> Option<String> {
        Some("Queues · Finnest".to_owned())
    }

    fn patch(&mut self, _url: &str) {}

    fn handle_event(&mut self, event: Event) -> BoxFuture<'_, Effect> {
        Box::pin(async move {
            let queue = event.field("queue").unwrap_or_default();
            match event.name.as_str() {
                "pause" => self.turn("pause_queue", &queue).await,
                "resume" => self.turn("resume_queue", &queue).await,
                other => tracing::debug!(event = other, "the queues page knows no such event"),
            }
            Effect::none()
        })
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.look.tick().await;
            self.refresh().await;
        })
    }
}

fn row(queue: &Queue, csrf: &str) -> Rendered {
    let (is_paused, event) = match queue.paused_at {
        Some(_) => (true, "resume"),
        None => (false, "pause"),
    };
    let address = format!("/?node={}", in_query(&format!("root/domains/{}/queue", queue.name)));
    let chip = if is_paused { "chip is-paused" } else { "chip is-none" };
    Rendered::build(|slots| {
        html! {
            tr {
                td class="nowrap" {
                    a href=(slots.text(address)) { b { (slots.text(&queue.name)) } }
                    " " span class=(slots.text(chip)) {
                        (slots.text(if is_paused { "paused" } else { "" }))
                    }
                }
                td class="number" { (slots.text(queue.running)) " of " (slots.text(queue.limit)) }
                @for state in STATES {
                    @let count = queue.counts.get(state).copied().unwrap_or(0);
                    @let jobs = in_query(&format!("queue:{} state:{state}", queue.name));
                    td class=(slots.text(cell_class(state, count))) {
                        a href=(slots.text(format!("/jobs?filter={jobs}"))) {
                            (slots.text(counted(state, count)))
                        }
                    }
                }
                td class="number" {
                    form method="post" action="/queue" phx-submit=(slots.text(event)) {
                        input type="hidden" name="_csrf_token" value=(csrf);
                        input type="hidden" name="queue" value=(slots.text(&queue.name));
                        input type="hidden" name="turn" value=(slots.text(event));
                        button type="submit" class="small-button" {
                            (slots.text(if is_paused { "Resume" } else { "Pause" }))
                        }
                    }
                }
            }
        }
        .into_string()
    })
}

/// Finished jobs are counted so far; more are at least so many.
fn counted(state: &str, count: u64) -> String {
    match state {
        "completed" | "cancelled" | "discarded" if count >= 10_000 => "10,000+".to_owned(),
        _ => count.to_string(),
    }
}

fn cell_class(state: &str, count: u64) -> &'static str {
    match (state, count) {
        (_, 0) => "number is-zero",
        ("discarded", _) => "number is-alarming",
        _ => "number",
    }
}
