//! Australian business numbers: eleven digits, of which the first two check the others.

use platform::Reason;

use super::tax_file_number::digits;

/// Weights of the eleven digits, after one is taken from the first.
const WEIGHTS: [u32; 11] = [10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19];
/// The weighted sum is a multiple of this.
const MODULUS: u32 = 89;

/// An Australian business number whose digits check: eleven of them, without blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BusinessNumber(String);

/// Text is no Australian business number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBusinessNumber {
    /// Not eleven digits.
    #[error("`{0}` is no ABN: eleven digits are expected, as in 51 824 753 556")]
    Form(String),
    /// A digit is wrong.
    #[error("the digits of the ABN `{0}` do not check; one of them is probably mistyped")]
    Digits(String),
}

impl platform::Refusal for BadBusinessNumber {
    fn reason(&self) -> Reason {
        match self {
            Self::Form(_) => Reason::invalid("abn_form").at("/fund_abn"),
            Self::Digits(_) => Reason::invalid("abn_digits").at("/fund_abn"),
        }
    }
}

impl BusinessNumber {
    /// Reads a number as people type it.
    ///
    /// # Errors
    /// [`BadBusinessNumber`] with what was typed.
    pub(crate) fn parse(typed: &str) -> Result<Self, BadBusinessNumber> {
        let digits = digits(typed)
            .filter(|digits| digits.len() == WEIGHTS.len())
            .ok_or_else(|| BadBusinessNumber::Form(typed.to_owned()))?;
        let wrong = || BadBusinessNumber::Digits(typed.to_owned());
        let first = digits[0].checked_sub(1).ok_or_else(wrong)?;
        let lowered = std::iter::once(&first).chain(&digits[1..]);
        let sum: u32 = lowered.zip(WEIGHTS).map(|(digit, weight)| u32::from(*digit) * weight).sum();
        if !sum.is_multiple_of(MODULUS) {
            return Err(wrong());
        }
        Ok(Self(digits.iter().map(u8::to_string).collect()))
    }

    /// The eleven digits.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_number_of_the_tax_office_checks() {
        let number = BusinessNumber::parse("51 824 753 556");

        assert_eq!(number.expect("it checks").as_str(), "51824753556");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for typed in ["", "51 824 753 55", "51 824 753 5566", "51 824 753 55x"] {
            assert!(
                matches!(BusinessNumber::parse(typed), Err(BadBusinessNumber::Form(_))),
                "{typed}"
            );
        }
        for typed in ["51 824 753 557", "00 000 000 000", "01 824 753 556"] {
            let refused = BusinessNumber::parse(typed);
            assert!(matches!(refused, Err(BadBusinessNumber::Digits(_))), "{typed}");
        }
    }

    /// The two check digits in front of nine others, as the register computes them.
    fn with_check_digits(rest: &[u8]) -> Vec<u8> {
        let sum: u32 =
            rest.iter().zip(&WEIGHTS[2..]).map(|(digit, weight)| u32::from(*digit) * weight).sum();
        let check = 10 + (MODULUS - sum % MODULUS);
        let digit = |value: u32| u8::try_from(value).expect("check digits are below 100");
        [&[digit(check / 10), digit(check % 10)], rest].concat()
    }

    proptest! {
        #[test]
        fn numbers_made_by_the_rule_check_and_a_single_wrong_digit_is_noticed(
            rest in prop::collection::vec(0_u8..10, 9), place in 0_usize..11, change in 1_u8..10,
        ) {
            let digits = with_check_digits(&rest);
            let text = |digits: &[u8]| digits.iter().map(u8::to_string).collect::<String>();
            let mut wrong = digits.clone();
            wrong[place] = (wrong[place] + change) % 10;

            prop_assert!(BusinessNumber::parse(&text(&digits)).is_ok());
            prop_assert!(BusinessNumber::parse(&text(&wrong)).is_err());
        }
    }
}
