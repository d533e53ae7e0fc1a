//! Places: how many operations of one domain run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The places for operations at once in one domain. Their number may change at any time.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicU32,
    max: AtomicU32,
}

/// A taken place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    pub(crate) fn new(max: u32) -> Arc<Self> {
        Arc::new(Self { taken: AtomicU32::new(0), max: AtomicU32::new(max) })
    }

    pub(crate) fn max(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }

    /// Operations under way finish, also where there are now fewer places than operations.
    pub(crate) fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// A place, if one is free.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let more = |taken: u32| (taken < self.max()).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_can_be_taken_again_when_it_was_given_back() {
        let places = Places::new(1);

        let first = places.take();
        let second = places.take();
        drop(first);
        let third = places.take();

        assert!(second.is_none());
        assert!(third.is_some());
    }

    #[test]
    fn fewer_places_than_are_taken_let_nobody_in_until_enough_have_left() {
        let places = Places::new(3);
        let mut taken: Vec<_> = (0..3).map_while(|_| places.take()).collect();

        places.set_max(1);
        taken.truncate(1);
        let still_full = places.take().is_none();
        taken.clear();

        assert!(still_full);
        assert!(places.take().is_some());
    }
}
