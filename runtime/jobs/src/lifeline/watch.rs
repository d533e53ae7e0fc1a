//! What a node has seen of the heartbeats of others, and whom it takes for dead. Pure.
//!
//! The times others wrote are compared with nothing but what they wrote before, so it does not
//! matter how far the clocks of two machines are apart, nor that one of them jumps. A node that was
//! suspended itself has seen nothing meanwhile, and so judges nobody for it.

use std::collections::HashMap;

use chrono::TimeDelta;
use kernel::Timestamp;

/// A node whose heartbeat did not change for so long is taken for dead, ...
const SILENCE_MAX: TimeDelta = TimeDelta::seconds(15);
/// ... if so many looks in a row found it unchanged.
const LOOKS_MIN: u32 = 3;

/// The heartbeats of other nodes, as this node has seen them change.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    nodes: HashMap<String, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    beat: Timestamp,
    /// When, by the own clock, this beat was first seen.
    since: Timestamp,
    /// How many looks since then found no other.
    looks: u32,
}

impl Watch {
    /// Takes note of the last beat of each node.
    pub(crate) fn look(&mut self, beats: Vec<(String, Timestamp)>, now: Timestamp) {
        let mut before = std::mem::take(&mut self.nodes);
        for (node, beat) in beats {
            let seen = before.remove(&node).filter(|seen| seen.beat == beat);
            let seen = seen.map_or(Seen { beat, since: now, looks: 0 }, |seen| Seen {
                since: seen.since.min(now),
                looks: seen.looks.saturating_add(1),
                ..seen
            });
            self.nodes.insert(node, seen);
        }
    }

    /// The nodes that are taken for dead.
    pub(crate) fn silent(&self, now: Timestamp) -> Vec<String> {
        let is_silent = |seen: &Seen| seen.looks >= LOOKS_MIN && now - seen.since >= SILENCE_MAX;
        let silent = self.nodes.iter().filter(|(_, seen)| is_silent(seen));
        silent.map(|(node, _)| node.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        DateTime::from_timestamp(seconds, 0).expect("the time exists")
    }

    fn look(watch: &mut Watch, beat: i64, now: i64) -> Vec<String> {
        watch.look(vec![("other".to_owned(), at(beat))], at(now));
        watch.silent(at(now))
    }

    #[test]
    fn a_node_that_stops_beating_is_taken_for_dead_within_half_a_minute() {
        let mut watch = Watch::default();
        let first = (0..60).step_by(5).find(|now| !look(&mut watch, 0, *now).is_empty());

        assert_eq!(first, Some(15));
    }

    #[test]
    fn a_node_whose_clock_is_wrong_lives_as_long_as_it_beats() {
        let mut watch = Watch::default();

        for now in (0..600).step_by(5) {
            assert_eq!(look(&mut watch, now - 86_400, now), Vec::<String>::new(), "at {now}");
        }
    }

    #[test]
    fn a_clock_that_jumps_condemns_nobody() {
        let mut watch = Watch::default();
        look(&mut watch, 0, 0);

        let forward = look(&mut watch, 5, 86_405);
        let unchanged = look(&mut watch, 5, 172_800);
        let back = look(&mut watch, 10, 10);

        assert_eq!((forward, unchanged, back), (vec![], vec![], vec![]));
    }

    #[test]
    fn a_clock_set_back_does_not_delay_a_verdict_by_more_than_the_silence() {
        let mut watch = Watch::default();
        look(&mut watch, 0, 86_400);

        let rounds: Vec<usize> = (0..5).map(|round| look(&mut watch, 0, 5 * round).len()).collect();

        assert_eq!(rounds, [0, 0, 0, 1, 1]);
    }
}
