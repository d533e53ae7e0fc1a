//! What was sealed lately on this node: the types of the newest events, by position.
//!
//! Most consumers want few types of events, and every sealed event moves the head for all of them.
//! Who can see in memory that nothing new concerns it does not ask the database: with ten consumers
//! and a hundred commands a second, that is most of the questions there would be.
//!
//! **Invariant:** a memory, never the truth. What it does not know it says yes to.

use std::collections::VecDeque;

use kernel::Position;

use crate::consumer::Filter;
use crate::read::EventName;

/// How many events are remembered.
const REMEMBERED_MAX: usize = 4_096;

/// The types of a run of sealed events without a gap.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The position before the first remembered event.
    before: i64,
    names: VecDeque<EventName>,
}

impl Recent {
    /// Adds the events sealed after `after`. What does not follow on from what is remembered
    /// replaces it, because another node has sealed in between.
    pub(crate) fn add(&mut self, after: Position, names: Vec<EventName>) {
        if after.0 != self.last() {
            self.names.clear();
            self.before = after.0;
        }
        self.names.extend(names);
        let surplus = self.names.len().saturating_sub(REMEMBERED_MAX);
        self.names.drain(..surplus);
        self.before += i64::try_from(surplus).expect("a batch is smaller than 2^63 events");
    }

    /// Whether an event that `filter` wants may lie after `after` and up to `until`.
    pub(crate) fn may_hold(&self, filter: &Filter, after: Position, until: Position) -> bool {
        if after.0 < self.before || until.0 > self.last() {
            return true;
        }
        let skipped = usize::try_from(after.0 - self.before).unwrap_or_default();
        let wanted = usize::try_from(until.0 - after.0).unwrap_or_default();
        self.names.range(skipped..).take(wanted).any(|name| filter.wants_sort(&name.0, &name.1))
    }

    fn last(&self) -> i64 {
        self.before + i64::try_from(self.names.len()).expect("at most a few thousand")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(event_type: &str) -> EventName {
        ("recruit".to_owned(), event_type.to_owned())
    }

    fn check(recent: &Recent, event_type: &str, after: i64, until: i64, expected: bool) {
        let held =
            recent.may_hold(&Filter::events([name(event_type)]), Position(after), Position(until));
        assert_eq!(held, expected, "{event_type} in {after}..={until}");
    }

    #[test]
    fn what_was_sealed_here_is_known_and_anything_else_is_possible() {
        let mut recent = Recent::default();
        recent.add(Position(10), vec![name("opened"), name("filled"), name("opened")]);

        check(&recent, "filled", 10, 13, true);
        check(&recent, "filled", 12, 13, false);
        check(&recent, "filled", 10, 11, false);
        check(&recent, "cancelled", 10, 13, false);
        check(&recent, "cancelled", 9, 13, true);
        check(&recent, "cancelled", 10, 14, true);
    }

    #[test]
    fn a_gap_forgets_what_was_before_it() {
        let mut recent = Recent::default();
        recent.add(Position(0), vec![name("opened")]);
        recent.add(Position(5), vec![name("filled")]);

        check(&recent, "opened", 5, 6, false);
        check(&recent, "opened", 0, 6, true);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut recent = Recent::default();
        for position in 0..5_000 {
            recent.add(Position(position), vec![name("opened")]);
        }

        assert_eq!(recent.names.len(), REMEMBERED_MAX);
        check(&recent, "filled", 4_000, 5_000, false);
        check(&recent, "filled", 100, 5_000, true);
    }
}
