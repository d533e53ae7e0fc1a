//! Text as people type it: blanks at both ends removed, and no longer than its place allows.

use std::ops::RangeInclusive;

use crate::refusal::{Reason, Refusal};

/// Trims `text` and refuses it unless it then has as many characters as `length` allows. `pointer`
/// names its field, for example `/title`.
///
/// # Errors
/// [`BadText`] with the field and what would be allowed.
pub fn trimmed(
    pointer: &'static str,
    text: &str,
    length: RangeInclusive<usize>,
) -> Result<String, BadText> {
    let text = text.trim();
    if text.chars().any(|character| character.is_control() && character != '\n') {
        return Err(BadText::Control { pointer });
    }
    if length.contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err(BadText::Length { pointer, min: *length.start(), max: *length.end() })
    }
}

/// Text does not fit its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// Too short or too long.
    #[error("{} takes {min} to {max} characters, blanks at both ends not counted", field(.pointer))]
    Length {
        /// JSON Pointer to the field.
        pointer: &'static str,
        /// The fewest characters allowed.
        min: usize,
        /// The most characters allowed.
        max: usize,
    },
    /// Contains something that no keyboard writes.
    #[error("{} may not contain control characters", field(.pointer))]
    Control {
        /// JSON Pointer to the field.
        pointer: &'static str,
    },
}

fn field(pointer: &str) -> &str {
    pointer.trim_start_matches('/')
}

impl Refusal for BadText {
    fn reason(&self) -> Reason {
        match self {
            Self::Length { pointer, .. } => Reason::invalid("text_length").at(pointer),
            Self::Control { pointer } => Reason::invalid("control_character").at(pointer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_at_both_ends_do_not_count() {
        let cases =
            [("  Forklift driver ", Some("Forklift driver")), ("  a  ", None), ("\0abc", None)];

        for (typed, expected) in cases {
            assert_eq!(trimmed("/title", typed, 2..=20).ok().as_deref(), expected, "{typed:?}");
        }
    }

    #[test]
    fn a_refused_text_names_its_field_and_what_is_allowed() {
        let refused = trimmed("/title", "x", 3..=120).expect_err("one letter is too short");

        assert_eq!(
            refused.to_string(),
            "title takes 3 to 120 characters, blanks at both ends not counted"
        );
    }
}
