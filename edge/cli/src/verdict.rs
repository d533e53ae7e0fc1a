//! The verdict: whether the chain of the log holds, and where it is broken.

use std::io;
use std::time::Duration;

use platform::operator::ChainReport;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::options::{Format, Style};
use crate::screen::{Screen, Tint, tinted};
use crate::words::{count, harmless};

/// How fast a walk is, to say how long it will still take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Events checked so far.
    pub events: u64,
    /// The last position checked.
    pub position: i64,
    /// Where it will end.
    pub until: i64,
    /// How long it has taken so far.
    pub elapsed: Duration,
}

impl Pace {
    /// One line about it.
    #[must_use]
    pub fn line(&self) -> String {
        let millis = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = self.events.saturating_mul(1_000) / millis;
        let left = u64::try_from(self.until - self.position).unwrap_or_default();
        let percent = self.position.saturating_mul(100) / self.until.max(1);
        let seconds = left.checked_div(rate).map(|seconds| format!(", {} s left", count(seconds)));
        format!(
            "{} events, {} a second, {percent} %{}",
            count(self.events),
            count(rate),
            seconds.unwrap_or_default()
        )
    }
}

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
    let listed = u64::try_from(report.broken.len()).unwrap_or(u64::MAX);
    let sentence = if report.holds {
        let sentence = format!("the chain holds: {walked}, every link as it should be");
        tinted(&sentence, Tint::Good, screen.has_colour)
    } else {
        let places = counted(listed.max(report.broken_count), "place", "places");
        let sentence = format!("the chain is broken at {places}; {walked} were walked");
        tinted(&sentence, Tint::Bad, screen.has_colour)
    };
    let mut lines = vec![sentence];
    if report.archived > 0 {
        lines.push(format!(
            "{} lie in the archive: their links were followed, their content was not looked at",
            counted(report.archived, "event", "events")
        ));
    }
    lines.extend(report.broken.iter().map(finding));
    if report.broken_count > listed {
        lines.push(format!("and {} more", count(report.broken_count - listed)));
    }
    screen.lines(&lines)
}

/// What is wrong, where, and what to do, on one line.
fn finding(found: &Value) -> String {
    let text = |name: &str| match &found[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let places = [
        ("position", "position "),
        ("org_sequence", "number "),
        ("org_id", "organisation "),
        ("event_id", "event "),
    ];
    let places: Vec<String> =
        places.iter().filter_map(|(name, words)| Some(format!("{words}{}", text(name)?))).collect();
    let problem = text("problem").unwrap_or_default();
    let said = [text("what"), text("advice")].into_iter().flatten().collect::<Vec<_>>();
    harmless(&format!("{}: {problem}: {}", places.join(", "), said.join("; ")))
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_says_how_long_it_will_still_take() {
        let pace = Pace {
            events: 600_000,
            position: 600_000,
            until: 1_500_000,
            elapsed: Duration::from_secs(2),
        };

        assert_eq!(pace.line(), "600,000 events, 300,000 a second, 40 %, 3 s left");
        let begun = Pace { events: 0, position: 0, until: 0, elapsed: Duration::ZERO };
        assert_eq!(begun.line(), "0 events, 0 a second, 0 %");
    }
}
