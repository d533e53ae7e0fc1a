//! The restart timeline: who failed, why, what it took along, how long it was away.

use live::{Keyed, Rendered};
use maud::{Markup, html};

use crate::incident::{Incident, Outcome};
use crate::words::{count, in_query, last, machine_time, short_span, time_of_day};

/// How many incidents are listed.
pub(crate) const INCIDENTS_MAX: usize = 40;

/// The timeline of `incidents`, newest first.
pub(crate) fn draw(incidents: &[Incident]) -> Rendered {
    let list = Keyed::new(
        incidents.iter().map(|incident| (incident.sequence.to_string(), entry(incident))),
    );
    let is_empty = incidents.is_empty();
    Rendered::build(|slots| {
        html! {
            section class="card timeline" aria-labelledby="timeline-title" {
                header class="card-head" {
                    h2 id="timeline-title" { "Restarts" }
                    span class="card-note" { "times in UTC" }
                }
                @if is_empty {
                    div class="empty" {
                        svg viewBox="0 0 48 24" aria-hidden="true" {
                            path d="M2 12H14L18 4L25 20L29 12H46" {}
                        }
                        p { strong { "Nothing has failed since the start." } }
                        p {
                            "When a process ends, this shows why, what it took along and how long "
                            "it was away. Select one and kill it to see."
                        }
                    }
                } @else {
                    ol class="incidents" { (slots.list(list)) }
                }
            }
        }
        .into_string()
    })
}

fn entry(incident: &Incident) -> Rendered {
    let id = format!("incident-{}", incident.sequence);
    let address = format!("/?node={}", in_query(&incident.path));
    Rendered::build(|slots| {
        let at = incident.at;
        html! {
            li class=(slots.text(class(incident))) id=(slots.text(id)) {
                div class="incident-line" {
                    a class="incident-name" href=(slots.text(address))
                        data-phx-link="patch" data-phx-link-state="replace"
                        title=(slots.text(&incident.path)) { (slots.text(last(&incident.path))) }
                    span class="incident-outcome" { (slots.text(outcome(&incident.outcome))) }
                }
                p class="incident-cause" {
                    time datetime=(slots.text(machine_time(at))) { (slots.text(time_of_day(at))) }
                    " " (slots.text(parent_of(&incident.path)))
                    " " b { (slots.text(&incident.reason)) }
                }
                (slots.part(explanation(incident)))
            }
        }
        .into_string()
    })
}

/// What only some incidents have, in a part of its own so that entries share their text.
fn explanation(incident: &Incident) -> Rendered {
    Rendered::build(|slots| {
        html! {
            @if let Some(kill) = &incident.kill {
                p class="incident-kill" {
                    (slots.text(&kill.who)) ": " q { (slots.text(&kill.why)) }
                }
            }
            @if !incident.touched.is_empty() {
                p class="incident-touched" {
                    (slots.text(format!(
                        "took along {}: {}",
                        count(incident.touched.len(), "process", "processes"),
                        names(&incident.touched),
                    )))
                }
            }
            @if let Outcome::StartFailed(error) = &incident.outcome {
                p class="incident-error" { (slots.text(error)) }
            }
        }
        .into_string()
    })
}

/// A few names; the rest is counted.
fn names(paths: &[String]) -> String {
    const NAMES_MAX: usize = 4;
    let named: Vec<&str> = paths.iter().take(NAMES_MAX).map(|path| last(path)).collect();
    match paths.len().saturating_sub(NAMES_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn parent_of(path: &str) -> String {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    parent.strip_prefix("root/").unwrap_or(parent).replace('/', " / ")
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Recovered(us) => format!("back in {}", short_span(*us)),
        Outcome::Open => "not back".to_owned(),
        Outcome::StartFailed(_) => "start failed".to_owned(),
        Outcome::GaveUp => "supervisor gave up".to_owned(),
        Outcome::Quarantined => "quarantined".to_owned(),
    }
}

fn class(incident: &Incident) -> &'static str {
    match incident.outcome {
        Outcome::Recovered(_) if incident.kill.is_some() => "incident is-drill",
        Outcome::Recovered(_) => "incident is-recovered",
        Outcome::Open | Outcome::StartFailed(_) => "incident is-open",
        Outcome::GaveUp | Outcome::Quarantined => "incident is-lost",
    }
}

/// The incidents of one process, short, for its details.
pub(crate) fn brief(incidents: &[Incident], path: &str) -> Markup {
    const BRIEF_MAX: usize = 4;
    let of_process: Vec<&Incident> = incidents
        .iter()
        .filter(|incident| incident.path == path || incident.touched.iter().any(|p| p == path))
        .take(BRIEF_MAX)
        .collect();
    html! {
        @if !of_process.is_empty() {
            ul class="brief" {
                @for incident in of_process {
                    li class=(class(incident)) {
                        time datetime=(machine_time(incident.at)) { (time_of_day(incident.at)) }
                        " "
                        @if incident.path == path { (incident.reason) }
                        @else { "taken along by " (last(&incident.path)) }
                        ", " (outcome(&incident.outcome))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use live::Differ;

    use super::*;
    use crate::process::Kill;

    fn incident(sequence: u64) -> Incident {
        Incident {
            sequence,
            at: 1_763_700_000_000,
            path: "root/domains/recruit/scoring_engine".to_owned(),
            reason: "killed".to_owned(),
            touched: vec!["root/domains/recruit/pool_refresh".to_owned()],
            outcome: Outcome::Recovered(427),
            kill: Some(Kill {
                at: 1_763_700_000_000,
                path: "root/domains/recruit/scoring_engine".to_owned(),
                who: "Olivia".to_owned(),
                why: "a <drill>".to_owned(),
            }),
        }
    }

    #[test]
    fn an_incident_tells_who_why_what_and_how_long() {
        insta::assert_snapshot!(draw(&[incident(7)]).to_html().replace("><", ">\n<"));
    }

    #[test]
    fn without_incidents_the_timeline_says_what_it_would_show() {
        assert!(draw(&[]).to_html().contains("Nothing has failed since the start."));
    }

    #[test]
    fn a_new_incident_moves_the_others_without_sending_them() {
        let mut differ = Differ::default();
        differ.update(draw(&[incident(1)]));

        let message = differ.update(draw(&[incident(2), incident(1)])).unwrap().to_string();

        assert_eq!(message.matches("Olivia").count(), 1);
    }
}
