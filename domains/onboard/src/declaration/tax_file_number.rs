//! Tax file numbers: nine digits, or eight in the older form, that a weighted sum checks.
//!
//! The number is secret by law. It is never printed and never stored: what is kept are its last
//! three digits, enough for a person to recognise the own number.

use std::fmt;

use platform::Reason;

/// Weights of the nine digits.
const WEIGHTS: [u32; 9] = [1, 4, 3, 7, 5, 8, 6, 9, 10];
/// Weights of the eight digits of the older form.
const WEIGHTS_OF_EIGHT: [u32; 8] = [10, 7, 8, 4, 6, 3, 5, 1];
/// The weighted sum is a multiple of this.
const MODULUS: u32 = 11;

/// A tax file number whose digits check.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TaxFileNumber(Vec<u8>);

/// Text is no tax file number. The text itself is not repeated: it may be nearly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTaxFileNumber {
    /// Not eight or nine digits.
    #[error(
        "a tax file number has nine digits, or eight in its older form; \
         blanks between them are fine"
    )]
    Form,
    /// A digit is wrong.
    #[error("the digits of this tax file number do not check; one of them is probably mistyped")]
    Digits,
}

impl platform::Refusal for BadTaxFileNumber {
    fn reason(&self) -> Reason {
        match self {
            Self::Form => Reason::invalid("tax_file_number_form").at("/tax_file_number"),
            Self::Digits => Reason::invalid("tax_file_number_digits").at("/tax_file_number"),
        }
    }
}

impl TaxFileNumber {
    /// Reads a number as people type it.
    ///
    /// # Errors
    /// [`BadTaxFileNumber`], without repeating what was typed.
    pub(crate) fn parse(typed: &str) -> Result<Self, BadTaxFileNumber> {
        let digits = digits(typed).ok_or(BadTaxFileNumber::Form)?;
        let weights: &[u32] = match digits.len() {
            9 => &WEIGHTS,
            8 => &WEIGHTS_OF_EIGHT,
            _ => return Err(BadTaxFileNumber::Form),
        };
        let sum: u32 =
            digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum();
        // Nothing but zeros has a sum of zero; nobody has that number.
        if sum == 0 || !sum.is_multiple_of(MODULUS) {
            return Err(BadTaxFileNumber::Digits);
        }
        Ok(Self(digits))
    }

    /// What may be stored and shown: the last three digits.
    #[must_use]
    pub(crate) fn masked(&self) -> String {
        let shown: String = self.0[self.0.len() - 3..].iter().map(u8::to_string).collect();
        format!("*** *** {shown}")
    }
}

impl fmt::Debug for TaxFileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaxFileNumber(secret)")
    }
}

/// The digits of a number typed with blanks or dashes between them; nothing if anything else is
/// there.
pub(crate) fn digits(typed: &str) -> Option<Vec<u8>> {
    let digits = typed.bytes().filter(|byte| !matches!(byte, b' ' | b'-'));
    digits.map(|byte| byte.is_ascii_digit().then(|| byte - b'0')).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_examples_check() {
        let cases = [
            ("123 456 782", Ok(())),
            ("876 543 210", Ok(())),
            ("123456783", Err(BadTaxFileNumber::Digits)),
            ("000 000 000", Err(BadTaxFileNumber::Digits)),
            ("12345678", Err(BadTaxFileNumber::Digits)),
            ("1234567", Err(BadTaxFileNumber::Form)),
            ("123 456 78a", Err(BadTaxFileNumber::Form)),
            ("", Err(BadTaxFileNumber::Form)),
        ];

        for (typed, expected) in cases {
            assert_eq!(TaxFileNumber::parse(typed).map(drop), expected, "{typed}");
        }
    }

    #[test]
    fn a_number_is_never_printed() {
        let number = TaxFileNumber::parse("123 456 782").expect("it checks");

        assert_eq!(number.masked(), "*** *** 782");
        assert_eq!(format!("{number:?}"), "TaxFileNumber(secret)");
    }

    fn text(digits: &[u8]) -> String {
        digits.iter().map(u8::to_string).collect()
    }

    /// The numbers that begin with these digits: ten candidates for the last one.
    fn that_check(first: &[u8]) -> Vec<Vec<u8>> {
        let numbers = (0..10).map(|last| [first, &[last]].concat());
        numbers.filter(|digits| TaxFileNumber::parse(&text(digits)).is_ok()).collect()
    }

    proptest! {
        #[test]
        fn a_single_wrong_digit_is_always_noticed(
            first in prop::collection::vec(0_u8..10, 7..=8),
            place in 0_usize..8,
            change in 1_u8..10,
        ) {
            for mut digits in that_check(&first) {
                digits[place] = (digits[place] + change) % 10;

                prop_assert_eq!(
                    TaxFileNumber::parse(&text(&digits)),
                    Err(BadTaxFileNumber::Digits)
                );
            }
        }

        #[test]
        fn the_first_digits_leave_at_most_one_last_digit(
            first in prop::collection::vec(0_u8..10, 7..=8),
        ) {
            prop_assert!(that_check(&first).len() <= 1);
        }
    }
}
