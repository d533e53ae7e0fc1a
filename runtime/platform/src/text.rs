//! Text as people type it: blanks at both ends removed, and no longer than its place allows.

use std::ops::RangeInclusive;

use crate::refusal::{Reason, Refusal};

/// Trims `text` and refuses it unless it then has as many characters as `length` allows, something
/// of it can be seen, and nothing in it turns what stands beside it around. `pointer` names its
/// field, for example `/title`.
///
/// # Errors
/// [`BadText`] with the field and what would be allowed.
pub fn trimmed(
    pointer: &'static str,
    text: &str,
    length: RangeInclusive<usize>,
) -> Result<String, BadText> {
    let text = text.trim();
    if text.chars().any(steers) {
        return Err(BadText::Control { pointer });
    }
    if !text.is_empty() && text.chars().all(is_invisible) {
        return Err(BadText::Invisible { pointer });
    }
    if length.contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err(BadText::Length { pointer, min: *length.start(), max: *length.end() })
    }
}

/// Whether `character` is an order to whatever shows the text: to a terminal, or to turn the
/// direction of what follows, by which a text reads as another one.
fn steers(character: char) -> bool {
    let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (character.is_control() && character != '\n')
}

/// Whether nothing is to be seen of `character`: blanks, and what Unicode has without a width.
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}'
                | '\u{e0000}'..='\u{e0fff}'
        )
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
    /// Has characters, and none that can be seen.
    #[error("{} has nothing in it that can be seen", field(.pointer))]
    Invisible {
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
            Self::Invisible { pointer } => Reason::invalid("invisible_text").at(pointer),
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
    fn text_that_cannot_be_seen_or_turns_its_neighbours_around_is_refused() {
        let (invisible, control) = (
            "title has nothing in it that can be seen",
            "title may not contain control characters",
        );
        for (typed, expected) in [
            ("\u{200b}\u{200d}\u{feff}", invisible),
            ("\u{2060} \u{3164}\u{ad}", invisible),
            ("Fork\u{202e}tfil", control),
            ("\u{2066}Forklift\u{2069}", control),
            ("Fork\u{1b}[2Jlift", control),
        ] {
            let refused = trimmed("/title", typed, 2..=20).expect_err(typed);

            assert_eq!(refused.to_string(), expected, "{typed:?}");
        }
    }

    #[test]
    fn scripts_and_signs_that_need_invisible_joints_are_kept() {
        // Persian with a joint inside a word, Hebrew, a family and a heart of several characters.
        for typed in ["می\u{200c}خواهم", "נהג מלגזה", "👩\u{200d}👧", "❤\u{fe0f} it", "one\ntwo"]
        {
            assert_eq!(trimmed("/title", typed, 1..=20).as_deref(), Ok(typed));
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
