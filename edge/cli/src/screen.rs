//! The screen: where answers and complaints go, and what may be drawn there.

use std::io::{self, BufWriter, IsTerminal, Write};

use serde_json::Value;

use crate::options::{Format, Style};
use crate::prompt::{Nobody, Person, Starter};

/// Where a command prints.
pub struct Screen {
    pub(crate) out: Box<dyn Write + Send>,
    pub(crate) err: Box<dyn Write + Send>,
    /// Who can be asked.
    pub(crate) person: Box<dyn Person>,
    /// Whether a person looks at it.
    pub(crate) is_terminal: bool,
    /// Its width, if it has one.
    pub(crate) columns: Option<usize>,
    /// Whether colours mean something there.
    pub(crate) has_colour: bool,
}

/// What a colour says; terminals have their own idea of the shade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tint {
    Good,
    Careful,
    Bad,
    Faint,
    Strong,
}

impl Tint {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Careful => "33",
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// The text in a colour, where there are colours.
pub(crate) fn tinted(text: &str, tint: Tint, has_colour: bool) -> String {
    if has_colour { format!("\u{1b}[{}m{text}\u{1b}[0m", tint.code()) } else { text.to_owned() }
}

/// Height and width of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Size {
    pub(crate) fn of_terminal() -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
        let size = Self { rows: size.ws_row.into(), columns: size.ws_col.into() };
        (size.rows > 0 && size.columns > 0).then_some(size)
    }
}

impl Screen {
    /// The screen of this process: its standard output and standard error.
    #[must_use]
    pub fn standard(style: &Style) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            out: Box::new(BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            person: Box::new(Starter),
            is_terminal,
            columns: if is_terminal { Size::of_terminal().map(|size| size.columns) } else { None },
            has_colour: is_terminal && !style.no_color && environment_allows_colour(),
        }
    }

    /// A screen nobody looks at, for programs and tests.
    #[must_use]
    pub fn plain(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        let person = Box::new(Nobody);
        Self { out, err, person, is_terminal: false, columns: None, has_colour: false }
    }

    /// The form of printing: the one asked for, or the one that fits who reads.
    pub(crate) const fn format(&self, style: &Style) -> Format {
        match style.output {
            Some(format) => format,
            None if self.is_terminal => Format::Table,
            None => Format::Json,
        }
    }

    /// Prints lines and hands them over at once.
    pub(crate) fn lines(&mut self, lines: &[String]) -> io::Result<()> {
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    /// Prints a value as JSON for programs.
    pub(crate) fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{value:#}")?;
        self.out.flush()
    }

    /// Tells a person who looks how far something is, on a line that is written again and again.
    pub(crate) fn progress(&mut self, line: &str) {
        if self.is_terminal {
            let _ = write!(self.err, "\r\u{1b}[K{line}");
            let _ = self.err.flush();
        }
    }

    /// Tells the person what went wrong. A standard error that is gone hears nothing.
    pub(crate) fn complain(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
        let _ = self.err.flush();
    }
}

/// <https://no-color.org>: any value but the empty one.
fn environment_allows_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
