//! Strategies: which children a failure affects.
//!
//! Siblings that share a fate say so in the strategy of their supervisor; all others must not
//! notice. This is the whole decision, as a range of places in start order.
//!
//! **Invariant:** pure; nothing here knows of processes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Which siblings are restarted along with a child that died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// None: children are independent of each other.
    #[default]
    OneForOne,
    /// Those that were started after it, because they build upon it.
    RestForOne,
    /// All: none of them makes sense without the others.
    OneForAll,
    /// None; all children are instances of one specification and are started at run time.
    SimpleOneForOne,
}

impl Strategy {
    /// The places, in start order, of the children that are restarted when the child at place
    /// `exited` of `children` has died.
    #[must_use]
    pub const fn affected(self, exited: usize, children: usize) -> Range<usize> {
        match self {
            Self::OneForOne | Self::SimpleOneForOne => exited..exited + 1,
            Self::RestForOne => exited..children,
            Self::OneForAll => 0..children,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Strategy;

    #[test]
    fn one_for_one_affects_nobody_else() {
        assert_eq!(Strategy::OneForOne.affected(1, 4), 1..2);
        assert_eq!(Strategy::SimpleOneForOne.affected(3, 4), 3..4);
    }

    #[test]
    fn rest_for_one_affects_those_started_later() {
        assert_eq!(Strategy::RestForOne.affected(1, 4), 1..4);
    }

    #[test]
    fn one_for_all_affects_everybody() {
        assert_eq!(Strategy::OneForAll.affected(1, 4), 0..4);
    }

    proptest! {
        #[test]
        fn the_dead_child_is_always_affected_and_nobody_beyond_the_last(
            children in 1_usize..50,
            place in 0_usize..50,
            strategy in prop_oneof![
                Just(Strategy::OneForOne),
                Just(Strategy::RestForOne),
                Just(Strategy::OneForAll),
                Just(Strategy::SimpleOneForOne),
            ],
        ) {
            let exited = place % children;

            let affected = strategy.affected(exited, children);

            prop_assert!(affected.contains(&exited));
            prop_assert!(affected.end <= children);
        }
    }
}
