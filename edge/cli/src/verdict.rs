//! The verdict: whether the chain of the log holds, and where it is broken.

use std::io;

use platform::operator::ChainReport;
use serde_json::json;

use crate::exit::Exit;
use crate::options::{Format, Style};
use crate::print;
use crate::screen::{Screen, Tint, tinted};
use crate::words::count;

/// Prints what a walk over the chain found, and says how the command ends.
pub fn tell_verdict(report: &ChainReport, style: &Style, screen: &mut Screen) -> Exit {
    let verdict = if report.holds { Exit::Done } else { Exit::Failed };
    match print_report(report, style, screen) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            screen.complain(&format!("the verdict cannot be printed: {error}"));
            Exit::Failed
        }
        _ => verdict,
    }
}

fn print_report(report: &ChainReport, style: &Style, screen: &mut Screen) -> io::Result<()> {
    if screen.format(style) == Format::Json {
        return screen.json(&json!(report));
    }
    let walked = format!(
        "{} of {}",
        counted(report.events, "event", "events"),
        counted(report.organisations, "organisation", "organisations")
    );
    let places = u64::try_from(report.broken.len()).unwrap_or(u64::MAX);
    let sentence = if report.holds {
        tinted(
            &format!("the chain holds: {walked}, every link as it should be"),
            Tint::Good,
            screen.has_colour,
        )
    } else {
        let places = counted(places, "place", "places");
        let sentence = format!("the chain is broken at {places}; {walked} were walked");
        tinted(&sentence, Tint::Bad, screen.has_colour)
    };
    let mut lines = vec![sentence];
    if !report.broken.is_empty() {
        lines.push(String::new());
        lines.extend(print::answer(&json!(report.broken), screen.columns));
    }
    screen.lines(&lines)
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}
