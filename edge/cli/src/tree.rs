//! The tree: every process of the platform, drawn in a terminal.

use std::time::Duration;

use platform::Timestamp;
use platform::operator::ProcessNode;

use crate::screen::{Tint, tinted};
use crate::words::{clipped, count, harmless, padded, span, width};

const GAP: &str = "  ";
/// The last column is left out where it would have less room than this.
const LAST_EXIT_MIN: usize = 12;
/// A process that came back within this time is drawn attention to.
const RECENT: Duration = Duration::from_secs(10);

/// What a line says, before it is laid out.
struct Row {
    branch: String,
    name: String,
    strategy: String,
    status: String,
    tint: Tint,
    restarts: String,
    uptime: String,
    mailbox: String,
    last_exit: String,
}

/// The tree and a sentence about it, in lines of at most `columns` columns.
pub(crate) fn drawing(
    root: &ProcessNode,
    now: Timestamp,
    columns: Option<usize>,
    has_colour: bool,
) -> Vec<String> {
    let mut rows = Vec::new();
    collect(root, String::new(), "", now, &mut rows);
    let layout = Layout::fitting(&rows, columns);
    let mut lines = vec![tinted(&layout.header(), Tint::Faint, has_colour)];
    lines.extend(rows.iter().map(|row| layout.line(row, has_colour)));
    lines.push(String::new());
    lines.push(clipped(&summary(root), columns.unwrap_or(usize::MAX)));
    lines
}

fn collect(node: &ProcessNode, branch: String, below: &str, now: Timestamp, rows: &mut Vec<Row>) {
    rows.push(Row::of(node, branch, now));
    let count = node.children.len();
    for (index, child) in node.children.iter().enumerate() {
        let (elbow, trunk) =
            if index + 1 == count { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        collect(child, format!("{below}{elbow}"), &format!("{below}{trunk}"), now, rows);
    }
}

impl Row {
    fn of(node: &ProcessNode, branch: String, now: Timestamp) -> Self {
        let since = |then: Timestamp| (now - then).to_std().unwrap_or_default();
        let (symbol, tint) = sign(&node.status);
        let is_back =
            node.status == "running" && node.last_exit_at.is_some_and(|at| since(at) < RECENT);
        let uptime = node.started_at.filter(|_| node.status == "running").map(|at| span(since(at)));
        Self {
            branch,
            name: harmless(&node.id),
            strategy: node.strategy.as_deref().map(harmless).unwrap_or_default(),
            status: format!("{symbol} {}", harmless(&node.status)),
            tint: if is_back { Tint::Careful } else { tint },
            restarts: count(node.restarts),
            uptime: uptime.unwrap_or_default(),
            mailbox: count(node.mailbox),
            last_exit: remarks(node, now),
        }
    }
}

/// Why it ended last, and what an operator should know about what may happen next.
fn remarks(node: &ProcessNode, now: Timestamp) -> String {
    let mut remarks = Vec::new();
    if let Some(reason) = &node.last_exit {
        let ago = node.last_exit_at.map(|at| span((now - at).to_std().unwrap_or_default()));
        let ago = ago.map(|ago| format!(", {ago} ago")).unwrap_or_default();
        remarks.push(format!("{}{ago}", harmless(reason)));
    }
    if let Some(until) = node.quarantined_until {
        remarks
            .push(format!("tried again in {}", span((until - now).to_std().unwrap_or_default())));
    }
    if let (Some(used @ 1..), Some(max), Some(within)) =
        (node.restarts_in_window, node.max_restarts, node.within_ms)
    {
        let within = span(Duration::from_millis(within));
        remarks.push(format!("{used} of {max} restarts used within {within}"));
    }
    match (node.runtime.as_deref(), node.threads) {
        (None, _) => {}
        (Some("dedicated"), Some(1)) => remarks.push("on a thread of its own".to_owned()),
        (Some("dedicated"), Some(threads)) => {
            remarks.push(format!("on {} threads of its own", count(threads.into())));
        }
        (Some(other), _) => remarks.push(format!("runtime {}", harmless(other))),
    }
    remarks.join("; ")
}

/// The symbol and colour of a status. The word stands beside it, for those who see neither.
fn sign(status: &str) -> (&'static str, Tint) {
    match status {
        "running" => ("●", Tint::Good),
        "starting" => ("◐", Tint::Careful),
        "restarting" => ("↻", Tint::Careful),
        "stopping" => ("◌", Tint::Careful),
        "stopped" => ("○", Tint::Faint),
        "quarantined" => ("⊘", Tint::Bad),
        _ => ("?", Tint::Careful),
    }
}

/// How many processes there are, and in which states those are that do not run.
fn summary(root: &ProcessNode) -> String {
    let mut states: Vec<(String, u64)> = Vec::new();
    tally(root, &mut states);
    let total: u64 = states.iter().map(|(_, count)| count).sum();
    let states: Vec<String> = states
        .iter()
        .map(|(state, number)| format!("{} {}", count(*number), harmless(state)))
        .collect();
    format!("{} processes: {}", count(total), states.join(", "))
}

fn tally(node: &ProcessNode, states: &mut Vec<(String, u64)>) {
    match states.iter_mut().find(|(state, _)| *state == node.status) {
        Some((_, count)) => *count += 1,
        None => states.push((node.status.clone(), 1)),
    }
    node.children.iter().for_each(|child| tally(child, states));
}

/// Which columns there are room for, and how wide they are; zero means left out.
#[derive(Debug, Clone, Copy)]
struct Layout {
    name: usize,
    has_strategy: bool,
    status: usize,
    restarts: usize,
    uptime: usize,
    mailbox: usize,
    last_exit: usize,
}

impl Layout {
    /// Columns go from the least to the most important until the rest fits.
    fn fitting(rows: &[Row], columns: Option<usize>) -> Self {
        let widest = |header: &str, cell: fn(&Row) -> &str| {
            rows.iter().map(|row| width(cell(row))).max().unwrap_or_default().max(width(header))
        };
        let mut layout = Self {
            name: widest_name(rows, true),
            has_strategy: true,
            status: widest("STATUS", |row| &row.status),
            restarts: widest("RESTARTS", |row| &row.restarts),
            uptime: widest("UPTIME", |row| &row.uptime),
            mailbox: widest("MAILBOX", |row| &row.mailbox),
            last_exit: widest("LAST EXIT", |row| &row.last_exit),
        };
        let Some(columns) = columns else { return layout };
        let narrower: [fn(&mut Self); 6] = [
            |layout| layout.has_strategy = false,
            |layout| layout.mailbox = 0,
            |layout| layout.last_exit = 0,
            |layout| layout.uptime = 0,
            |layout| layout.restarts = 0,
            |layout| layout.status = 0,
        ];
        let mut steps = narrower.iter();
        while !layout.fit(columns) {
            let Some(step) = steps.next() else {
                layout.name = columns;
                break;
            };
            step(&mut layout);
            layout.name = widest_name(rows, layout.has_strategy);
        }
        layout
    }

    /// Whether all is in, with the last column narrowed as far as it may be.
    fn fit(&mut self, columns: usize) -> bool {
        let fixed: usize = [self.status, self.restarts, self.uptime, self.mailbox]
            .iter()
            .filter(|width| **width > 0)
            .map(|width| width + GAP.len())
            .sum::<usize>()
            + self.name;
        if self.last_exit == 0 {
            return fixed <= columns;
        }
        let room = columns.saturating_sub(fixed + GAP.len());
        let is_fit = room >= self.last_exit.min(LAST_EXIT_MIN);
        if is_fit {
            self.last_exit = self.last_exit.min(room);
        }
        is_fit
    }

    fn header(self) -> String {
        let cells = [
            (padded(&clipped("PROCESS", self.name), self.name), self.name),
            (padded("STATUS", self.status), self.status),
            (right("RESTARTS", self.restarts), self.restarts),
            (right("UPTIME", self.uptime), self.uptime),
            (right("MAILBOX", self.mailbox), self.mailbox),
            (clipped("LAST EXIT", self.last_exit), self.last_exit),
        ];
        joined(cells)
    }

    fn line(self, row: &Row, has_colour: bool) -> String {
        let paint = |text: &str, tint| tinted(text, tint, has_colour && !text.is_empty());
        let room = self.name.saturating_sub(width(&row.branch));
        let name = clipped(&row.name, room);
        let strategy = if self.has_strategy && !row.strategy.is_empty() && room > width(&name) {
            format!(" {}", clipped(&row.strategy, room - width(&name) - 1))
        } else {
            String::new()
        };
        let blanks = " ".repeat(room.saturating_sub(width(&name) + width(&strategy)));
        let branch = clipped(&row.branch, self.name);
        let name = format!(
            "{}{name}{}{blanks}",
            paint(&branch, Tint::Faint),
            paint(&strategy, Tint::Faint)
        );
        let restarts = right(&row.restarts, self.restarts);
        let restarts = if row.restarts == "0" { restarts } else { paint(&restarts, Tint::Strong) };
        let cells = [
            (name, self.name),
            (paint(&padded(&row.status, self.status), row.tint), self.status),
            (restarts, self.restarts),
            (right(&row.uptime, self.uptime), self.uptime),
            (right(&row.mailbox, self.mailbox), self.mailbox),
            (clipped(&row.last_exit, self.last_exit), self.last_exit),
        ];
        joined(cells)
    }
}

fn widest_name(rows: &[Row], has_strategy: bool) -> usize {
    let width_of = |row: &Row| {
        let strategy =
            if has_strategy && !row.strategy.is_empty() { width(&row.strategy) + 1 } else { 0 };
        width(&row.branch) + width(&row.name) + strategy
    };
    rows.iter().map(width_of).max().unwrap_or_default().max(width("PROCESS"))
}

fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

fn joined(cells: [(String, usize); 6]) -> String {
    let shown: Vec<String> =
        cells.into_iter().filter(|(_, width)| *width > 0).map(|(text, _)| text).collect();
    shown.join(GAP).trim_end().to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn process(id: &str, status: &str, more: &Value, children: &[Value]) -> Value {
        let kind = if children.is_empty() { "worker" } else { "supervisor" };
        let mut node = json!({
            "id": id, "path": id, "kind": kind, "status": status, "restart": "permanent",
            "incarnation": 1, "restarts": 0, "mailbox": 0,
            "started_at": "2026-08-01T00:00:00Z", "children": children,
        });
        for (name, value) in more.as_object().expect("an object") {
            node[name] = value.clone();
        }
        node
    }

    /// A tree with something of everything.
    pub(crate) fn tree() -> ProcessNode {
        let one = json!({"strategy": "one_for_one"});
        let engine = json!({"restarts": 2, "incarnation": 3, "last_exit": "killed", "mailbox": 1204,
            "started_at": "2026-08-01T02:04:55Z", "last_exit_at": "2026-08-01T02:04:55Z"});
        let budget = json!({"strategy": "one_for_one",
            "max_restarts": 3, "within_ms": 5000, "restarts_in_window": 2});
        let quarantine = json!({"strategy": "one_for_one",
            "last_exit": "shutdown", "started_at": null,
            "last_exit_at": "2026-08-01T02:04:00Z", "quarantined_until": "2026-08-01T02:05:30Z"});
        let back_off = json!({"last_exit": "error:the line is\u{1b}[2J dead",
            "last_exit_at": "2026-08-01T01:05:00Z"});
        let recruit = process(
            "recruit",
            "running",
            &budget,
            &[process("scoring_engine", "running", &engine, &[])],
        );
        let payroll = process(
            "payroll",
            "quarantined",
            &quarantine,
            &[process("queue", "stopped", &json!({}), &[])],
        );
        let tree = process(
            "root",
            "running",
            &one,
            &[
                process(
                    "store",
                    "running",
                    &json!({"strategy": "rest_for_one"}),
                    &[
                        process("sealer", "running", &json!({}), &[]),
                        process("partition_keeper", "restarting", &back_off, &[]),
                    ],
                ),
                process("domains", "running", &one, &[recruit, payroll]),
            ],
        );
        serde_json::from_value(tree).expect("a tree")
    }

    pub(crate) fn now() -> Timestamp {
        serde_json::from_value(json!("2026-08-01T02:05:00Z")).expect("an instant")
    }

    fn text(columns: Option<usize>) -> String {
        drawing(&tree(), now(), columns, false).join("\n")
    }

    #[test]
    fn the_tree_is_drawn_with_all_there_is_to_know() {
        insta::assert_snapshot!(text(None));
    }

    #[test]
    fn a_terminal_of_eighty_columns_loses_the_least_important() {
        insta::assert_snapshot!(text(Some(80)));
    }

    #[test]
    fn a_phone_still_shows_what_runs() {
        insta::assert_snapshot!(text(Some(44)));
    }

    #[test]
    fn a_domain_on_threads_of_its_own_says_so() {
        let dedicated = json!({"runtime": "dedicated", "threads": 2});
        let domain = process("payroll", "running", &dedicated, &[]);
        let domain: ProcessNode = serde_json::from_value(domain).expect("a process");

        let drawn = drawing(&domain, now(), None, false).join("\n");

        assert!(drawn.contains("on 2 threads of its own"), "{drawn}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in 1..200 {
            for line in drawing(&tree(), now(), Some(columns), false) {
                assert!(width(&line) <= columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn colours_add_nothing_but_colours() {
        let mut plain = drawing(&tree(), now(), Some(100), true).join("\n");
        for code in
            ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"]
        {
            assert!(plain.contains(code), "{code:?}");
            plain = plain.replace(code, "");
        }

        let plain: Vec<&str> = plain.lines().map(str::trim_end).collect();
        assert_eq!(plain.join("\n"), text(Some(100)));
    }
}
