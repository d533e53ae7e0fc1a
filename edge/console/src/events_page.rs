//! The feed of an organisation's sealed events, alive.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;
use live::{Effect, Event, Keyed, Rendered, View};
use maud::html;
use platform::bus::{BusEvent, Subscription, TopicFilter};
use platform::store::{self, SealedEvent};
use platform::{OrgId, Position, System};

use crate::watching::heard;
use crate::words::{fit, machine_time, time_of_day};

/// How many events are shown.
const SHOWN_MAX: usize = 60;

/// How far back events are looked for at first, in positions of the whole log: a quiet
/// organisation beside a busy one may begin with an empty feed.
const LOOK_BACK: u32 = 2_000;

/// How much of a fact is shown.
const FACT_CHARACTERS_MAX: usize = 240;

/// The page for one viewer.
pub(crate) struct EventsPage {
    feed: Option<Subscription>,
    /// Newest first.
    rows: VecDeque<Row>,
}

struct Row {
    position: Position,
    at: i64,
    domain: String,
    event_type: String,
    fact: String,
}

impl EventsPage {
    /// The page for a viewer of the organisation `org_id`.
    pub(crate) async fn open(system: &System, org_id: OrgId) -> Self {
        // Listening begins before reading; what comes both ways is shown once.
        let feed = system.bus().subscribe(TopicFilter::Organisation(org_id));
        let rows = match read(system, org_id).await {
            Ok(events) => events.iter().rev().take(SHOWN_MAX).map(Row::of_sealed).collect(),
            Err(error) => {
                tracing::debug!(%error, "the newest events cannot be read now");
                VecDeque::new()
            }
        };
        Self { feed: Some(feed), rows }
    }

    fn show(&mut self, event: &BusEvent) {
        let is_known = self.rows.iter().any(|row| row.position == event.position);
        if !is_known {
            self.rows.push_front(Row::of_live(event));
            self.rows.truncate(SHOWN_MAX);
        }
    }
}

async fn read(system: &System, org_id: OrgId) -> Result<Vec<SealedEvent>, store::ReadError> {
    let head = *system.log().head().borrow();
    let from = Position((head.0 - i64::from(LOOK_BACK)).max(0));
    let mut reading = store::begin_reading(system.log().pool()).await?;
    let mut events = store::read::after(&mut reading, from, LOOK_BACK).await?;
    events.retain(|event| event.org_id == org_id);
    Ok(events)
}

impl Row {
    fn of_sealed(event: &SealedEvent) -> Self {
        Self {
            position: event.position,
            at: event.recorded_at.timestamp_millis(),
            domain: event.domain.clone(),
            event_type: event.event_type.clone(),
            fact: fit(&String::from_utf8_lossy(&event.payload), FACT_CHARACTERS_MAX),
        }
    }

    fn of_live(event: &BusEvent) -> Self {
        Self {
            position: event.position,
            at: event.recorded_at.timestamp_millis(),
            domain: event.topic.domain.clone(),
            event_type: event.event_type.clone(),
            fact: fit(&event.payload, FACT_CHARACTERS_MAX),
        }
    }

    fn render(&self) -> Rendered {
        Rendered::build(|slots| {
            html! {
                tr id=(slots.text(format!("event-{}", self.position.0))) {
                    td class="number mono" { (slots.text(self.position.0)) }
                    td class="nowrap" {
                        time datetime=(slots.text(machine_time(self.at))) {
                            (slots.text(time_of_day(self.at)))
                        }
                    }
                    td { span class="chip" { (slots.text(&self.domain)) } }
                    td class="nowrap" { b { (slots.text(&self.event_type)) } }
                    td class="payload" { (slots.text(&self.fact)) }
                }
            }
            .into_string()
        })
    }
}

impl View for EventsPage {
    fn render(&self) -> Rendered {
        let rows = self.rows.iter().map(|row| (row.position.0.to_string(), row.render()));
        let list = Keyed::new(rows);
        let is_empty = self.rows.is_empty();
        Rendered::build(|slots| {
            html! {
                main id="main" class="page" tabindex="-1" {
                    header class="page-head" {
                        h1 { "Events" }
                        p {
                            "What your organisation's domains have recorded, as it is sealed. "
                            "Times in UTC."
                        }
                    }
                    div class="card table-card" {
                        @if is_empty {
                            div class="empty" {
                                p { strong { "Nothing has been recorded lately." } }
                                p { "The next command that is answered appears here at once." }
                            }
                        } @else {
                            table {
                                thead {
                                    tr {
                                        th class="number" scope="col" { "Position" }
                                        th scope="col" { "Time" }
                                        th scope="col" { "Domain" }
                                        th scope="col" { "Event" }
                                        th scope="col" { "Fact" }
                                    }
                                }
                                tbody { (slots.list(list)) }
                            }
                        }
                    }
                }
            }
            .into_string()
        })
    }

    fn title(&self) -> Option<String> {
        Some("Events · Finnest".to_owned())
    }

    fn patch(&mut self, _url: &str) {}

    fn handle_event(&mut self, _event: Event) -> BoxFuture<'_, Effect> {
        Box::pin(std::future::ready(Effect::none()))
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match &mut self.feed {
                Some(feed) => {
                    let heard = feed.recv().await;
                    if let Ok(event) = heard {
                        self.show(&event);
                    }
                    // Everything that is already there belongs into the same frame.
                    while let Some(Ok(Some(event))) = self.feed.as_mut().map(Subscription::try_recv)
                    {
                        self.show(&event);
                    }
                }
                None => {
                    heard(&mut None).await;
                }
            }
        })
    }
}
