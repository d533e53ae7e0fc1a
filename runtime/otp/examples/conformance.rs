//! Plays scenarios of supervision and prints them with our trace.
//!
//! `cargo run --release -p otp --example conformance -- FILE.jsonl` reads one scenario a line from
//! the file, or from standard input without one, and prints each with its trace, in order.

use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "comparing traces is the business of the test")]
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
    let input: Box<dyn BufRead> = match std::env::args().nth(1) {
        Some(path) => {
            let file = std::fs::File::open(&path).map_err(|error| format!("{path}: {error}"))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(io::stdin().lock()),
    };
    let mut output = io::BufWriter::new(io::stdout().lock());
    for (place, line) in input.lines().enumerate() {
        let number = place + 1;
        let line = line.map_err(|error| format!("line {number}: {error}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let played = support::play(&line).map_err(|error| format!("line {number}: {error}"))?;
        writeln!(output, "{played}").map_err(|error| error.to_string())?;
    }
    output.flush().map_err(|error| error.to_string())
}
