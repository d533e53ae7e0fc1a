//! What is measured, in which unit, and how it is to compare with Erlang.

/// What a comparison must come to: ours divided by Erlang's.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// It is measured and shown, and nothing was promised.
    None,
}

/// One thing that both sides measure.
pub(crate) struct Figure {
    /// Its name in the output of a round.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) target: Target,
    /// Whether a higher value is the better one.
    pub(crate) is_rate: bool,
}

const fn latency(name: &'static str, title: &'static str, target: Target) -> Figure {
    Figure { name, title, target, is_rate: false }
}

const fn rate(name: &'static str, title: &'static str, target: Target) -> Figure {
    Figure { name, title, target, is_rate: true }
}

/// All figures, in the order in which they are shown.
pub(crate) const FIGURES: [Figure; 17] = [
    latency("restart_p50", "kill to serving again, one supervisor, p50, µs", Target::AtMost(0.6)),
    latency("restart_p99", "kill to serving again, one supervisor, p99, µs", Target::AtMost(0.8)),
    latency("spread_p50", "same, spread over 100 supervisors, p50, µs", Target::AtMost(0.6)),
    latency("spread_p99", "same, spread over 100 supervisors, p99, µs", Target::AtMost(0.8)),
    latency("call_p50", "call round trip (5 s timeout), p50, ns", Target::AtMost(0.45)),
    latency("call_p99", "call round trip (5 s timeout), p99, ns", Target::None),
    rate("call_rate", "calls of one pair, thousand/s", Target::AtLeast(2.5)),
    latency("spawn", "start under a supervisor, fresh memory, µs/child", Target::None),
    latency("churn", "start and stop under a supervisor, µs/child", Target::AtMost(0.6)),
    rate("cast", "casts of 1 sender, handled, million/s", Target::AtLeast(1.0)),
    rate("cast2", "casts of 2 senders, handled, million/s", Target::AtLeast(1.0)),
    latency("resident", "idle child, bytes resident", Target::AtMost(2.6)),
    latency("tree_start", "start 10,000 in 100 supervisors, ms", Target::AtMost(1.2)),
    latency("tree_stop", "stop 10,000 in 100 supervisors, in order, ms", Target::AtMost(0.8)),
    latency("flat_start", "start 10,000 in one supervisor, ms", Target::AtMost(1.2)),
    latency("flat_stop", "stop 10,000 in one supervisor, in order, ms", Target::AtMost(0.8)),
    latency("heap", "idle child, bytes of heap", Target::None),
];

/// The values of one figure on one side, one a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = f64>) {
        values.into_iter().for_each(|value| self.add(value));
    }

    pub(crate) fn median(&self) -> Option<f64> {
        let middle = self.0.len() / 2;
        let value = *self.0.get(middle)?;
        Some(if self.0.len().is_multiple_of(2) {
            f64::midpoint(value, self.0[middle - 1])
        } else {
            value
        })
    }

    /// The best round, which is the one that the rest of the machine disturbed least.
    pub(crate) fn best(&self, is_rate: bool) -> Option<f64> {
        if is_rate { self.0.last().copied() } else { self.0.first().copied() }
    }
}

impl Target {
    /// What the ratio must come to, and whether it does.
    pub(crate) fn verdict(self, ratio: f64) -> (String, &'static str) {
        let word = |is_met| if is_met { "met" } else { "missed" };
        match self {
            Self::AtMost(limit) => (format!("≤ {limit}"), word(ratio <= limit)),
            Self::AtLeast(limit) => (format!("≥ {limit}"), word(ratio >= limit)),
            Self::None => ("–".to_owned(), "–"),
        }
    }
}
