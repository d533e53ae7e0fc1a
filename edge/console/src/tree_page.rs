//! The first page: the supervision tree, alive.

use std::collections::HashSet;

use futures_util::future::BoxFuture;
use live::{Effect, Event, Rendered, View};
use maud::html;

use crate::detail::{self, Notice, Panel};
use crate::drawing::{self, Canvas};
use crate::incident::{Incident, incidents};
use crate::layout::{Shape, collapse, place};
use crate::process::{Happening, Inside, Kill, Process, Status};
use crate::timeline;
use crate::viewer::Viewer;
use crate::words::{coarse_span, count};

/// Below this width the tree is an indented list.
const NARROW_PX: u64 = 760;

/// What the page watches; the platform, seen from here.
pub(crate) trait Watched: Send + Sync + 'static {
    /// The tree as it is now.
    fn tree(&self) -> Process;
    /// What happened since the start, oldest first.
    fn happenings(&self) -> Vec<Happening>;
    /// What operators killed.
    fn kills(&self) -> Vec<Kill>;
    /// Milliseconds since 1970.
    fn now(&self) -> i64;
    /// What can be seen inside the process at `path`, if it runs.
    fn inside(&self, path: &str) -> Option<Inside>;
    /// Which process the viewer has selected, whose state is looked at from now on.
    fn look_at(&mut self, path: Option<&str>);
    /// Waits until any of these may be different. Loses nothing when dropped.
    fn changed(&mut self) -> BoxFuture<'_, ()>;
    /// Runs an operation of the operator's domain as the viewer; the error is for the viewer.
    fn operate(
        &self,
        operation: &'static str,
        input: serde_json::Value,
    ) -> BoxFuture<'_, Result<(), String>>;
}

/// The page for one viewer.
pub(crate) struct TreePage {
    viewer: Viewer,
    watched: Box<dyn Watched>,
    tree: Process,
    incidents: Vec<Incident>,
    shape: Shape,
    selected: Option<String>,
    /// What the viewer has folded, and what they have opened although it is large.
    folded: HashSet<String>,
    opened: HashSet<String>,
    notice: Option<Notice>,
    action_count: u32,
}

impl TreePage {
    /// The page as `viewer` opens it; `url` may select a process.
    pub(crate) fn open(
        viewer: Viewer,
        watched: Box<dyn Watched>,
        url: &str,
        is_narrow: bool,
    ) -> Self {
        let mut page = Self {
            viewer,
            tree: Process::default(),
            watched,
            incidents: Vec::new(),
            shape: if is_narrow { Shape::List } else { Shape::Tree },
            selected: None,
            folded: HashSet::new(),
            opened: HashSet::new(),
            notice: None,
            action_count: 0,
        };
        page.refresh();
        page.patch(url);
        page
    }

    /// Shows what came of an action that was taken without a script.
    pub(crate) fn with_notice(mut self, notice: Option<Notice>) -> Self {
        self.notice = notice;
        self
    }

    fn refresh(&mut self) {
        self.tree = self.watched.tree();
        let happenings = self.watched.happenings();
        let kills = self.watched.kills();
        let mut incidents = incidents(&happenings, &kills, timeline::INCIDENTS_MAX);
        // The platform remembers a limited number of happenings; this page keeps what it has seen.
        let oldest = happenings.first().map_or(0, |happening| happening.sequence);
        let seen = std::mem::take(&mut self.incidents);
        incidents.extend(seen.into_iter().filter(|incident| incident.sequence < oldest));
        incidents.truncate(timeline::INCIDENTS_MAX);
        self.incidents = incidents;
    }

    async fn act(&mut self, operation: &'static str, event: &Event) -> Effect {
        let path = event.field("path").unwrap_or_default();
        let reason = event.field("reason").unwrap_or_default();
        let outcome = match Action::of(operation, &path, &reason) {
            Ok(action) => self.watched.operate(operation, action.input).await.map(|()| action.done),
            Err(problem) => Err(problem),
        };
        self.notice = Some(match outcome {
            Ok(done) => {
                self.action_count += 1;
                Notice::Done(done)
            }
            Err(problem) => Notice::Refused(problem),
        });
        self.refresh();
        Effect::none()
    }

    /// What is not drawn in full: what the viewer folded, and what would make the tree too large.
    fn collapsed(&self) -> HashSet<String> {
        let mut collapsed = collapse(&self.tree);
        collapsed.retain(|path| !self.opened.contains(path));
        collapsed.extend(self.folded.iter().cloned());
        collapsed
    }

    fn fold(&mut self, path: String) {
        if self.collapsed().contains(&path) {
            self.open_up(&path);
        } else {
            self.opened.remove(&path);
            self.folded.insert(path);
        }
    }

    fn open_up(&mut self, path: &str) {
        self.folded.remove(path);
        self.opened.insert(path.to_owned());
    }

    fn summary(&self) -> Rendered {
        let all = self.tree.all();
        let down = all.iter().filter(|process| process.status != Status::Running).count();
        let restarts: u64 = all.iter().map(|process| process.restarts).sum();
        let waiting: u64 = all.iter().map(|process| process.mailbox).sum();
        let worst = self.tree.worst();
        let sentence = match down {
            0 => format!("All {} processes are running", all.len()),
            _ => format!("{down} of {} processes are not running", all.len()),
        };
        let up = self.tree.started_at.unwrap_or_default();
        let span = coarse_span(self.watched.now() - up);
        Rendered::build(|slots| {
            html! {
                header class="summary" {
                    h1 { "Supervision tree" }
                    p class={ "summary-state is-" (worst.name()) } role="status" {
                        (detail::sign(worst)) span { (slots.text(sentence)) }
                    }
                    dl class="totals" {
                        div { dt { "restarts" } dd id="total-restarts" { (slots.text(restarts)) } }
                        div { dt { "waiting" } dd { (slots.text(waiting)) } }
                        div { dt { "up" } dd data-since=(slots.text(up)) { (slots.text(span)) } }
                    }
                }
            }
            .into_string()
        })
    }

    fn drawing(&self) -> Rendered {
        let layout = place(&self.tree, &self.collapsed(), self.shape);
        let canvas = Canvas {
            shape: self.shape,
            selected: self.selected.as_deref(),
            now: self.watched.now(),
        };
        drawing::draw(&layout, canvas)
    }

    fn details(&self) -> Rendered {
        let Some(path) = &self.selected else {
            return detail::hint();
        };
        let inside = self.watched.inside(path);
        let panel = Panel {
            root: &self.tree,
            incidents: &self.incidents,
            inside: inside.as_ref(),
            csrf: &self.viewer.csrf,
            action_count: self.action_count,
            notice: self.notice.as_ref(),
            now: self.watched.now(),
        };
        detail::draw(&panel, path)
    }
}

impl View for TreePage {
    fn render(&self) -> Rendered {
        let class = match &self.selected {
            Some(_) => "page tree-page has-selection",
            None => "page tree-page",
        };
        Rendered::build(|slots| {
            html! {
                main id="main" class=(slots.text(class)) phx-hook="Tree" tabindex="-1" {
                    (slots.component("summary", self.summary()))
                    div class="columns" {
                        section class="canvas" aria-label="Processes" {
                            (slots.component("drawing", self.drawing()))
                        }
                        aside class="side" {
                            (slots.component("details", self.details()))
                            (slots.component("timeline", timeline::draw(&self.incidents)))
                        }
                    }
                }
            }
            .into_string()
        })
    }

    fn title(&self) -> Option<String> {
        let down =
            self.tree.all().iter().filter(|process| process.status != Status::Running).count();
        Some(match down {
            0 => "Supervision tree · Finnest".to_owned(),
            _ => format!("({}) Supervision tree · Finnest", count(down, "down", "down")),
        })
    }

    fn patch(&mut self, url: &str) {
        let selected = crate::viewer::query_field(url, "node").filter(|path| !path.is_empty());
        if selected != self.selected {
            self.notice = None;
        }
        // What is selected must be visible, and so must be what is in it: without a script this
        // is the only way to open a supervisor.
        if let Some(path) = &selected {
            for (end, _) in path.match_indices('/') {
                self.open_up(&path[..end]);
            }
            self.open_up(path);
        }
        self.watched.look_at(selected.as_deref());
        self.selected = selected;
    }

    fn handle_event(&mut self, event: Event) -> BoxFuture<'_, Effect> {
        Box::pin(async move {
            match event.name.as_str() {
                "kill" => self.act("kill_process", &event).await,
                "lift" => self.act("lift_quarantine", &event).await,
                "fold" => {
                    self.fold(event.field("path").unwrap_or_default());
                    Effect::none()
                }
                "viewport" => {
                    let width = event.field("width").and_then(|width| width.parse().ok());
                    self.shape = shape_for(width.unwrap_or(u64::MAX));
                    Effect::none()
                }
                other => {
                    tracing::debug!(event = other, "the tree page knows no such event");
                    Effect::none()
                }
            }
        })
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.watched.changed().await;
            self.refresh();
        })
    }
}

fn shape_for(width: u64) -> Shape {
    if width < NARROW_PX { Shape::List } else { Shape::Tree }
}

/// Whether a screen of this width is narrow.
pub(crate) fn is_narrow(width: u64) -> bool {
    shape_for(width) == Shape::List
}

/// An operation on a process, checked as far as the page can.
#[derive(Debug)]
pub(crate) struct Action {
    pub input: serde_json::Value,
    /// What to tell the viewer when it is done.
    pub done: String,
}

impl Action {
    /// The action `operation` on `path`, or what is wrong with it.
    pub(crate) fn of(operation: &str, path: &str, reason: &str) -> Result<Self, String> {
        if operation == "lift_quarantine" {
            return Ok(Self {
                input: serde_json::json!({ "path": path }),
                done: "Quarantine lifted and recorded in the event log.".to_owned(),
            });
        }
        let reason = reason.trim();
        if reason.chars().count() < detail::REASON_LENGTH_MIN {
            return Err("Say why: the reason is recorded with the kill.".to_owned());
        }
        Ok(Self {
            input: serde_json::json!({ "path": path, "reason": reason }),
            done: "Killed, and recorded in the event log with your name and reason.".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::*;
    use crate::process::tests::sample;

    /// A platform that stands still and writes down what it is asked to do.
    #[derive(Clone, Default)]
    struct Still(Arc<Mutex<Vec<(&'static str, Value)>>>);

    impl Watched for Still {
        fn tree(&self) -> Process {
            sample()
        }
        fn happenings(&self) -> Vec<Happening> {
            Vec::new()
        }
        fn kills(&self) -> Vec<Kill> {
            Vec::new()
        }
        fn now(&self) -> i64 {
            1_763_700_000_000
        }
        fn inside(&self, path: &str) -> Option<Inside> {
            let state = Some(format!("the state of {path}"));
            Some(Inside { is_suspended: true, state, ..Inside::default() })
        }
        fn look_at(&mut self, _: Option<&str>) {}
        fn changed(&mut self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }
        fn operate(
            &self,
            operation: &'static str,
            input: Value,
        ) -> BoxFuture<'_, Result<(), String>> {
            self.0.lock().unwrap().push((operation, input));
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn page(url: &str) -> (TreePage, Still) {
        let still = Still::default();
        let viewer = Viewer {
            name: "Olivia".to_owned(),
            role: "operator".to_owned(),
            org: "Demo".to_owned(),
            csrf: "token".to_owned(),
        };
        (TreePage::open(viewer, Box::new(still.clone()), url, false), still)
    }

    fn form(name: &str, value: &str) -> Event {
        Event { kind: "form".to_owned(), name: name.to_owned(), value: json!(value) }
    }

    #[tokio::test]
    async fn a_kill_with_a_reason_becomes_an_operation() {
        let (mut page, still) = page("/?node=root/bus");

        page.handle_event(form("kill", "path=root%2Fbus&reason=a+drill")).await;

        let expected = json!({ "path": "root/bus", "reason": "a drill" });
        assert_eq!(*still.0.lock().unwrap(), [("kill_process", expected)]);
        assert!(page.render().to_html().contains("recorded in the event log"));
    }

    #[tokio::test]
    async fn a_kill_without_a_reason_is_refused_by_the_page() {
        let (mut page, still) = page("/?node=root/bus");

        page.handle_event(form("kill", "path=root%2Fbus&reason=+")).await;

        assert!(still.0.lock().unwrap().is_empty());
        assert!(page.render().to_html().contains("Say why"));
    }

    #[tokio::test]
    async fn a_supervisor_folds_and_unfolds_and_opens_when_something_in_it_is_selected() {
        let (mut page, _) = page("/");
        let fold = || form("fold", "path=root%2Fdomains");
        let has_payroll =
            |page: &TreePage| page.render().to_html().contains("node-root-domains-payroll");

        page.handle_event(fold()).await;
        assert!(!has_payroll(&page));
        page.handle_event(fold()).await;
        assert!(has_payroll(&page));
        page.handle_event(fold()).await;
        page.patch("http://host/?node=root%2Fdomains%2Fpayroll");

        assert!(has_payroll(&page));
    }

    #[tokio::test]
    async fn what_is_inside_the_selected_process_is_shown() {
        let (page, _) = page("/?node=root/bus");

        let html = page.render().to_html();

        assert!(html.contains("the state of root/bus"), "{html}");
        assert!(html.contains("handles no messages until it is resumed"), "{html}");
    }

    #[tokio::test]
    async fn a_phone_gets_a_list() {
        let (mut page, _) = page("/");

        page.handle_event(form("viewport", "width=390")).await;

        assert!(page.render().to_html().contains("forest is-list"));
    }
}
