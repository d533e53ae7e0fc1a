//! The same work on Erlang/OTP and on this crate, in one session, in turns.
//!
//! `scripts/bench-otp.sh` runs this. A round is a process of its own, of `erl` or of this program,
//! so that memory is fresh and nothing of one side is left for the other. Nothing is decided here:
//! machines are noisy, people read the ratio.

mod figures;
mod ours;
mod report;

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::Command;

use figures::Samples;

// What the server runs on, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The numbers of threads that both sides run on, in turns.
const THREADS: [usize; 2] = [1, 2];

/// Who does the work of a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Erlang,
    Ours,
}

/// The values of each figure, by side and number of threads.
type Session = BTreeMap<(usize, Side, String), Samples>;

/// What the command line asks for.
struct Request {
    rounds: usize,
    /// Where `bench.beam` lies.
    beam: PathBuf,
    /// The page to write, if any.
    page: Option<PathBuf>,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let after = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    if let Some(threads) = after("--round") {
        let threads = threads.parse().expect("--round takes a number of threads");
        ours::round(threads, after("--only").as_deref());
        return;
    }
    let Some(beam) = after("--beam") else {
        // `cargo test --benches` runs every benchmark once.
        return;
    };
    let rounds = after("--rounds").map(|rounds| rounds.parse().expect("--rounds takes a number"));
    let request = Request {
        rounds: rounds.unwrap_or(1),
        beam: beam.into(),
        page: after("--page").map(PathBuf::from),
    };
    run(&request);
}

fn run(request: &Request) {
    let mut session = Session::new();
    let mut load = Samples::default();
    for round in 1..=request.rounds {
        for threads in THREADS {
            // Whoever comes first in one round comes second in the next.
            let mut sides = [Side::Erlang, Side::Ours];
            sides.rotate_left(round % 2);
            for side in sides {
                for (name, value) in round_of(side, threads, request) {
                    session.entry((threads, side, name)).or_default().add(value);
                }
                load.extend(report::load_now());
            }
        }
        report::progress(round, request.rounds);
    }
    let text = report::tables(&session);
    report::show(&text);
    if let Some(page) = &request.page {
        report::write(page, &text, request.rounds, &load);
    }
}

/// Runs one round and reads its figures.
///
/// # Panics
/// When the round fails: half a comparison is none.
fn round_of(side: Side, threads: usize, request: &Request) -> Vec<(String, f64)> {
    let mut command = match side {
        Side::Erlang => {
            let mut erl = Command::new("erl");
            erl.args(["+S", &format!("{threads}:{threads}"), "-noinput", "-pa"]);
            erl.arg(&request.beam).args(["-s", "bench", "main"]);
            erl
        }
        Side::Ours => {
            let mut ours = Command::new(env::current_exe().expect("this program has a path"));
            ours.args(["--round", &threads.to_string()]);
            ours
        }
    };
    let output = command.output().expect("the round can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    figures.collect()
}
