//! Spans: the arrivals of a run of events, as few ranges of the events' index. Pure.
//!
//! Events that were sealed one after the other have arrived one after the other, but for some: a
//! transaction that hung for an hour gives the run one arrival from an hour ago, and one range over
//! both would read everything in between.

/// The largest gap inside a span. To read so many rows in vain costs about as much as to look for
/// the next range in the index.
const GAP_MAX: i64 = 8;

/// Ranges of arrivals, first and last included, in the form Postgres takes them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) firsts: Vec<i64>,
    pub(super) lasts: Vec<i64>,
}

impl Spans {
    /// The spans that cover `arrivals`, which are in ascending order.
    pub(super) fn over(arrivals: impl IntoIterator<Item = i64>) -> Self {
        let mut spans = Self::default();
        for arrival in arrivals {
            match spans.lasts.last_mut() {
                Some(last) if arrival.saturating_sub(*last) <= GAP_MAX => *last = arrival,
                _ => {
                    spans.firsts.push(arrival);
                    spans.lasts.push(arrival);
                }
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arrivals: &[i64], firsts: &[i64], lasts: &[i64]) {
        let expected = Spans { firsts: firsts.to_vec(), lasts: lasts.to_vec() };
        assert_eq!(Spans::over(arrivals.iter().copied()), expected, "{arrivals:?}");
    }

    #[test]
    fn numbers_that_were_never_used_do_not_end_a_span() {
        check(&[], &[], &[]);
        check(&[5, 6, 7, 11, 12], &[5], &[12]);
        check(&[5, 5, 13, 22], &[5, 22], &[13, 22]);
    }

    #[test]
    fn a_straggler_is_a_span_of_its_own() {
        check(&[7, 1_000_001, 1_000_002], &[7, 1_000_001], &[7, 1_000_002]);
        check(&[i64::MIN, i64::MAX], &[i64::MIN, i64::MAX], &[i64::MIN, i64::MAX]);
    }
}
