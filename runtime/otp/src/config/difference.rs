//! Differences: what another page would change, in the words of the page.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{GiveUp, Known, Placement, Resolved, Settings, Tuning};
use crate::{QuarantineSchedule, Restart, Shutdown, Strategy};

/// One key that says something else on another page, defaults included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table it belongs to, for example `domain.recruit.child.scoring_engine`.
    pub table: String,
    /// Its name, for example `max_restarts`.
    pub key: &'static str,
    /// What holds on this page.
    pub before: String,
    /// What holds on the other.
    pub after: String,
}

/// What stands for a key that leaves its child as the code says.
const AS_BUILT: &str = "as built";
/// What stands for a key that limits nothing.
const NO_LIMIT: &str = "none";

type Values = Vec<(&'static str, String)>;

impl Tuning {
    /// What `newer` says differently about the tree that is `known`, table by table. The tables of
    /// applications are left out: what an application is started with, it keeps.
    #[must_use]
    pub fn differences(&self, newer: &Self, known: &Known) -> Vec<Difference> {
        let mut found = Vec::new();
        for name in known.sections.keys() {
            let both = [self, newer].map(|page| {
                let mut values = supervisor(&page.section(name));
                if name == "domains" {
                    values.extend(give_up(&page.give_up()));
                }
                if name == "edge" {
                    values.extend(page.rates().values());
                    values.extend(page.draining().values());
                }
                values
            });
            compare(&mut found, name, both);
            children(&mut found, name, [self, newer].map(|page| page.sections.get(name)));
        }
        for name in known.domains.keys() {
            let table = format!("domain.{name}");
            let both = [self, newer].map(|page| {
                let resolved = page.domain(name);
                let mut values = supervisor(&resolved);
                values.extend(limits(&resolved));
                values.extend(queue(&resolved));
                values.extend(place(page.domains.get(name)));
                values
            });
            compare(&mut found, &table, both);
            children(&mut found, &table, [self, newer].map(|page| page.domains.get(name)));
        }
        found
    }
}

fn compare(found: &mut Vec<Difference>, table: &str, [before, after]: [Values; 2]) {
    for ((key, before), (_, after)) in before.into_iter().zip(after) {
        if before != after {
            found.push(Difference { table: table.to_owned(), key, before, after });
        }
    }
}

fn children(found: &mut Vec<Difference>, table: &str, pages: [Option<&Settings>; 2]) {
    let none = BTreeMap::new();
    let listed = pages.map(|page| page.map_or(&none, |settings| &settings.children));
    let ids: BTreeSet<&String> = listed.iter().flat_map(|children| children.keys()).collect();
    for id in ids {
        let both = listed.map(|children| {
            let empty = Settings::default();
            child(children.get(id).unwrap_or(&empty))
        });
        compare(found, &format!("{table}.child.{id}"), both);
    }
}

fn supervisor(resolved: &Resolved) -> Values {
    let strategy = match resolved.strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::RestForOne => "rest_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::SimpleOneForOne => "simple_one_for_one",
    };
    let patience = match resolved.shutdown {
        Shutdown::BrutalKill => "0".to_owned(),
        Shutdown::Timeout(patience) => milliseconds(patience),
        Shutdown::Infinity => "infinity".to_owned(),
    };
    vec![
        ("strategy", strategy.to_owned()),
        ("max_restarts", resolved.intensity.max_restarts.to_string()),
        ("max_seconds", resolved.intensity.within.as_secs().to_string()),
        ("shutdown_ms", patience),
    ]
}

fn limits(resolved: &Resolved) -> Values {
    vec![
        ("queue_limit", resolved.queue_limit.to_string()),
        ("in_flight_max", resolved.in_flight_max.to_string()),
        ("statement_timeout_ms", milliseconds(resolved.statement_timeout)),
    ]
}

fn queue(resolved: &Resolved) -> Values {
    let said = resolved.queue.values().into_iter();
    said.map(|(key, value)| (key, value.unwrap_or_else(|| NO_LIMIT.to_owned()))).collect()
}

/// Where a domain runs and how it is watched there.
fn place(own: Option<&Settings>) -> Values {
    let runtime = match own.and_then(|own| own.is_dedicated) {
        Some(true) => "dedicated",
        _ => "shared",
    };
    let said = |value: Option<String>| value.unwrap_or_else(|| AS_BUILT.to_owned());
    let wait = |wait: Option<Duration>| said(wait.map(milliseconds));
    let placement = match own.and_then(|own| own.placement).unwrap_or_default() {
        Placement::Platform => "platform",
        Placement::Process => "process",
    };
    let memory_max_mb = own.and_then(|own| own.memory_max_mb);
    vec![
        ("placement", placement.to_owned()),
        ("memory_max_mb", said(memory_max_mb.map(|megabytes| megabytes.to_string()))),
        ("runtime", runtime.to_owned()),
        ("threads", said(own.and_then(|own| own.threads).map(|threads| threads.to_string()))),
        ("watchdog_ms", wait(own.and_then(|own| own.report_after))),
        ("replace_after_ms", wait(own.and_then(|own| own.replace_after))),
    ]
}

fn give_up(answer: &GiveUp) -> Values {
    let (word, waits) = match answer {
        GiveUp::Quarantine(schedule) => ("quarantine", waits(schedule)),
        GiveUp::Escalate => ("escalate", "none".to_owned()),
    };
    vec![("on_give_up", word.to_owned()), ("quarantine_ms", waits)]
}

fn waits(schedule: &QuarantineSchedule) -> String {
    let waits: Vec<String> = schedule.waits().iter().copied().map(milliseconds).collect();
    format!("[{}]", waits.join(", "))
}

/// What a child inherits is told of its supervisor.
fn child(settings: &Settings) -> Values {
    let restart = settings.restart.map(|restart| match restart {
        Restart::Permanent => "permanent",
        Restart::Transient => "transient",
        Restart::Temporary => "temporary",
    });
    let said = |value: Option<String>| value.unwrap_or_else(|| AS_BUILT.to_owned());
    vec![
        ("shutdown_ms", said(settings.shutdown.map(milliseconds))),
        ("restart", said(restart.map(str::to_owned))),
        ("pool", said(settings.pool.map(|pool| pool.to_string()))),
        ("interval_ms", said(settings.interval.map(milliseconds))),
    ]
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}
