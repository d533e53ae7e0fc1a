//! Bank, state and branch numbers (BSB): six digits that say where an account is kept.
//!
//! The first two name the institution, the third the state, the last three the branch. There is no
//! check digit, so the rule is what the public register shows: only some pairs of first digits are
//! given to institutions, and the large branch networks number their branches by state, 2 to 7.
//! Smaller institutions use the third digit as they like.

use platform::Reason;

use super::tax_file_number::digits;

/// Pairs of first digits that no institution has.
const UNALLOCATED: [u8; 25] = [
    0, 5, 7, 13, 16, 17, 20, 27, 28, 38, 44, 50, 54, 60, 62, 66, 69, 71, 74, 75, 78, 79, 86, 87, 97,
];
/// Institutions that number their branches by state.
const BY_STATE: [u8; 6] = [1, 3, 6, 8, 73, 76];

/// A number of bank, state and branch that can exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BankBranch([u8; 6]);

/// Text is no number of bank, state and branch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBankBranch {
    /// Not six digits.
    #[error("`{0}` is no BSB: six digits are expected, as in 062-000")]
    Form(String),
    /// No institution has these first digits.
    #[error("`{0}` is no BSB: no bank begins with {first}", first = .0.get(..2).unwrap_or(.0))]
    Bank(String),
    /// The institution has no branch in such a state.
    #[error("`{0}` is no BSB: the third digit of this bank names a state, 2 to 7")]
    State(String),
}

impl platform::Refusal for BadBankBranch {
    fn reason(&self) -> Reason {
        match self {
            Self::Form(_) => Reason::invalid("bsb_form").at("/bsb"),
            Self::Bank(_) => Reason::invalid("bsb_bank").at("/bsb"),
            Self::State(_) => Reason::invalid("bsb_state").at("/bsb"),
        }
    }
}

impl BankBranch {
    /// Reads a number as people type it.
    ///
    /// # Errors
    /// [`BadBankBranch`] with what was typed.
    pub(crate) fn parse(typed: &str) -> Result<Self, BadBankBranch> {
        let digits: [u8; 6] = digits(typed)
            .and_then(|digits| digits.try_into().ok())
            .ok_or_else(|| BadBankBranch::Form(typed.to_owned()))?;
        let number = Self(digits);
        let bank = digits[0] * 10 + digits[1];
        if bank == 99 || UNALLOCATED.contains(&bank) {
            return Err(BadBankBranch::Bank(number.written()));
        }
        if BY_STATE.contains(&bank) && !(2..=7).contains(&digits[2]) {
            return Err(BadBankBranch::State(number.written()));
        }
        Ok(number)
    }

    /// The form banks print: three digits, a dash, three digits.
    #[must_use]
    pub(crate) fn written(&self) -> String {
        let text = |digits: &[u8]| digits.iter().map(u8::to_string).collect::<String>();
        format!("{}-{}", text(&self.0[..3]), text(&self.0[3..]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_known_branches_are_accepted_however_they_are_typed() {
        let cases = [
            ("062-000", "062-000"),
            ("012 003", "012-003"),
            ("083004", "083-004"),
            ("732-001", "732-001"),
            ("633-000", "633-000"),
            ("670-864", "670-864"),
            ("939-200", "939-200"),
        ];

        for (typed, expected) in cases {
            let written = BankBranch::parse(typed).map(|number| number.written());
            assert_eq!(written.as_deref(), Ok(expected), "{typed}");
        }
    }

    #[test]
    fn what_cannot_exist_is_refused() {
        let refused = |typed| BankBranch::parse(typed).expect_err("it cannot exist");

        for typed in ["", "062-00", "062-0000", "O62-000"] {
            assert!(matches!(refused(typed), BadBankBranch::Form(_)), "{typed}");
        }
        assert!(matches!(refused("000-000"), BadBankBranch::Bank(_)));
        assert!(matches!(refused("991-234"), BadBankBranch::Bank(_)));
        assert!(matches!(refused("068-000"), BadBankBranch::State(_)));
        assert!(matches!(refused("081 234"), BadBankBranch::State(_)));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_written_so_that_it_is_accepted_again(typed in "[0-9]{6}") {
            if let Ok(number) = BankBranch::parse(&typed) {
                prop_assert_eq!(BankBranch::parse(&number.written()), Ok(number));
            }
        }
    }
}
