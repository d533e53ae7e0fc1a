//! The reader of the page: which keys each kind of table may have, and what each key may say.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml_edit::{Document, Item, Key, TableLike, Value};

use super::problem::{Problems, hint};
use super::{
    ConfigErrors, Known, Placement, Settings, Tuning, application, draining, queue, rates,
};
use crate::{Restart, Strategy};

/// What every supervisor may say.
const SUPERVISOR: &[&str] = &["strategy", "max_restarts", "max_seconds", "shutdown_ms"];
/// What a domain may say, and `[defaults]` for all of them.
const LIMITS: &[&str] = &["queue_limit", "in_flight_max", "statement_timeout_ms"];
/// What only the supervisor of all domains may say.
const GIVE_UP: &[&str] = &["on_give_up", "quarantine_ms"];
/// Where a domain runs.
const PLACE: &[&str] =
    &["runtime", "placement", "memory_max_mb", "threads", "watchdog_ms", "replace_after_ms"];
/// What a child may say.
const CHILD: &[&str] = &["shutdown_ms", "restart", "pool", "interval_ms"];

const STRATEGIES: &[(&str, Strategy)] = &[
    ("one_for_one", Strategy::OneForOne),
    ("rest_for_one", Strategy::RestForOne),
    ("one_for_all", Strategy::OneForAll),
];
const RUNTIMES: &[(&str, bool)] = &[("shared", false), ("dedicated", true)];
const PLACEMENTS: &[(&str, Placement)] =
    &[("platform", Placement::Platform), ("process", Placement::Process)];
const RESTARTS: &[(&str, Restart)] = &[
    ("permanent", Restart::Permanent),
    ("transient", Restart::Transient),
    ("temporary", Restart::Temporary),
];

/// Reads the whole page.
pub(super) fn page(text: &str, file: &str, known: &Known) -> Result<Tuning, ConfigErrors> {
    let mut problems = Problems::new(file, text);
    let mut tuning = Tuning::default();
    match Document::parse(text) {
        Ok(document) => {
            let root = document.as_table();
            for (name, key, item) in entries(root) {
                top_level(&mut tuning, &mut problems, known, (name, key, item));
            }
            let applications = entries(root).find(|(name, ..)| *name == "application");
            tuning.applications = application::tables(&mut problems, known, applications);
            for name in known.domains.keys().filter(|name| !has_table(root, name)) {
                problems.missing(format!(
                    "domain `{name}` is missing; add a table `[domain.{name}]`, empty if the \
                     defaults suit it"
                ));
            }
        }
        Err(error) => {
            let sentence = error.message().lines().collect::<Vec<_>>().join("; ");
            problems.at(error.span(), format!("not valid TOML: {sentence}"));
        }
    }
    problems.into_errors().map_or(Ok(tuning), Err)
}

fn has_table(root: &dyn TableLike, domain: &str) -> bool {
    let domains = root.get("domain").and_then(Item::as_table_like);
    domains.is_some_and(|domains| domains.contains_key(domain))
}

pub(super) type Entry<'a> = (&'a str, &'a Key, &'a Item);

/// The entries of a table with their keys, since only a key knows its place.
pub(super) fn entries(table: &dyn TableLike) -> impl Iterator<Item = Entry<'_>> {
    table
        .iter()
        .filter_map(|(name, _)| table.get_key_value(name).map(|(key, item)| (name, key, item)))
}

fn top_level(tuning: &mut Tuning, problems: &mut Problems<'_>, known: &Known, entry: Entry<'_>) {
    let (name, key, item) = entry;
    if name == "defaults" {
        tuning.defaults = table(problems, entry, &[SUPERVISOR, LIMITS], &[]);
    } else if name == "domain" {
        domains(tuning, problems, known, entry);
    } else if name == "application" && !known.applications.is_empty() {
        // Read with what is missing, once the rest of the page has been.
    } else if let Some(children) = known.sections.get(name) {
        let keys: &[&[&str]] = match name {
            "domains" => &[SUPERVISOR, GIVE_UP],
            "edge" => &[SUPERVISOR, rates::KEYS, draining::KEYS],
            _ => &[SUPERVISOR],
        };
        let settings = table(problems, entry, keys, children);
        tuning.sections.insert(name.to_owned(), settings);
    } else {
        let what = if item.is_table_like() { "table" } else { "key" };
        let names = known.sections.keys().map(String::as_str).chain(["defaults", "domain"]);
        let names = names.chain((!known.applications.is_empty()).then_some("application"));
        let hint = hint(name, names);
        problems.at(key.span(), format!("unknown {what} `{name}`; {hint}"));
    }
}

fn domains(
    tuning: &mut Tuning,
    problems: &mut Problems<'_>,
    known: &Known,
    (name, key, item): Entry<'_>,
) {
    let Some(found) = item.as_table_like() else {
        let found = describe(item);
        problems.at(key.span(), format!("`{name}` must hold one table per domain, not {found}"));
        return;
    };
    for entry in entries(found) {
        let (domain, key, _) = entry;
        if let Some(children) = known.domains.get(domain) {
            let settings =
                table(problems, entry, &[SUPERVISOR, LIMITS, queue::KEYS, PLACE], children);
            if settings.threads.is_some() && settings.is_dedicated != Some(true) {
                let message = "`threads` are a domain's own; write `runtime = \"dedicated\"` too, \
                               or leave it out";
                problems.at(key.span(), message.to_owned());
            }
            let complaints = [misplaced(domain, &settings, known), settings.queue.complaint()];
            for complaint in complaints.into_iter().flatten() {
                problems.at(key.span(), complaint);
            }
            tuning.domains.insert(domain.to_owned(), settings);
        } else {
            let hint = hint(domain, known.domains.keys().map(String::as_str));
            problems.at(key.span(), format!("unknown domain `{domain}`; {hint}"));
        }
    }
}

/// What is wrong with where a domain is placed, if anything.
fn misplaced(domain: &str, settings: &Settings, known: &Known) -> Option<Complaint> {
    let is_away = settings.placement == Some(Placement::Process);
    if is_away && known.at_home.iter().any(|name| name == domain) {
        return Some(format!(
            "`{domain}` works on the tree itself and cannot have `placement = \"process\"`; leave \
             it out"
        ));
    }
    (settings.memory_max_mb.is_some() && !is_away).then(|| {
        "`memory_max_mb` bounds a process of the domain's own; write `placement = \"process\"` \
         too, or leave it out"
            .to_owned()
    })
}

/// Reads one table that may have `keys`, and under `child` a table for each of `children`.
fn table(
    problems: &mut Problems<'_>,
    (name, key, item): Entry<'_>,
    keys: &[&[&str]],
    children: &[String],
) -> Settings {
    let mut settings = Settings::default();
    let Some(found) = item.as_table_like() else {
        let found = describe(item);
        problems.at(key.span(), format!("`{name}` must be a table, not {found}"));
        return settings;
    };
    for (name, key, item) in entries(found) {
        if name == "child" && !children.is_empty() {
            child_tables(&mut settings, problems, (name, key, item), children);
        } else if keys.iter().any(|keys| keys.contains(&name)) {
            if let Err(message) = set(&mut settings, name, item) {
                problems.at(key.span(), message);
            }
        } else {
            let child = (!children.is_empty()).then_some("child");
            let hint = hint(name, keys.iter().copied().flatten().copied().chain(child));
            problems.at(key.span(), format!("unknown key `{name}`; {hint}"));
        }
    }
    settings
}

fn child_tables(
    settings: &mut Settings,
    problems: &mut Problems<'_>,
    (_, key, item): Entry<'_>,
    children: &[String],
) {
    let Some(found) = item.as_table_like() else {
        let found = describe(item);
        problems.at(key.span(), format!("`child` must hold one table per child, not {found}"));
        return;
    };
    for entry in entries(found) {
        let (child, key, _) = entry;
        if children.iter().any(|known| known == child) {
            let child_settings = table(problems, entry, &[CHILD], &[]);
            settings.children.insert(child.to_owned(), child_settings);
        } else {
            let hint = hint(child, children.iter().map(String::as_str));
            problems.at(key.span(), format!("unknown child `{child}`; {hint}"));
        }
    }
}

/// What is wrong with one key, as a sentence.
pub(super) type Complaint = String;

fn set(settings: &mut Settings, name: &str, item: &Item) -> Result<(), Complaint> {
    match name {
        "strategy" => settings.strategy = Some(choice(name, item, STRATEGIES)?),
        "max_restarts" => settings.max_restarts = Some(integer(name, item, 0..=1_000)?),
        "max_seconds" => settings.within = Some(seconds(name, item, 1..=86_400)?),
        "shutdown_ms" => settings.shutdown = Some(milliseconds(name, item, 0..=600_000)?),
        "queue_limit" => settings.queue_limit = Some(integer(name, item, 1..=1_000)?),
        "in_flight_max" => settings.in_flight_max = Some(integer(name, item, 1..=100_000)?),
        "statement_timeout_ms" => {
            settings.statement_timeout = Some(milliseconds(name, item, 10..=600_000)?);
        }
        "on_give_up" => {
            let answers = [("quarantine", false), ("escalate", true)];
            settings.escalate = Some(choice(name, item, &answers)?);
        }
        "quarantine_ms" => settings.quarantine = Some(schedule(name, item)?),
        "restart" => settings.restart = Some(choice(name, item, RESTARTS)?),
        "pool" => settings.pool = Some(integer(name, item, 1..=256)?),
        "interval_ms" => settings.interval = Some(milliseconds(name, item, 10..=86_400_000)?),
        "runtime" => settings.is_dedicated = Some(choice(name, item, RUNTIMES)?),
        "threads" => settings.threads = Some(integer(name, item, 1..=64)?),
        "watchdog_ms" => settings.report_after = Some(milliseconds(name, item, 10..=60_000)?),
        "replace_after_ms" => {
            settings.replace_after = Some(milliseconds(name, item, 0..=600_000)?);
        }
        "placement" => settings.placement = Some(choice(name, item, PLACEMENTS)?),
        "memory_max_mb" => settings.memory_max_mb = Some(integer(name, item, 64..=1_048_576)?),
        _ if queue::KEYS.contains(&name) => settings.queue.set(name, item)?,
        _ if rates::KEYS.contains(&name) => settings.rates.set(name, item)?,
        _ if draining::KEYS.contains(&name) => settings.draining.set(name, item)?,
        _ => unreachable!("`{name}` is in a list of keys and has no reader"),
    }
    Ok(())
}

pub(super) fn choice<T: Copy>(
    name: &str,
    item: &Item,
    options: &[(&str, T)],
) -> Result<T, Complaint> {
    let names = || options.iter().map(|(name, _)| *name);
    let Some(text) = item.as_str() else {
        let names = names().collect::<Vec<_>>().join("\", \"");
        return Err(format!("`{name}` must be one of \"{names}\", not {}", describe(item)));
    };
    let found = options.iter().find(|(option, _)| *option == text).map(|(_, value)| *value);
    found.ok_or_else(|| format!("`{name}` cannot be `{text}`; {}", hint(text, names())))
}

fn whole(name: &str, item: &Item, range: &RangeInclusive<u32>) -> Result<u32, Complaint> {
    let found = item.as_integer().and_then(|number| u32::try_from(number).ok());
    found.filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!("`{name}` must be an integer from {least} to {most}, not {}", describe(item))
    })
}

pub(super) fn integer(
    name: &str,
    item: &Item,
    range: RangeInclusive<u32>,
) -> Result<u32, Complaint> {
    whole(name, item, &range)
}

fn seconds(name: &str, item: &Item, range: RangeInclusive<u32>) -> Result<Duration, Complaint> {
    whole(name, item, &range).map(|count| Duration::from_secs(count.into()))
}

pub(super) fn milliseconds(
    name: &str,
    item: &Item,
    range: RangeInclusive<u32>,
) -> Result<Duration, Complaint> {
    whole(name, item, &range).map(|count| Duration::from_millis(count.into()))
}

/// Waits that only grow: a schedule that shortens would try a sick domain more and more often.
fn schedule(name: &str, item: &Item) -> Result<Vec<Duration>, Complaint> {
    let complaint = || {
        format!(
            "`{name}` must be a list of 1 to 16 waits in milliseconds from 1 to 86400000, none \
             shorter than the one before, not {}",
            describe(item)
        )
    };
    let values = item.as_array().ok_or_else(complaint)?;
    let waits: Option<Vec<u64>> = values
        .iter()
        .map(|value| value.as_integer().and_then(|wait| u64::try_from(wait).ok()))
        .map(|wait| wait.filter(|wait| (1..=86_400_000).contains(wait)))
        .collect();
    let waits = waits.ok_or_else(complaint)?;
    if waits.is_empty() || waits.len() > 16 || !waits.is_sorted() {
        return Err(complaint());
    }
    Ok(waits.into_iter().map(Duration::from_millis).collect())
}

/// What was found instead, in the operator's own words where it is short.
pub(super) fn describe(item: &Item) -> String {
    match item {
        Item::Value(Value::Integer(number)) => format!("{}", number.value()),
        Item::Value(Value::Float(number)) => format!("the number {}", number.value()),
        Item::Value(Value::String(text)) => format!("the text \"{}\"", text.value()),
        Item::Value(Value::Boolean(truth)) => format!("{}", truth.value()),
        Item::Value(Value::Array(list)) => list.to_string().trim().to_owned(),
        other => format!("a {}", other.type_name()),
    }
}
