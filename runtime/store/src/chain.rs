//! Chains: from events in order of arrival to seals, one chain per organisation. Pure.
//!
//! One sealer extends all chains, so no head is ever contended; and since each organisation has its
//! own, one tenant's trail is verified without touching another's.

use std::collections::HashMap;

use kernel::{Digest, EventId, Link, OrgId, Timestamp, next_link};

/// A committed event that has no seal yet.
#[derive(Debug, Clone)]
pub(crate) struct Unsealed {
    /// Its place in the order of arrival.
    pub(crate) arrival: i64,
    /// Its identity.
    pub(crate) event_id: EventId,
    /// The other half of its key.
    pub(crate) inserted_at: Timestamp,
    /// Whose chain it extends.
    pub(crate) org_id: OrgId,
    /// Who recorded it.
    pub(crate) domain: String,
    /// Its type.
    pub(crate) event_type: String,
    /// What its link covers.
    pub(crate) digest: Digest,
}

/// An event's place in the order of everything and in the chain of its organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) position: i64,
    pub(crate) arrival: i64,
    pub(crate) event_id: EventId,
    pub(crate) inserted_at: Timestamp,
    pub(crate) org_id: OrgId,
    pub(crate) org_sequence: i64,
    pub(crate) previous_hash: Link,
    pub(crate) hash: Link,
}

/// The last link of one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its number within the organisation; 0 before the first event.
    pub(crate) org_sequence: i64,
    /// The link.
    pub(crate) link: Link,
}

impl Head {
    /// Before the first event of an organisation.
    pub(crate) const GENESIS: Self = Self { org_sequence: 0, link: Digest::GENESIS };
}

/// How many chain heads a sealer remembers; about 100 bytes each.
const HEADS_MAX: usize = 100_000;

/// The chain heads a sealer knows. A head it does not know is read from the seals.
#[derive(Debug, Default)]
pub(crate) struct Heads(HashMap<OrgId, Head>);

impl Heads {
    /// The organisations of `events` whose heads are not known, each once.
    pub(crate) fn unknown(&self, events: &[Unsealed]) -> Vec<OrgId> {
        let mut unknown: Vec<OrgId> = events
            .iter()
            .map(|event| event.org_id)
            .filter(|org_id| !self.0.contains_key(org_id))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Remembers the head of a chain.
    pub(crate) fn learn(&mut self, org_id: OrgId, head: Head) {
        self.0.insert(org_id, head);
    }

    /// Makes room when there are more organisations than one cares to remember.
    pub(crate) fn trim(&mut self) {
        if self.0.len() > HEADS_MAX {
            self.0.clear();
        }
    }

    /// Forgets everything, when it is not certain which seals were stored.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// The seals of `events`, in their order, after `position`. Their heads must be known.
    pub(crate) fn extend(&mut self, position: i64, events: &[Unsealed]) -> Vec<Seal> {
        events
            .iter()
            .zip(position + 1..)
            .map(|(event, position)| {
                let head = self
                    .0
                    .get_mut(&event.org_id)
                    .expect("the caller has read the heads of all organisations of the batch");
                let previous_hash = head.link;
                head.org_sequence += 1;
                head.link = next_link(&previous_hash, &event.digest);
                Seal {
                    position,
                    arrival: event.arrival,
                    event_id: event.event_id,
                    inserted_at: event.inserted_at,
                    org_id: event.org_id,
                    org_sequence: head.org_sequence,
                    previous_hash,
                    hash: head.link,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(org_id: OrgId, arrival: i64) -> Unsealed {
        Unsealed {
            arrival,
            event_id: EventId::new(),
            inserted_at: Timestamp::UNIX_EPOCH,
            org_id,
            domain: "recruit".into(),
            event_type: "job_order_opened".into(),
            digest: Digest::of(&arrival.to_be_bytes()),
        }
    }

    fn heads(org_ids: &[OrgId]) -> Heads {
        let mut heads = Heads::default();
        for org_id in org_ids {
            heads.learn(*org_id, Head::GENESIS);
        }
        heads
    }

    #[test]
    fn positions_run_on_over_organisations_and_sequences_within_them() {
        let (acme, zen) = (OrgId::new(), OrgId::new());
        let events = [event(acme, 1), event(zen, 2), event(acme, 3)];

        let seals = heads(&[acme, zen]).extend(7, &events);

        let numbers: Vec<_> = seals.iter().map(|s| (s.position, s.org_sequence)).collect();
        assert_eq!(numbers, [(8, 1), (9, 1), (10, 2)]);
    }

    #[test]
    fn each_link_follows_the_one_before_it_in_its_own_chain() {
        let (acme, zen) = (OrgId::new(), OrgId::new());
        let events = [event(acme, 1), event(zen, 2), event(acme, 3)];

        let seals = heads(&[acme, zen]).extend(0, &events);

        assert_eq!(seals[0].previous_hash, Digest::GENESIS);
        assert_eq!(seals[1].previous_hash, Digest::GENESIS);
        assert_eq!(seals[2].previous_hash, seals[0].hash);
        assert_eq!(seals[2].hash, next_link(&seals[0].hash, &events[2].digest));
    }

    #[test]
    fn an_organisation_is_asked_for_once() {
        let (acme, zen) = (OrgId::new(), OrgId::new());
        let events = [event(acme, 1), event(zen, 2), event(acme, 3)];

        assert_eq!(heads(&[zen]).unknown(&events), [acme]);
    }
}
