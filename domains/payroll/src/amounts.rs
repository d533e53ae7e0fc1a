//! Amounts: what people, time and a rate come to, in whole cents.
//!
//! There is no floating point here. A fraction of a cent is rounded once per amount, half up, so
//! the three amounts always add up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client will be billed, in cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Amounts {
    /// Before GST.
    pub subtotal_cents: u64,
    /// GST of 10 percent.
    pub gst_cents: u64,
    /// Including GST.
    pub total_cents: u64,
}

/// What `headcount` people cost who each work `minutes_per_person` at a rate per hour.
pub(crate) fn estimate(headcount: u32, minutes_per_person: u64, rate_cents: u32) -> Amounts {
    let minutes = u128::from(headcount) * u128::from(minutes_per_person);
    let subtotal = round_half_up(minutes * u128::from(rate_cents), 60);
    let gst = round_half_up(subtotal, 10);
    let cents = |amount| u64::try_from(amount).expect("500 people for a year cost less than that");
    Amounts {
        subtotal_cents: cents(subtotal),
        gst_cents: cents(gst),
        total_cents: cents(subtotal + gst),
    }
}

const fn round_half_up(amount: u128, divisor: u128) -> u128 {
    (amount + divisor / 2) / divisor
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_people_for_a_week_cost_what_a_calculator_says() {
        let amounts = estimate(3, 5 * 480, 4_550);

        assert_eq!(amounts.subtotal_cents, 546_000);
        assert_eq!((amounts.gst_cents, amounts.total_cents), (54_600, 600_600));
    }

    #[test]
    fn half_a_cent_is_rounded_up() {
        let amounts = estimate(1, 1, 30);

        assert_eq!((amounts.subtotal_cents, amounts.gst_cents), (1, 0));
        assert_eq!(estimate(1, 1, 29).subtotal_cents, 0);
        assert_eq!(estimate(1, 60, 5).gst_cents, 1);
    }

    proptest! {
        #[test]
        fn amounts_add_up_and_grow_with_time(
            headcount in 1_u32..=500, minutes in 1_u64..=262_800, rate in 1_u32..=100_000,
        ) {
            let less = estimate(headcount, minutes, rate);
            let more = estimate(headcount, minutes + 60, rate);

            prop_assert_eq!(less.total_cents, less.subtotal_cents + less.gst_cents);
            prop_assert!(more.subtotal_cents - less.subtotal_cents == u64::from(headcount * rate));
        }
    }
}
