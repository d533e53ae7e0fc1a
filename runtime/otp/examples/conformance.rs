//! Plays scenarios of supervision and prints them with our trace.
//!
//! `cargo run --release -p otp --example conformance -- FILE.jsonl` reads one scenario a line from
//! the file, or from standard input without one, and prints each with its trace, in order. A
//! `trace` that is there already is left out, and blank lines are skipped. At the first line that
//! is no scenario it stops, says on standard error what is wrong and where, and exits with 1.

use std::io::{self, BufReader, Write};
use std::process::ExitCode;

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "comparing traces is the business of the tests")]
mod support;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; there is nowhere else to complain.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let output = io::BufWriter::new(io::stdout().lock());
    let mut arguments = std::env::args_os().skip(1);
    let (file, rest) = (arguments.next(), arguments.next());
    if rest.is_some() {
        return Err("usage: conformance [FILE.jsonl]".to_owned());
    }
    let Some(path) = file else {
        return support::play_lines(io::stdin().lock(), output);
    };
    let path = std::path::PathBuf::from(path);
    let placed = |error: String| format!("{}: {error}", path.display());
    let file = std::fs::File::open(&path).map_err(|error| placed(error.to_string()))?;
    support::play_lines(BufReader::new(file), output).map_err(placed)
}
