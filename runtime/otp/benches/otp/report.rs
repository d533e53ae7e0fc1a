//! What came out: tables for a person, and the page that keeps them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crate::figures::{FIGURES, Figure, Samples};
use crate::{Session, Side, THREADS};

/// Below this heading the page is written by hand, and kept.
const KEPT_FROM: &str = "## Reading";

/// One table for each number of threads.
pub(crate) fn tables(session: &Session) -> String {
    let mut text = String::new();
    for threads in THREADS {
        let plural = if threads == 1 { "" } else { "s" };
        let _ = writeln!(text, "## {threads} thread{plural}\n");
        text.push_str("| figure | Erlang median / best | ours median / best | ");
        text.push_str("ratio of medians | of bests | target | |\n");
        text.push_str("|---|---|---|---|---|---|---|\n");
        for figure in &FIGURES {
            text.extend(row(session, threads, figure));
        }
        text.push('\n');
    }
    text
}

fn row(session: &Session, threads: usize, figure: &Figure) -> Option<String> {
    let of = |side| {
        let samples = session.get(&(threads, side, figure.name.to_owned()))?;
        Some((samples.median()?, samples.best(figure.is_rate)?))
    };
    let (erlang, erlang_best) = of(Side::Erlang)?;
    let (ours, ours_best) = of(Side::Ours)?;
    let ratio = ours / erlang;
    let (target, verdict) = figure.target.verdict(ratio);
    Some(format!(
        "| {} | {} / {} | {} / {} | {ratio:.2} | {:.2} | {target} | {verdict} |\n",
        figure.title,
        short(erlang),
        short(erlang_best),
        short(ours),
        short(ours_best),
        ours_best / erlang_best,
    ))
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[expect(clippy::print_stdout, reason = "printing the figures is what a benchmark is for")]
pub(crate) fn show(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "whoever waits for minutes wants to see it move")]
pub(crate) fn progress(round: usize, rounds: usize) {
    eprintln!("round {round} of {rounds}");
}

/// How many tasks wanted to run in the last minute.
pub(crate) fn load_now() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Writes the page; what follows its heading "Reading" was written by hand and stays.
///
/// # Panics
/// When the page cannot be written.
pub(crate) fn write(page: &Path, tables: &str, rounds: usize, load: &Samples) {
    let before = fs::read_to_string(page).unwrap_or_default();
    let kept = before.find(KEPT_FROM).map_or("", |place| &before[place..]);
    let text = format!("{}{tables}{kept}", head(rounds, load));
    fs::write(page, text.trim_end().to_owned() + "\n").expect("the page can be written");
}

fn head(rounds: usize, load: &Samples) -> String {
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let read = |path| first(fs::read_to_string(path).unwrap_or_default());
    let memory = read("/proc/meminfo");
    let kibibytes = memory.split_whitespace().nth(1).and_then(|text| text.parse::<f64>().ok());
    let gibibytes = kibibytes.unwrap_or_default() / 1_048_576.0;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let release = r#"io:format("~s", [erlang:system_info(otp_release)]), halt()."#;
    let lock = env!("CARGO_MANIFEST_DIR").to_owned() + "/../../Cargo.lock";
    let lock = fs::read_to_string(lock).unwrap_or_default();
    format!(
        "# The supervision crate and Erlang\n\n\
         The same work on both, as `make bench-otp` does it: {rounds} rounds of each side for each \
         number of threads, in turns, each round a process of its own. Erlang runs a compiled \
         module with `+S n:n`, we run on tokio's multi-threaded scheduler with n workers and the \
         server's allocator. A ratio is ours divided by Erlang's: below 1 is better for times and \
         bytes, above 1 for rates. Both sides start ordinary children under supervisors as their \
         users do, with reports and spans going nowhere.\n\n\
         - date: {}\n\
         - machine: {cores} cores, {gibibytes:.0} GiB, kernel {}, load {:.1} (median of the \
         rounds; the benchmark itself makes 1 to 2)\n\
         - versions: Erlang/OTP {}, {}, ractor {}, tokio {}, mimalloc {}\n\n",
        otp::Clock::system().now().format("%Y-%m-%d"),
        read("/proc/sys/kernel/osrelease"),
        load.median().unwrap_or_default(),
        output("erl", &["-noshell", "-eval", release]),
        output(&env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()), &["--version"]),
        locked(&lock, "ractor"),
        locked(&lock, "tokio"),
        locked(&lock, "mimalloc"),
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
