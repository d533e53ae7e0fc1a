//! The tables of applications: `[application.<name>]` and `[application.<name>.env]`.
//!
//! ```toml
//! [application.billing]
//! start = "permanent"   # "transient", "temporary"
//! shutdown_ms = 30_000
//! [application.billing.env]
//! rate = 10
//! ```
//!
//! What may be in an environment is said by the code: a key it does not know is refused, and so is
//! a value of another type than its default, or a required key that is missing.

use std::collections::BTreeMap;

use serde_json::Value;
use toml_edit::{Item, Value as Toml};

use super::problem::{Problems, hint};
use super::read::{Entry, choice, describe, entries, milliseconds};
use super::{Known, Tuning, patience};
use crate::{Shutdown, StartType};

/// What a table of an application may say.
const KEYS: &[&str] = &["start", "shutdown_ms", "env"];

const START_TYPES: &[(&str, StartType)] = &[
    ("permanent", StartType::Permanent),
    ("transient", StartType::Transient),
    ("temporary", StartType::Temporary),
];

/// The keys of an environment with their defaults; `None` is a key that the page must give.
pub(super) type Keys = BTreeMap<String, Option<Value>>;

/// What a page says about one application: only that.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApplicationTuning {
    /// What its end means for all others; `None` leaves it as the code says.
    pub start: Option<StartType>,
    /// How its tree is told to stop; `None` leaves it as the code says.
    pub shutdown: Option<Shutdown>,
    /// Values that override those of the code.
    pub environment: BTreeMap<String, Value>,
}

impl Known {
    /// Adds an application with the keys of its environment and their defaults; a key without a
    /// default is required. Its table may be left out of the page, unless a key is required.
    #[must_use]
    pub fn application(
        mut self,
        name: impl Into<String>,
        environment: impl IntoIterator<Item = (String, Option<Value>)>,
    ) -> Self {
        self.applications.insert(name.into(), environment.into_iter().collect());
        self
    }
}

impl Tuning {
    /// What the page says about each application it names.
    #[must_use]
    pub fn applications(&self) -> BTreeMap<String, ApplicationTuning> {
        self.applications.clone()
    }
}

/// Reads the tables of all applications; `item` is `None` when the page has none.
pub(super) fn tables(
    problems: &mut Problems<'_>,
    known: &Known,
    entry: Option<Entry<'_>>,
) -> BTreeMap<String, ApplicationTuning> {
    let mut tunings = BTreeMap::new();
    if let Some((name, key, item)) = entry {
        let Some(found) = item.as_table_like() else {
            let found = describe(item);
            let message = format!("`{name}` must hold one table per application, not {found}");
            problems.at(key.span(), message);
            return tunings;
        };
        for entry in entries(found) {
            let (name, key, _) = entry;
            let Some(keys) = known.applications.get(name) else {
                let hint = hint(name, known.applications.keys().map(String::as_str));
                problems.at(key.span(), format!("unknown application `{name}`; {hint}"));
                continue;
            };
            tunings.insert(name.to_owned(), table(problems, entry, keys));
        }
    }
    for (name, keys) in &known.applications {
        let given = tunings.get(name).map(|tuning: &ApplicationTuning| &tuning.environment);
        let is_given = |key: &str| given.is_some_and(|given| given.contains_key(key));
        for (key, _) in keys.iter().filter(|(key, value)| value.is_none() && !is_given(key)) {
            problems.missing(format!(
                "application `{name}` needs `{key}`; add it to `[application.{name}.env]`"
            ));
        }
    }
    tunings
}

fn table(
    problems: &mut Problems<'_>,
    (name, key, item): Entry<'_>,
    keys: &Keys,
) -> ApplicationTuning {
    let mut tuning = ApplicationTuning::default();
    let Some(found) = item.as_table_like() else {
        problems.at(key.span(), format!("`{name}` must be a table, not {}", describe(item)));
        return tuning;
    };
    for (name, key, item) in entries(found) {
        let read = match name {
            "start" => choice(name, item, START_TYPES).map(|start| tuning.start = Some(start)),
            "shutdown_ms" => milliseconds(name, item, 0..=600_000)
                .map(|limit| tuning.shutdown = Some(patience(limit))),
            "env" => {
                tuning.environment = environment(problems, (name, key, item), keys);
                Ok(())
            }
            _ => Err(format!("unknown key `{name}`; {}", hint(name, KEYS.iter().copied()))),
        };
        if let Err(message) = read {
            problems.at(key.span(), message);
        }
    }
    tuning
}

fn environment(
    problems: &mut Problems<'_>,
    (name, key, item): Entry<'_>,
    keys: &Keys,
) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    let Some(found) = item.as_table_like() else {
        problems.at(key.span(), format!("`{name}` must be a table, not {}", describe(item)));
        return values;
    };
    for (name, key, item) in entries(found) {
        let checked = match keys.get(name) {
            None => {
                Err(format!("unknown key `{name}`; {}", hint(name, keys.keys().map(|key| &**key))))
            }
            Some(default) => value(item)
                .and_then(|value| check(&value, default.as_ref()).map(|()| value))
                .map_err(|expected| format!("`{name}` must be {expected}, not {}", describe(item))),
        };
        match checked {
            Ok(value) => {
                values.insert(name.to_owned(), value);
            }
            Err(message) => problems.at(key.span(), message),
        }
    }
    values
}

/// What was expected instead, as the end of a sentence.
type Expected = &'static str;

/// A value must be of the type of its default.
fn check(value: &Value, default: Option<&Value>) -> Result<(), Expected> {
    let expected = match default {
        None | Some(Value::Null) => return Ok(()),
        Some(default) => kind(default),
    };
    let found = kind(value);
    // A whole number may stand where a fraction may.
    if found == expected || (expected == FRACTION && found == WHOLE) {
        Ok(())
    } else {
        Err(expected)
    }
}

const WHOLE: Expected = "an integer";
const FRACTION: Expected = "a number";

fn kind(value: &Value) -> Expected {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => FRACTION,
        Value::Number(_) => WHOLE,
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// The same value without its place on the page; a date becomes text.
fn value(item: &Item) -> Result<Value, Expected> {
    match item {
        Item::Value(value) => plain(value),
        Item::Table(table) => {
            let entries = table.iter().map(|(key, item)| Ok((key.to_owned(), value(item)?)));
            entries.collect::<Result<_, _>>().map(Value::Object)
        }
        Item::ArrayOfTables(tables) => {
            let tables = tables.iter().map(|table| value(&Item::Table(table.clone())));
            tables.collect::<Result<_, _>>().map(Value::Array)
        }
        Item::None => Err("a value"),
    }
}

fn plain(value: &Toml) -> Result<Value, Expected> {
    Ok(match value {
        Toml::String(text) => Value::from(text.value().as_str()),
        Toml::Integer(number) => Value::from(*number.value()),
        Toml::Float(number) if !number.value().is_finite() => return Err("a finite number"),
        Toml::Float(number) => Value::from(*number.value()),
        Toml::Boolean(truth) => Value::from(*truth.value()),
        Toml::Datetime(date) => Value::from(date.value().to_string()),
        Toml::Array(list) => Value::Array(list.iter().map(plain).collect::<Result<_, _>>()?),
        Toml::InlineTable(table) => {
            let entries = table.iter().map(|(key, value)| Ok((key.to_owned(), plain(value)?)));
            Value::Object(entries.collect::<Result<_, Expected>>()?)
        }
    })
}
