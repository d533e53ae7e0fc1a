//! Codes: short, lower-case names of skills and credentials, such as `forklift_licence`.
//!
//! A list of codes is kept sorted and without repetition, so that two lists with the same meaning
//! are equal and a score never depends on the order somebody typed them in.

use platform::Reason;

/// The longest code.
const LENGTH_MAX: usize = 48;
/// The most codes in one list.
pub(crate) const CODES_MAX: usize = 20;

/// A list of codes is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCode {
    #[error(
        "`{code}` is not a code: lower-case letters, digits and underscores, a letter first, \
         at most 48 characters, as in `forklift_licence`"
    )]
    Form { pointer: &'static str, code: String },
    #[error("{count} codes are too many; a list holds at most 20 of them")]
    TooMany { pointer: &'static str, count: usize },
}

impl platform::Refusal for BadCode {
    fn reason(&self) -> Reason {
        match self {
            Self::Form { pointer, .. } => Reason::invalid("bad_code").at(pointer),
            Self::TooMany { pointer, .. } => Reason::invalid("too_many_codes").at(pointer),
        }
    }
}

/// Sorts the codes and drops repetitions. `pointer` names their field.
pub(crate) fn codes(pointer: &'static str, mut codes: Vec<String>) -> Result<Vec<String>, BadCode> {
    codes.sort_unstable();
    codes.dedup();
    if codes.len() > CODES_MAX {
        return Err(BadCode::TooMany { pointer, count: codes.len() });
    }
    match codes.iter().find(|code| !is_code(code)) {
        Some(code) => Err(BadCode::Form { pointer, code: code.clone() }),
        None => Ok(codes),
    }
}

fn is_code(text: &str) -> bool {
    text.len() <= LENGTH_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unique() {
        let typed = ["white_card", "forklift_licence", "white_card"].map(str::to_owned).to_vec();

        let codes = codes("/skills", typed);

        assert_eq!(
            codes.as_deref(),
            Ok(["forklift_licence", "white_card"].map(str::to_owned).as_slice())
        );
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for text in ["", "Forklift", "fork lift", "2nd_aid", "_a", &"a".repeat(49)] {
            let refused = codes("/skills", vec![text.to_owned()]);

            assert!(matches!(refused, Err(BadCode::Form { .. })), "{text}");
        }
    }
}
