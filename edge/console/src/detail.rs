//! The details of the selected process, and what an operator may do with it.

use live::{Mark, Rendered, Slots};
use maud::{Markup, html};

use crate::incident::Incident;
use crate::process::{Inside, Process, Status};
use crate::timeline;
use crate::words::{coarse_span, count, last, machine_time, short_span, time_of_day};

/// The shortest reason that tells a later reader something; the operation demands it too.
pub(crate) const REASON_LENGTH_MIN: usize = 3;
/// The longest reason.
pub(crate) const REASON_LENGTH_MAX: usize = 500;

/// What the panel shows beside the process.
#[derive(Debug)]
pub(crate) struct Panel<'a> {
    pub root: &'a Process,
    pub incidents: &'a [Incident],
    /// What can be seen inside the process, if it runs.
    pub inside: Option<&'a Inside>,
    pub csrf: &'a str,
    /// How many actions the viewer has taken, so that a finished form begins anew.
    pub action_count: u32,
    pub notice: Option<&'a Notice>,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It was done.
    Done(String),
    /// It was refused or failed.
    Refused(String),
}

/// The panel for the process at `path`.
pub(crate) fn draw(panel: &Panel<'_>, path: &str) -> Rendered {
    Rendered::build(|slots| {
        let Some(process) = panel.root.find(path) else {
            return gone(path).into_string();
        };
        html! {
            section class="card detail" id="detail" aria-labelledby="detail-title" {
                header class="card-head" {
                    (sign(process.status))
                    h2 id="detail-title" { (slots.text(&process.id)) }
                    a class="close" id="detail-close" href="/" data-phx-link="patch"
                        data-phx-link-state="replace" aria-label="Close details"
                        title="Close (Esc)" { "×" }
                }
                p class="path" { (slots.text(&process.path)) }
                @if !process.label.is_empty() { p class="purpose" { (slots.text(&process.label)) } }
                dl class="facts" {
                    (fact("Status", &html! { (slots.text(process.status.name())) }))
                    (fact("Up for", &since(slots, process, panel.now)))
                    (fact("Restarts", &html! { (slots.text(process.restarts)) }))
                    (fact("Mailbox", &html! { (slots.text(process.mailbox)) " waiting" }))
                    (fact("Incarnation", &html! { "#" (slots.text(process.incarnation)) }))
                    (fact("Kind", &html! { (kind(process)) }))
                    (fact("Last exit", &html! { (alone(slots, &last_exit(process))) }))
                    (fact("Stops within", &html! { (process.shutdown) }))
                }
                (alone(slots, &within(panel.inside)))
                (alone(slots, &budgets(panel.root, process)))
                (alone(slots, &timeline::brief(panel.incidents, path)))
                (alone(slots, &actions(panel, process)))
            }
        }
        .into_string()
    })
}

/// A part that is sent alone when it alone changes.
fn alone(slots: &Slots, part: &Markup) -> Mark {
    slots.part(Rendered::fixed(part.0.clone()))
}

/// What the panel shows while nothing is selected.
pub(crate) fn hint() -> Rendered {
    let text = html! {
        section class="card hint" aria-label="Details" {
            p {
                strong { "Select a process" }
                " to see why it last ended and how much it tolerates, and to kill it."
            }
            p class="keys" {
                span { kbd { "↑" } kbd { "↓" } kbd { "←" } kbd { "→" } " move" }
                span { kbd { "Enter" } " select" }
                span { kbd { "?" } " all keys" }
            }
        }
    };
    Rendered::fixed(text.into_string())
}

fn gone(path: &str) -> Markup {
    html! {
        section class="card detail" id="detail" aria-labelledby="detail-title" {
            header class="card-head" {
                h2 id="detail-title" { (last(path)) }
                a class="close" id="detail-close" href="/" data-phx-link="patch"
                    data-phx-link-state="replace" aria-label="Close details" { "×" }
            }
            p class="path" { (path) }
            p { "This process is gone: it has finished, or its supervisor took it down." }
        }
    }
}

/// The sign of a status: shape and colour.
pub(crate) fn sign(status: Status) -> Markup {
    html! {
        svg class={ "sign is-" (status.name()) } viewBox="0 0 12 12" width="12" height="12"
            aria-hidden="true" {
            path d=(status.shape()) {}
        }
    }
}

fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn since(slots: &Slots, process: &Process, now: i64) -> Markup {
    html! {
        @match process.started_at.filter(|_| process.status == Status::Running) {
            Some(at) => span data-since=(slots.text(at)) { (slots.text(coarse_span(now - at))) },
            None => "not up",
        }
    }
}

fn kind(process: &Process) -> String {
    match &process.strategy {
        Some(strategy) => strategy.clone(),
        None => format!("{} worker", process.restart),
    }
}

fn last_exit(process: &Process) -> Markup {
    html! {
        @match (&process.last_exit, process.last_exit_at) {
            (Some(reason), Some(at)) => {
                b { (reason) } " at "
                time datetime=(machine_time(at)) { (time_of_day(at)) }
            }
            (Some(reason), None) => b { (reason) },
            (None, _) => span class="quiet" { "never" },
        }
    }
}

/// What can be seen inside a process. Nothing, if there is nothing unusual and nobody asked.
fn within(inside: Option<&Inside>) -> Markup {
    let Some(inside) = inside else { return html! {} };
    html! {
        @if inside.is_suspended {
            p class="warning" { "Suspended: it handles no messages until it is resumed." }
        }
        @if let Some(capacity) = inside.capacity {
            p class="quiet" {
                "Room for " (count(capacity, "message", "messages")) ", " (inside.lost) " lost"
                @if let Some(oldest_us) = inside.oldest_us {
                    ", the oldest waits for " (short_span(oldest_us))
                }
                "."
            }
        }
        @if let Some(counts) = &inside.counts {
            p class="quiet" {
                (counts.messages_in) " in, " (counts.messages_out) " out, busy for "
                (short_span(counts.busy_us)) ", at most " (short_span(counts.longest_us))
                " for one message."
            }
        }
        @if let Some(state) = &inside.state {
            div class="budget" {
                div class="budget-line" { span { "State" } }
                p class="payload" { (state) }
            }
        }
    }
}

/// The budgets that decide the fate of a process: its supervisor's, and its own if it is one.
fn budgets(root: &Process, process: &Process) -> Markup {
    html! {
        @if let Some(supervisor) = root.parent_of(&process.path) {
            (budget(supervisor, &supervisor.touched_by(&process.path)))
        }
        @if process.is_supervisor { (budget(process, &[])) }
    }
}

/// How many restarts a supervisor still tolerates, and what happens after that.
fn budget(supervisor: &Process, touched: &[&Process]) -> Markup {
    let Some(limit) = supervisor.max_restarts else { return html! {} };
    let used = supervisor.restarts_in_window.min(limit);
    let seconds = supervisor.within_ms.unwrap_or_default() / 1_000;
    html! {
        div class="budget" {
            div class="budget-line" {
                span { "Restart budget of " b { (supervisor.id) } }
                span { (used) " of " (limit) " in " (seconds) " s" }
            }
            meter min="0" max=(limit.max(1)) value=(used)
                aria-label={ "Restarts of " (supervisor.id) " within its window" } {}
            @if supervisor.is_at_its_limit() {
                p class="warning" { "The next crash takes " (supervisor.id) " down." }
            } @else {
                p class="quiet" {
                    "After " (count(limit, "restart", "restarts")) " within " (seconds)
                    " s the next crash takes it down."
                }
            }
            @if !touched.is_empty() {
                p class="quiet" {
                    "A crash here restarts also "
                    @for (index, sibling) in touched.iter().enumerate() {
                        @if index > 0 { ", " } b { (sibling.id) }
                    }
                    "."
                }
            }
        }
    }
}

fn actions(panel: &Panel<'_>, process: &Process) -> Markup {
    html! {
        @match panel.notice {
            Some(Notice::Done(text)) => p class="notice is-done" role="status" { (text) },
            Some(Notice::Refused(text)) => p class="notice is-refused" role="alert" { (text) },
            None => {}
        }
        @if process.path == panel.root.path {
            p class="explain" {
                "The root is not killed from within. "
                "Stop the platform instead: it ends in good order."
            }
        } @else {
            @if process.status == Status::Quarantined { (lift(panel, process)) }
            (kill(panel, process))
        }
    }
}

fn kill(panel: &Panel<'_>, process: &Process) -> Markup {
    let below = process.count() - 1;
    html! {
        form class="kill" method="post" action="/kill" phx-submit="kill"
            id={ "kill-" (panel.action_count) } {
            input type="hidden" name="_csrf_token" value=(panel.csrf);
            input type="hidden" name="path" value=(process.path);
            label for={ "reason-" (panel.action_count) } {
                "Reason, for those who read the log later"
            }
            div class="kill-line" {
                input type="text" class="input" id={ "reason-" (panel.action_count) } name="reason"
                    required minlength=(REASON_LENGTH_MIN) maxlength=(REASON_LENGTH_MAX)
                    autocomplete="off" placeholder="why is this needed?" data-reason;
                button type="submit" class="btn btn-kill" phx-disable-with="Killing…" { "Kill" }
            }
            @if below > 0 {
                p class="quiet" {
                    "It takes " (count(below, "process", "processes")) " below it along."
                }
            }
        }
    }
}

fn lift(panel: &Panel<'_>, process: &Process) -> Markup {
    html! {
        form class="lift" method="post" action="/lift" phx-submit="lift"
            id={ "lift-" (panel.action_count) } {
            input type="hidden" name="_csrf_token" value=(panel.csrf);
            input type="hidden" name="path" value=(process.path);
            p {
                "Its supervisor gave it up"
                @if let Some(until) = process.quarantined_until {
                    " and tries again at "
                    time datetime=(machine_time(until)) { (time_of_day(until)) }
                }
                "."
            }
            button type="submit" class="btn btn-lift" phx-disable-with="Lifting…" {
                "Start it now"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::sample;

    fn html(path: &str) -> String {
        let root = sample();
        let panel = Panel {
            root: &root,
            incidents: &[],
            inside: None,
            csrf: "token",
            action_count: 0,
            notice: None,
            now: 1_763_700_000_000,
        };
        draw(&panel, path).to_html()
    }

    #[test]
    fn the_details_of_a_worker() {
        let html = html("root/domains/recruit/scoring_engine");

        insta::assert_snapshot!(html.replace("><", ">\n<"));
    }

    #[test]
    fn the_root_is_not_killed_from_within() {
        let html = html("root");

        assert!(html.contains("Stop the platform instead"));
        assert!(!html.contains("<form"));
    }

    #[test]
    fn a_supervisor_at_its_limit_is_named_before_it_falls() {
        let html = html("root/domains/recruit/queue");

        assert!(html.contains("The next crash takes recruit down."), "{html}");
    }

    #[test]
    fn a_process_that_is_gone_says_so() {
        assert!(html("root/nowhere").contains("This process is gone"));
    }
}
