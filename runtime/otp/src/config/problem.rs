//! Problems: what is wrong with a page, said so that the operator can mend it in one go.

use std::fmt;
use std::ops::Range;

/// One mistake on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The name of the page, as the caller gave it.
    pub file: String,
    /// The line, counted from one.
    pub line: usize,
    /// What is wrong, and the nearest thing that would be right.
    pub message: String,
    /// The offending line; empty when something is missing rather than wrong.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        if !self.text.is_empty() {
            write!(f, "\n    {}", self.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with the page, in the order of its lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The page under inspection, and what was found so far.
pub(super) struct Problems<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<ConfigError>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    /// Reports a mistake at a place on the page.
    pub(super) fn at(&mut self, span: Option<Range<usize>>, message: String) {
        let start = span.map_or(0, |span| span.start).min(self.text.len());
        let line = self.text.get(..start).unwrap_or_default().matches('\n').count() + 1;
        let text = self.text.lines().nth(line - 1).unwrap_or_default().trim_end().to_owned();
        self.found.push(ConfigError { file: self.file.to_owned(), line, message, text });
    }

    /// Reports something that should be on the page and is not; its place is the end.
    pub(super) fn missing(&mut self, message: String) {
        let line = self.text.lines().count().max(1);
        let file = self.file.to_owned();
        self.found.push(ConfigError { file, line, message, text: String::new() });
    }

    /// Everything found, by line; `None` if the page is right.
    pub(super) fn into_errors(mut self) -> Option<ConfigErrors> {
        self.found.sort_by_key(|error| error.line);
        (!self.found.is_empty()).then_some(ConfigErrors(self.found))
    }
}

/// Half a sentence that leads to the right name: the nearest one, or all of them when none is near.
pub(super) fn hint<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    let distance = |name: &str| strsim::damerau_levenshtein(wrong, name);
    let nearest = names.iter().copied().min_by_key(|name| distance(name));
    match nearest {
        None => "nothing may be written here".to_owned(),
        Some(name) if distance(name) <= wrong.len().max(name.len()) / 2 => {
            format!("did you mean `{name}`?")
        }
        Some(_) => format!("expected one of `{}`", names.join("`, `")),
    }
}
