//! What is measured of the queue, in which unit, and what it has to come to.

use benches::figures::{Against, Figure, Size, Table, Target};

/// Oban on this kind of machine, with its own defaults; see the page.
const OBAN_NOOP: f64 = 2_017.0;
const OBAN_INSERT_ALL: f64 = 13_568.0;
const OBAN_SINGLE: [(usize, f64); 3] = [(1, 870.0), (8, 1_602.0), (32, 1_809.0)];

/// All tables, in the order in which they are shown.
pub(crate) fn tables(sizes: &[Size]) -> Vec<Table> {
    let mut tables = vec![
        Table { title: "Against the limit", against: "limit", figures: limit() },
        Table { title: "Against Oban", against: "Oban", figures: oban() },
        Table { title: "Alone", against: "promised", figures: alone() },
    ];
    let growth: Vec<Figure> =
        sizes.iter().filter(|size| !size.is_smallest()).flat_map(|size| grown(*size)).collect();
    if !growth.is_empty() {
        tables.push(Table { title: "Growth", against: "no past", figures: growth });
    }
    tables
}

fn limit() -> Vec<Figure> {
    let against = |title: &str, name: &str, limit: &str, target: Target| {
        Figure::new(title, name, Against::Figure(limit.to_owned()), target)
    };
    vec![
        against("no-op jobs/s, against one bare loop", "noop/0", "bare/1", Target::AtLeast(0.6)),
        against("no-op jobs/s, against two bare loops", "noop/0", "bare/2", Target::None),
        against(
            "µs of processor time a no-op job, against one bare loop",
            "processor/noop/0",
            "processor/bare/1",
            Target::None,
        ),
    ]
}

fn oban() -> Vec<Figure> {
    let peer = |title: &str, name: &str, value: f64, target: Target| {
        Figure::new(title, name, Against::Value(value), target)
    };
    let mut figures = vec![
        peer("no-op jobs/s, limit 50", "noop/0", OBAN_NOOP, Target::AtLeast(5.0)),
        peer("jobs/s enqueued together", "bulk/0", OBAN_INSERT_ALL, Target::AtLeast(3.0)),
    ];
    figures.extend(OBAN_SINGLE.iter().map(|(writers, value)| {
        let title = format!("jobs/s enqueued singly, {writers} at a time");
        peer(&title, &format!("single/{writers}"), *value, Target::None)
    }));
    figures
}

fn alone() -> Vec<Figure> {
    let promised = |title: &str, name: &str, value: f64| {
        Figure::new(title, name, Against::Value(value), Target::AtMost(1.0))
    };
    let shown = |title: &str, name: &str| Figure::new(title, name, Against::Nothing, Target::None);
    vec![
        shown("command jobs/s, effect and completion in one commit", "command"),
        shown("µs of processor time a command job", "processor/command"),
        promised("committed to started at 100/s, p50, ms", "p50", 5.0),
        shown("committed to started at 100/s, p99, ms", "p99"),
        promised("20 idle queues, node and server, % of a core", "idle/all", 1.0),
        shown("20 idle queues, node alone", "idle/node"),
        shown("20 idle queues, server alone", "idle/server"),
        promised("20 idle queues, transactions/s", "idle/transactions", 20.0),
    ]
}

/// The same figures with a past, against those without.
fn grown(size: Size) -> Vec<Figure> {
    let of = |title: &str, name: &str| {
        Figure::new(
            format!("{title}, {} completed", size.title()),
            &format!("{name}/{}", size.name()),
            Against::Figure(format!("{name}/0")),
            Target::AtLeast(0.8),
        )
    };
    vec![of("no-op jobs/s", "noop"), of("jobs/s enqueued together", "bulk")]
}
