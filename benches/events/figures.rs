//! What is measured of the log, in which unit, and what it has to come to.

use benches::figures::{Against, Figure, Size, Table, Target};

/// All tables, in the order in which they are shown.
pub(crate) fn tables(sizes: &[Size]) -> Vec<Table> {
    let mut tables = vec![
        Table { title: "Sealed and delivered", against: "limit", figures: delivered() },
        Table { title: "Processor time", against: "limit", figures: processor() },
        Table { title: "Alone", against: "promised", figures: alone() },
        Table { title: "Peers", against: "commanded/eventstore", figures: peers() },
    ];
    let growth: Vec<Figure> =
        sizes.iter().filter(|size| !size.is_smallest()).flat_map(|size| grown(*size)).collect();
    if !growth.is_empty() {
        tables.push(Table { title: "Growth", against: "empty log", figures: growth });
    }
    tables
}

/// Against what `pgbench` reaches with as many clients.
fn delivered() -> Vec<Figure> {
    let of = |writers: usize, organisations: usize| {
        let plural = if organisations == 1 { "" } else { "s" };
        let writing = if writers == 1 { "1 writer" } else { &format!("{writers} writers") };
        let target = if writers == 1 { Target::None } else { Target::AtLeast(0.85) };
        Figure::new(
            format!("events/s, {writing}, {organisations} organisation{plural}"),
            &format!("delivered/{writers}/{organisations}/0"),
            Against::Figure(format!("limit/{writers}")),
            target,
        )
    };
    [1, 8, 32].into_iter().flat_map(|writers| [of(writers, 1), of(writers, 100)]).collect()
}

/// What a command costs all processes together. Where the processor is what runs out, this decides
/// the rates above, and it depends less on what else the machine does.
fn processor() -> Vec<Figure> {
    let of = |writers: usize| {
        let plural = if writers == 1 { "" } else { "s" };
        Figure::new(
            format!("µs of processor time an event, {writers} writer{plural}, 100 organisations"),
            &format!("processor/delivered/{writers}/100/0"),
            Against::Figure(format!("processor/limit/{writers}")),
            Target::None,
        )
    };
    [1, 8, 32].into_iter().map(of).collect()
}

fn alone() -> Vec<Figure> {
    let promised = |title: &str, name: &str, value: f64, is_rate: bool| {
        let target = if is_rate { Target::AtLeast(1.0) } else { Target::AtMost(1.0) };
        Figure::new(title.to_owned(), name, Against::Value(value), target)
    };
    vec![
        promised("command to readable in order at 1,000/s, p50, ms", "p50/0", 3.0, false),
        promised("command to readable in order at 1,000/s, p99, ms", "p99/0", 15.0, false),
        promised("sealer on a backlog, events/s", "seal/0", 40_000.0, true),
        promised("verification, events/s", "verify/0", 100_000.0, true),
        Figure::new(
            "replay into a projection, events/s (against a bare stream of the rows)".to_owned(),
            "replay/0",
            Against::Figure("stream/0".to_owned()),
            Target::AtLeast(0.6),
        ),
        promised("idle, node and server, % of a core", "idle/all", 1.0, false),
        Figure::new("idle, node alone".to_owned(), "idle/node", Against::Nothing, Target::None),
        Figure::new("idle, server alone".to_owned(), "idle/server", Against::Nothing, Target::None),
        Figure::new(
            "idle, transactions/s".to_owned(),
            "idle/transactions",
            Against::Nothing,
            Target::None,
        ),
    ]
}

/// Measured on this kind of machine with their own defaults; see the page.
fn peers() -> Vec<Figure> {
    let peer = |title: &str, name: &str, value: f64, times: f64| {
        Figure::new(title.to_owned(), name, Against::Value(value), Target::AtLeast(times))
    };
    vec![
        peer(
            "single appends/s, 8 writers (ours delivered as well)",
            "delivered/8/100/0",
            653.0,
            8.0,
        ),
        peer("deliveries/s to a consumer of everything", "catch_up/0", 6_019.0, 4.0),
    ]
}

/// The same figures with a past, against those of a log without.
fn grown(size: Size) -> Vec<Figure> {
    let of = |title: &str, name: &str, is_rate: bool| {
        let target = if is_rate { Target::AtLeast(0.8) } else { Target::AtMost(1.2) };
        Figure::new(
            format!("{title}, {} events", size.title()),
            &format!("{name}/{}", size.name()),
            Against::Figure(format!("{name}/0")),
            target,
        )
    };
    vec![
        of("events/s, 8 writers", "delivered/8/100", true),
        of("events/s, 32 writers", "delivered/32/100", true),
        of("p50 at 1,000/s, ms", "p50", false),
        of("p99 at 1,000/s, ms", "p99", false),
        of("sealer on a backlog, events/s", "seal", true),
        of("verification, events/s", "verify", true),
        of("replay into a projection, events/s", "replay", true),
        of("deliveries/s to a consumer of everything", "catch_up", true),
    ]
}
