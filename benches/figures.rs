//! Figures: what is measured, in which unit, and what it has to come to.

use std::collections::BTreeMap;

use crate::server::Speed;

/// How much there is before something is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Size(i64);

impl Size {
    /// A number, as in `1000000`.
    ///
    /// # Panics
    /// When the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.parse().expect("--sizes takes numbers"))
    }

    /// How many.
    #[must_use]
    pub const fn count(self) -> i64 {
        self.0
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_smallest(self) -> bool {
        self.0 == 0
    }

    /// Its name in databases and figures.
    #[must_use]
    pub fn name(self) -> String {
        self.0.to_string()
    }

    /// For people, as in `1 M`.
    #[must_use]
    pub fn title(self) -> String {
        match self.0 {
            0 => "no".to_owned(),
            count if count % 1_000_000 == 0 => format!("{} M", count / 1_000_000),
            count => format!("{} k", count / 1_000),
        }
    }
}

/// The values of each figure, one a round, in the order of the rounds.
#[derive(Default)]
pub struct Session(BTreeMap<String, Vec<f64>>);

impl Session {
    /// Adds what a figure came to in this round.
    pub fn add(&mut self, name: &str, value: f64) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    /// Adds a speed, and what it cost under `processor/`.
    pub fn add_speed(&mut self, name: &str, speed: &Speed) {
        self.add(name, speed.per_second);
        self.add(&format!("processor/{name}"), speed.processor_us);
    }

    /// The median of what a figure came to.
    #[must_use]
    pub fn median(&self, name: &str) -> Option<f64> {
        median(self.0.get(name)?.clone())
    }

    /// The median of what `ours` came to in each round, divided by `other` in the same round: what
    /// disturbs the machine for a while disturbs both.
    #[must_use]
    pub fn ratio(&self, ours: &str, other: &str) -> Option<f64> {
        let pairs = self.0.get(ours)?.iter().zip(self.0.get(other)?);
        median(pairs.map(|(ours, other)| ours / other).collect())
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let value = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) {
        f64::midpoint(value, values[middle - 1])
    } else {
        value
    })
}

/// With what a figure is compared.
pub enum Against {
    /// Another figure of the same run.
    Figure(String),
    /// A value that was promised or measured elsewhere.
    Value(f64),
    /// It is measured and shown, and nothing was promised.
    Nothing,
}

/// What a comparison must come to.
#[derive(Clone, Copy)]
pub enum Target {
    /// This ratio or less.
    AtMost(f64),
    /// This ratio or more.
    AtLeast(f64),
    /// Nothing was promised.
    None,
}

impl Target {
    /// What the ratio must come to, and whether it does.
    #[must_use]
    pub fn verdict(self, ratio: f64) -> (String, &'static str) {
        let word = |is_met| if is_met { "met" } else { "missed" };
        match self {
            Self::AtMost(limit) => (format!("≤ {limit}"), word(ratio <= limit)),
            Self::AtLeast(limit) => (format!("≥ {limit}"), word(ratio >= limit)),
            Self::None => ("–".to_owned(), "–"),
        }
    }
}

/// One line of a table.
pub struct Figure {
    /// What it is, with its unit.
    pub title: String,
    /// Its name in the session.
    pub name: String,
    /// With what it is compared.
    pub against: Against,
    /// What that has to come to.
    pub target: Target,
}

impl Figure {
    /// A figure of that name.
    #[must_use]
    pub fn new(title: impl Into<String>, name: &str, against: Against, target: Target) -> Self {
        Self { title: title.into(), name: name.to_owned(), against, target }
    }
}

/// A table and what its second column holds.
pub struct Table {
    /// Its heading.
    pub title: &'static str,
    /// What the second column holds.
    pub against: &'static str,
    /// Its lines.
    pub figures: Vec<Figure>,
}
