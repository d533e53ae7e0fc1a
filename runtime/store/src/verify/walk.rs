//! The walk itself: one seal after the other, against what the walk remembers of each chain. Pure.

use std::collections::HashMap;

use kernel::{Digest, EventId, Link, OrgId, Position, next_link};

use super::{Break, Problem, Verdict};
use crate::chain::Head;

/// A seal as it is stored, and the digest of its event as it is stored now.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) position: Position,
    pub(super) org_sequence: i64,
    pub(super) org_id: OrgId,
    pub(super) event_id: EventId,
    pub(super) previous_hash: Link,
    pub(super) hash: Link,
    /// `None` if the event is gone.
    pub(super) event: Option<Digest>,
}

/// Where the walk stands.
#[derive(Debug)]
pub(super) struct Walk {
    /// The last position visited.
    pub(super) position: Position,
    /// The last number visited, for a walk along one chain.
    pub(super) org_sequence: i64,
    /// Whether every position is expected, and not only those of one organisation.
    is_gapless: bool,
    chains: HashMap<OrgId, Head>,
}

impl Walk {
    pub(super) fn new(is_gapless: bool) -> Self {
        Self { position: Position::ORIGIN, org_sequence: 0, is_gapless, chains: HashMap::new() }
    }

    pub(super) fn organisations(&self) -> u64 {
        self.chains.len() as u64
    }

    /// Checks one seal against its event and against the seal before it.
    pub(super) fn visit(&mut self, seal: &Stored, verdict: &mut Verdict) {
        let head = self.chains.entry(seal.org_id).or_insert(Head::GENESIS);
        let mut problems = Vec::new();
        if self.is_gapless && seal.position != self.position.next() {
            problems.push(Problem::GapInPosition);
        }
        if seal.org_sequence != head.org_sequence + 1 {
            problems.push(Problem::GapInSequence);
        } else if seal.previous_hash != head.link {
            problems.push(Problem::PreviousMismatch);
        }
        match seal.event {
            None => problems.push(Problem::MissingEvent),
            Some(event) if next_link(&seal.previous_hash, &event) != seal.hash => {
                problems.push(Problem::HashMismatch);
            }
            Some(_) => {}
        }
        // Goes on from what is stored, so that one change is one break.
        *head = Head { org_sequence: seal.org_sequence, link: seal.hash };
        self.position = seal.position;
        self.org_sequence = seal.org_sequence;
        verdict.events += 1;
        for problem in problems {
            verdict.report(Break {
                org_id: Some(seal.org_id),
                org_sequence: Some(seal.org_sequence),
                position: Some(seal.position),
                event_id: Some(seal.event_id),
                problem,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of `length` events of one organisation.
    fn chain(length: i64) -> Vec<Stored> {
        let org_id = OrgId::new();
        let mut link = Digest::GENESIS;
        (1..=length)
            .map(|number| {
                let event = Digest::of(&number.to_be_bytes());
                let previous_hash = link;
                link = next_link(&previous_hash, &event);
                Stored {
                    position: Position(number),
                    org_sequence: number,
                    org_id,
                    event_id: EventId::new(),
                    previous_hash,
                    hash: link,
                    event: Some(event),
                }
            })
            .collect()
    }

    fn check(tamper: impl Fn(&mut Vec<Stored>), expected: &[(i64, Problem)]) {
        let mut seals = chain(6);
        tamper(&mut seals);
        let mut walk = Walk::new(true);
        let mut verdict = Verdict::default();

        for seal in &seals {
            walk.visit(seal, &mut verdict);
        }

        let found: Vec<(i64, Problem)> = verdict
            .broken
            .iter()
            .map(|found| (found.position.map_or(0, |position| position.0), found.problem))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_intact_chain_holds() {
        check(|_| {}, &[]);
    }

    #[test]
    fn a_changed_event_is_found_where_it_is_and_nowhere_else() {
        check(|seals| seals[2].event = Some(Digest::of(b"forged")), &[(3, Problem::HashMismatch)]);
    }

    #[test]
    fn a_changed_event_with_its_link_recomputed_is_found_at_its_successor() {
        check(
            |seals| {
                let forged = Digest::of(b"forged");
                seals[2].event = Some(forged);
                seals[2].hash = next_link(&seals[2].previous_hash, &forged);
            },
            &[(4, Problem::PreviousMismatch)],
        );
    }

    #[test]
    fn a_removed_event_is_found_where_it_was() {
        check(|seals| seals[4].event = None, &[(5, Problem::MissingEvent)]);
    }

    #[test]
    fn a_removed_seal_is_found_at_the_gap_it_leaves() {
        check(
            |seals| {
                seals.remove(1);
            },
            &[(3, Problem::GapInPosition), (3, Problem::GapInSequence)],
        );
    }

    #[test]
    fn swapped_events_are_found_at_both_places() {
        check(
            |seals| {
                let first = seals[1].event;
                seals[1].event = seals[3].event;
                seals[3].event = first;
            },
            &[(2, Problem::HashMismatch), (4, Problem::HashMismatch)],
        );
    }
}
