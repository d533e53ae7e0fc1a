//! Random numbers that can be had again: one seed, one sequence of decisions.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Duration;

/// A sequence of numbers that its seed decides (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.within(0..end as u64)).expect("it is below a number of that size")
    }

    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    pub(crate) fn micros(&mut self, range: Range<u64>) -> Duration {
        Duration::from_micros(self.within(range))
    }
}

/// What `FINNEST_FAULTS_SEED` says, or anything.
pub(crate) fn seed() -> u64 {
    let named = std::env::var("FINNEST_FAULTS_SEED").ok();
    named.map_or_else(
        || RandomState::new().hash_one("seed") >> 32,
        |named| named.parse().expect("FINNEST_FAULTS_SEED is a whole number"),
    )
}

#[test]
fn one_seed_decides_everything() {
    let numbers = |seed| {
        let mut random = Random::new(seed);
        (0..100).map(|_| random.within(5..50)).collect::<Vec<_>>()
    };

    assert_eq!(numbers(7), numbers(7));
    assert_ne!(numbers(7), numbers(8));
    assert!(numbers(7).iter().all(|number| (5..50).contains(number)));
}
