//! What came out: tables for a person, and the page that keeps them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crate::figures::{Against, Figure, Session, Table};

/// Below this heading the page is written by hand, and kept.
const KEPT_FROM: &str = "## Reading";

/// All tables, with the figures that were taken.
#[must_use]
pub fn tables(session: &Session, tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        let _ = writeln!(text, "## {}\n", table.title);
        let _ = writeln!(text, "| figure | {} | ours | ratio | target | |", table.against);
        text.push_str("|---|---|---|---|---|---|\n");
        text.extend(table.figures.iter().filter_map(|figure| row(session, figure)));
        text.push('\n');
    }
    text
}

fn row(session: &Session, figure: &Figure) -> Option<String> {
    let ours = session.median(&figure.name)?;
    let (other, ratio) = match &figure.against {
        Against::Figure(other) => (session.median(other)?, session.ratio(&figure.name, other)?),
        Against::Value(value) => (*value, ours / value),
        Against::Nothing => {
            return Some(format!("| {} | – | {} | – | – | – |\n", figure.title, short(ours)));
        }
    };
    let (target, verdict) = figure.target.verdict(ratio);
    let (other, ours) = (short(other), short(ours));
    Some(format!("| {} | {other} | {ours} | {ratio:.2} | {target} | {verdict} |\n", figure.title))
}

/// Three digits that count, or all of a large number.
fn short(value: f64) -> String {
    match value {
        1_000.0.. => thousands(value),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints the tables.
#[expect(clippy::print_stdout, reason = "printing the figures is what a benchmark is for")]
pub fn show(text: &str) {
    println!("{text}");
}

/// Says what is being done.
#[expect(clippy::print_stderr, reason = "whoever waits for minutes wants to see it move")]
pub fn progress(text: &str) {
    eprintln!("{text}");
}

/// How many tasks wanted to run in the last minute.
#[must_use]
pub fn load_now() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Writes the page: its head, when and where, the tables; what follows its heading "Reading" was
/// written by hand and stays. `load` says what the benchmark itself makes of the load.
///
/// # Panics
/// When the page cannot be written.
pub fn write(page: &Path, head: &str, load: &str, tables: &str, session: &Session) {
    let before = fs::read_to_string(page).unwrap_or_default();
    let kept = before.find(KEPT_FROM).map_or("", |place| &before[place..]);
    let text = format!("{head}\n\n{}{tables}{kept}", circumstances(load, session));
    fs::write(page, text.trim_end().to_owned() + "\n").expect("the page can be written");
}

fn circumstances(load: &str, session: &Session) -> String {
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let read = |path| first(fs::read_to_string(path).unwrap_or_default());
    let memory = read("/proc/meminfo");
    let kibibytes = memory.split_whitespace().nth(1).and_then(|text| text.parse::<f64>().ok());
    let gibibytes = kibibytes.unwrap_or_default() / 1_048_576.0;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let lock = env!("CARGO_MANIFEST_DIR").to_owned() + "/../Cargo.lock";
    let lock = fs::read_to_string(lock).unwrap_or_default();
    format!(
        "- date: {}\n\
         - machine: {cores} cores, {gibibytes:.0} GiB, kernel {}, load {:.1} (median of the \
         rounds; {load})\n\
         - versions: {}, {}, sqlx {}, tokio {}\n\n",
        otp::Clock::system().now().format("%Y-%m-%d"),
        read("/proc/sys/kernel/osrelease"),
        session.median("load").unwrap_or_default(),
        output(&env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()), &["--version"]),
        output("psql", &["--version"]).replace("psql (PostgreSQL)", "PostgreSQL"),
        locked(&lock, "sqlx"),
        locked(&lock, "tokio"),
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "unknown".to_owned())
}

/// The version of a package in the lock file.
fn locked(lock: &str, package: &str) -> String {
    let entry = format!("name = \"{package}\"\nversion = \"");
    let version = lock.split_once(&entry).and_then(|(_, rest)| rest.split('"').next());
    version.unwrap_or("unknown").to_owned()
}
