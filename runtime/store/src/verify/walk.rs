//! The walk itself: stretches of seals, each judged on its own, and joined in their order. Pure.
//!
//! A stretch knows nothing of what lies before it, so many can be judged at once; where it begins
//! for each chain is judged when it is joined to the one before.

use std::collections::HashMap;

use kernel::{Digest, EventId, Link, OrgId, Position, next_link};

use super::{Break, Problem, Verdict};
use crate::chain::Head;

/// What is stored where the event of a seal should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The event, by the digest of what is stored now.
    Event(Digest),
    /// Nothing, and its month was archived.
    Archived,
    /// Nothing.
    Nothing,
}

/// A seal as it is stored, and what is found of its event.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) position: Position,
    pub(super) org_sequence: i64,
    pub(super) org_id: OrgId,
    pub(super) event_id: EventId,
    pub(super) previous_hash: Link,
    pub(super) hash: Link,
    pub(super) found: Found,
}

impl Stored {
    fn is_broken_by(&self, problem: Problem) -> Break {
        Break {
            org_id: Some(self.org_id),
            org_sequence: Some(self.org_sequence),
            position: Some(self.position),
            event_id: Some(self.event_id),
            problem,
        }
    }

    /// What is wrong with this seal after the one where its chain stood.
    fn problem_after(&self, head: &Head) -> Option<Problem> {
        if self.org_sequence != head.org_sequence + 1 {
            Some(Problem::GapInSequence)
        } else if self.previous_hash != head.link {
            Some(Problem::PreviousMismatch)
        } else {
            None
        }
    }

    fn head(&self) -> Head {
        Head { org_sequence: self.org_sequence, link: self.hash }
    }
}

/// Some seals in their order, judged without those before them.
#[derive(Debug)]
pub(super) struct Stretch {
    /// Whether every position is expected, and not only those of one organisation.
    is_gapless: bool,
    /// The first seal of each chain, and where the chain stood after the last.
    chains: HashMap<OrgId, (Stored, Head)>,
    first: Option<Stored>,
    last: Option<(Position, Link)>,
    verdict: Verdict,
}

impl Stretch {
    pub(super) fn new(is_gapless: bool) -> Self {
        let verdict = Verdict::default();
        Self { is_gapless, chains: HashMap::new(), first: None, last: None, verdict }
    }

    /// Checks one seal against its event and against the seal before it, if that is here.
    pub(super) fn visit(&mut self, seal: Stored) {
        self.verdict.events += 1;
        if let Some((last, _)) = self.last
            && self.is_gapless
            && seal.position != last.next()
        {
            self.verdict.report(seal.is_broken_by(Problem::GapInPosition));
        }
        match seal.found {
            Found::Nothing => self.verdict.report(seal.is_broken_by(Problem::MissingEvent)),
            Found::Archived => self.verdict.archived += 1,
            Found::Event(event) if next_link(&seal.previous_hash, &event) != seal.hash => {
                self.verdict.report(seal.is_broken_by(Problem::HashMismatch));
            }
            Found::Event(_) => {}
        }
        // Goes on from what is stored, so that one change is one break.
        self.last = Some((seal.position, seal.hash));
        if let Some((_, head)) = self.chains.get_mut(&seal.org_id) {
            if let Some(problem) = seal.problem_after(head) {
                self.verdict.report(seal.is_broken_by(problem));
            }
            *head = seal.head();
        } else {
            self.chains.insert(seal.org_id, (seal.clone(), seal.head()));
        }
        if self.first.is_none() {
            self.first = Some(seal);
        }
    }

    /// Where each chain begins here: its organisation and the number of its first seal.
    pub(super) fn beginnings(&self) -> impl Iterator<Item = (OrgId, i64)> {
        self.chains.iter().map(|(org_id, (first, _))| (*org_id, first.org_sequence))
    }
}

/// Where the walk stands.
#[derive(Debug)]
pub(super) struct Walk {
    /// The last position visited.
    pub(super) position: Position,
    /// The link there.
    pub(super) hash: Link,
    /// What was found so far.
    pub(super) verdict: Verdict,
    is_gapless: bool,
    /// Whether it did not begin at the first event, so that chains may stand somewhere already.
    is_partial: bool,
    chains: HashMap<OrgId, Head>,
}

impl Walk {
    /// A walk that goes on after `position` with what was found before.
    pub(super) fn new(is_gapless: bool, position: Position, verdict: Verdict) -> Self {
        let is_partial = position > Position::ORIGIN;
        let chains = HashMap::new();
        Self { position, hash: Digest::GENESIS, verdict, is_gapless, is_partial, chains }
    }

    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    pub(super) fn organisations(&self) -> u64 {
        self.chains.len() as u64
    }

    /// Whether the walk knows where this chain stands.
    pub(super) fn knows(&self, org_id: OrgId) -> bool {
        self.chains.contains_key(&org_id)
    }

    /// Tells the walk where a chain stood before it.
    pub(super) fn learn(&mut self, org_id: OrgId, head: Head) {
        self.chains.insert(org_id, head);
    }

    /// Goes on over a stretch: judges where it begins for each chain.
    pub(super) fn join(&mut self, stretch: Stretch) {
        if let Some(first) = stretch.first.filter(|first| first.position != self.position.next())
            && self.is_gapless
        {
            self.verdict.report(first.is_broken_by(Problem::GapInPosition));
        }
        for (org_id, (first, last)) in stretch.chains {
            let head = self.chains.entry(org_id).or_insert(Head::GENESIS);
            if let Some(problem) = first.problem_after(head) {
                self.verdict.report(first.is_broken_by(problem));
            }
            *head = last;
        }
        if let Some((position, hash)) = stretch.last {
            (self.position, self.hash) = (position, hash);
        }
        self.verdict.add(stretch.verdict);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A chain of `length` events of two organisations in turn, or of one.
    fn chain(length: i64, organisations: i64) -> Vec<Stored> {
        let org_ids: Vec<OrgId> = (0..organisations).map(|_| OrgId::new()).collect();
        let mut heads: HashMap<OrgId, Head> = HashMap::new();
        (1..=length)
            .zip(org_ids.iter().cycle())
            .map(|(number, org_id)| {
                let head = heads.entry(*org_id).or_insert(Head::GENESIS);
                let event = Digest::of(&number.to_be_bytes());
                let previous_hash = head.link;
                *head = Head {
                    org_sequence: head.org_sequence + 1,
                    link: next_link(&previous_hash, &event),
                };
                Stored {
                    position: Position(number),
                    org_sequence: head.org_sequence,
                    org_id: *org_id,
                    event_id: EventId::new(),
                    previous_hash,
                    hash: head.link,
                    found: Found::Event(event),
                }
            })
            .collect()
    }

    fn walked<'a>(stretches: impl IntoIterator<Item = &'a [Stored]>) -> Verdict {
        let mut walk = Walk::new(true, Position::ORIGIN, Verdict::default());
        for seals in stretches {
            let mut stretch = Stretch::new(true);
            for seal in seals {
                stretch.visit(seal.clone());
            }
            walk.join(stretch);
        }
        walk.verdict.sort();
        walk.verdict
    }

    fn check(tamper: impl Fn(&mut Vec<Stored>), expected: &[(i64, Problem)]) {
        let mut seals = chain(6, 1);
        tamper(&mut seals);

        let verdict = walked([seals.as_slice()]);

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
        let forged = Found::Event(Digest::of(b"forged"));
        check(|seals| seals[2].found = forged, &[(3, Problem::HashMismatch)]);
    }

    #[test]
    fn a_changed_event_with_its_link_recomputed_is_found_at_its_successor() {
        check(
            |seals| {
                let forged = Digest::of(b"forged");
                seals[2].found = Found::Event(forged);
                seals[2].hash = next_link(&seals[2].previous_hash, &forged);
            },
            &[(4, Problem::PreviousMismatch)],
        );
    }

    #[test]
    fn a_removed_event_is_found_where_it_was_unless_it_was_archived() {
        check(|seals| seals[4].found = Found::Nothing, &[(5, Problem::MissingEvent)]);
        check(|seals| seals[4].found = Found::Archived, &[]);
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
                let first = seals[1].found;
                seals[1].found = seals[3].found;
                seals[3].found = first;
            },
            &[(2, Problem::HashMismatch), (4, Problem::HashMismatch)],
        );
    }

    proptest! {
        #[test]
        fn stretches_find_together_what_one_walk_finds(
            size in 1_usize..9,
            harm in prop::collection::vec((0_usize..24, 0_u8..6), 0..4),
        ) {
            let mut seals = chain(24, 3);
            for (at, kind) in harm {
                let other = seals.len() - 1 - at % seals.len();
                let at = at % seals.len();
                match kind {
                    0 => seals[at].found = Found::Nothing,
                    1 => seals[at].found = Found::Event(Digest::of(b"x")),
                    2 => drop(seals.remove(at)),
                    3 => seals[at].hash = Digest::of(b"y"),
                    4 => seals.swap(at, other),
                    _ => seals[at].org_id = seals[other].org_id,
                }
            }

            let at_once = walked([seals.as_slice()]);

            prop_assert_eq!(walked(seals.chunks(size)), at_once);
        }
    }
}
