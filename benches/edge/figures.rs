//! What is measured of the edge, in which unit, and what it has to come to.

use benches::figures::{Against, Figure, Table, Target};

/// Phoenix on Bandit, on this kind of machine and not in this run; see the page.
const PHOENIX_GET: f64 = 8_668.0;
const PHOENIX_TRIPS: f64 = 11_800.0;
const PHOENIX_BYTES: f64 = 30_432.0;
const PHOENIX_FAN: [(usize, f64); 2] = [(1_000, 28_567.0), (5_000, 28_748.0)];

/// All tables, in the order in which they are shown.
pub(crate) fn tables() -> Vec<Table> {
    vec![
        Table { title: "Against Phoenix", against: "Phoenix", figures: phoenix() },
        Table { title: "Against the limit", against: "limit", figures: limit() },
        Table { title: "Alone", against: "promised", figures: alone() },
    ]
}

fn phoenix() -> Vec<Figure> {
    let peer = |title: &str, name: &str, value: f64, target: Target| {
        Figure::new(title, name, Against::Value(value), target)
    };
    let mut figures = vec![
        peer("GET /health, requests/s", "get", PHOENIX_GET, Target::AtLeast(5.0)),
        peer(
            "request and reply over 100 sockets, round trips/s",
            "trips",
            PHOENIX_TRIPS,
            Target::AtLeast(3.0),
        ),
        peer("bytes an idle joined connection", "bytes", PHOENIX_BYTES, Target::None),
    ];
    figures.extend(PHOENIX_FAN.iter().map(|(subscribers, value)| {
        let title = format!("events to {subscribers} subscribers, deliveries/s");
        peer(&title, &format!("fan/{subscribers}"), *value, Target::AtLeast(3.0))
    }));
    figures
}

fn limit() -> Vec<Figure> {
    let against = |title: &str, name: &str| {
        Figure::new(title, name, Against::Figure(format!("bare/{name}")), Target::None)
    };
    vec![
        against("GET, requests/s, against bare hyper", "get"),
        against("round trips/s, against a bare echo", "trips"),
        against("deliveries/s to 1,000, against a bare broadcast", "fan/1000"),
        against("deliveries/s to 5,000, against a bare broadcast", "fan/5000"),
    ]
}

fn alone() -> Vec<Figure> {
    let promised = |title: &str, name: &str, value: f64| {
        Figure::new(title, name, Against::Value(value), Target::AtMost(1.0))
    };
    let shown = |title: &str, name: &str| Figure::new(title, name, Against::Nothing, Target::None);
    vec![
        promised("bytes an idle joined connection, at 10,000", "bytes", 14.0 * 1_024.0),
        shown("joins/s, each with its connection", "joins"),
        promised("a command over HTTP at 300/s, p50, ms", "p50", 3.0),
        promised("a command over HTTP at 300/s, p99, ms", "p99", 15.0),
        shown("of these, refused", "refused"),
        shown("slow consumer: code it is closed with", "slow/code"),
        shown("slow consumer: share of all that 20 healthy neighbours received", "slow/share"),
        promised("slow consumer: growth of the server, MiB", "slow/growth", 32.0),
    ]
}
