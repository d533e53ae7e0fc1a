//! The judge: compares what the writers were promised with what is there.
//!
//! **Invariant:** it reads tables as a superuser and decides here; only the chain of hashes is
//! left to the log's own verification.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::{PgPool, Row};
use store::Log;
use tokio::time::Instant;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::writers::Promises;

/// How long the log may take until everything is sealed and delivered. Kills leave work behind, and
/// a machine may be busy with other things; what stands still does not move in an hour either.
const SETTLES_WITHIN: Duration = Duration::from_mins(5);

/// A sealed event, as the tables tell it.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) position: i64,
    pub(crate) event_id: Uuid,
    pub(crate) org_id: Uuid,
    pub(crate) org_sequence: i64,
    /// Whether the event itself is there, exactly once.
    pub(crate) is_there: bool,
    /// Whether it is of the type that the writers record and the projections want.
    pub(crate) is_wanted: bool,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Sealed events.
    pub(crate) sealed: usize,
    /// Acknowledged events that have no place in the log.
    pub(crate) lost: usize,
    /// Events that a projection never saw.
    pub(crate) undelivered: usize,
    /// Events that a projection saw more than once, or that were never sealed.
    pub(crate) doubled: usize,
    /// Places where a position or a number within an organisation does not follow.
    pub(crate) gaps: usize,
    /// Places where a projection or a writer's own events are out of order.
    pub(crate) out_of_order: usize,
    /// Places where the chain does not hold.
    pub(crate) broken: u64,
}

impl Findings {
    /// Compares, one projection at a time.
    pub(crate) fn compare(
        promises: &Promises,
        sealed: &[Sealed],
        deliveries: &[(Uuid, i64)],
    ) -> Self {
        let positions: HashMap<Uuid, i64> =
            sealed.iter().filter(|seal| seal.is_there).map(|s| (s.event_id, s.position)).collect();
        let mut findings = Self { sealed: sealed.len(), ..Self::default() };
        for acknowledged in &promises.acknowledged {
            let places: Vec<i64> =
                acknowledged.iter().filter_map(|id| positions.get(id).copied()).collect();
            findings.lost += acknowledged.len() - places.len();
            findings.out_of_order += descents(&places);
        }
        findings.gaps = gaps(sealed);
        let mut seen = HashSet::new();
        for (event_id, position) in deliveries {
            let is_sealed = positions.get(event_id) == Some(position);
            findings.doubled += usize::from(!is_sealed || !seen.insert(*event_id));
        }
        let is_missed = |seal: &&Sealed| seal.is_wanted && !seen.contains(&seal.event_id);
        findings.undelivered = sealed.iter().filter(is_missed).count();
        let order: Vec<i64> = deliveries.iter().map(|(_, position)| *position).collect();
        findings.out_of_order += descents(&order);
        findings
    }

    /// The same log, seen by another projection as well.
    fn with_deliveries_of(mut self, other: &Self) -> Self {
        self.doubled += other.doubled;
        self.undelivered += other.undelivered;
        self.out_of_order += other.out_of_order;
        self
    }

    /// Whether everything was kept that was promised.
    pub(crate) fn is_clean(&self) -> bool {
        *self == Self { sealed: self.sealed, ..Self::default() }
    }
}

/// Where a place does not come after the one before it.
fn descents(places: &[i64]) -> usize {
    places.windows(2).filter(|pair| pair[1] <= pair[0]).count()
}

fn gaps(sealed: &[Sealed]) -> usize {
    let mut sequences: HashMap<Uuid, i64> = HashMap::new();
    sealed
        .iter()
        .zip(1_i64..)
        .filter(|(seal, position)| {
            let sequence = sequences.entry(seal.org_id).or_default();
            *sequence += 1;
            seal.position != *position || seal.org_sequence != *sequence
        })
        .count()
}

/// Waits until everything is sealed and delivered to `projections`, and judges.
///
/// # Panics
/// When the log does not settle: then something stands still that should move.
pub(crate) async fn judge(
    cluster: &Cluster,
    log: &Log,
    promises: &Promises,
    projections: &[&str],
) -> Findings {
    let mut findings = compare(&cluster.owner, promises, projections).await;
    let verdict = store::verify::verify(log.pool(), None, |_| {}).await;
    findings.broken = verdict.expect("the log can be read").broken_count;
    findings
}

/// Waits until everything is sealed and delivered, and finds everything but breaks of the chain.
pub(crate) async fn compare(owner: &PgPool, promises: &Promises, projections: &[&str]) -> Findings {
    settle(owner, projections).await;
    let sealed = sealed(owner).await;
    let mut findings: Option<Findings> = None;
    for projection in projections {
        let found = Findings::compare(promises, &sealed, &deliveries(owner, projection).await);
        findings = Some(match findings {
            None => found,
            Some(before) => before.with_deliveries_of(&found),
        });
    }
    findings.expect("there is a projection to ask")
}

async fn settle(owner: &PgPool, projections: &[&str]) {
    let names: Vec<String> = projections.iter().map(ToString::to_string).collect();
    let deadline = Instant::now() + SETTLES_WITHIN;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let waiting = sqlx::query(
            "select
                 (select count(*) from events.domain_events as event
                  where not exists (
                          select from events.seals as seal where seal.event_id = event.id)
                      and not exists (
                          select from events.duplicates as duplicate
                          where duplicate.arrival = event.arrival)) as unsealed,
                 (select count(*) from events.domain_events
                  where event_type = 'job_order_opened'
                      and arrival not in (select arrival from events.duplicates)) as wanted,
                 (select min(found.deliveries) from (
                      select count(delivery.position) as deliveries
                      from unnest($1::text[]) as wanted (name)
                      left join faults.deliveries as delivery on delivery.consumer = wanted.name
                      group by wanted.name) as found) as delivered",
        )
        .bind(&names)
        .fetch_one(owner)
        .await;
        let told = match waiting {
            Ok(row) => {
                let unsealed: i64 = row.get("unsealed");
                let wanted: i64 = row.get("wanted");
                let delivered: i64 = row.get("delivered");
                if unsealed == 0 && delivered >= wanted {
                    return;
                }
                format!("{unsealed} without a seal, {delivered} of {wanted} delivered")
            }
            Err(error) => error.to_string(),
        };
        assert!(Instant::now() < deadline, "the log does not settle: {told}");
    }
}

/// All seals, in the order of their positions.
async fn sealed(owner: &PgPool) -> Vec<Sealed> {
    let events = events(owner).await;
    let seals: Vec<(i64, Uuid, Uuid, i64)> = sqlx::query_as(
        "select position, event_id, org_id, org_sequence from events.seals order by position",
    )
    .fetch_all(owner)
    .await
    .expect("the owner may look at everything");
    let seal = |(position, event_id, org_id, org_sequence)| {
        let event = events.get(&(event_id, org_id));
        Sealed {
            position,
            event_id,
            org_id,
            org_sequence,
            is_there: event.is_some_and(|(copies, _)| *copies == 1),
            is_wanted: event.is_some_and(|(_, is_wanted)| *is_wanted),
        }
    };
    seals.into_iter().map(seal).collect()
}

/// How many rows each event has that were not set aside, and whether it is of the wanted type.
async fn events(owner: &PgPool) -> HashMap<(Uuid, Uuid), (u32, bool)> {
    let rows: Vec<(Uuid, Uuid, bool)> = sqlx::query_as(
        "select id, org_id, event_type = 'job_order_opened'
         from events.domain_events
         where arrival not in (select arrival from events.duplicates)",
    )
    .fetch_all(owner)
    .await
    .expect("the owner may look at everything");
    let mut events = HashMap::new();
    for (event_id, org_id, is_wanted) in rows {
        let (copies, _) = events.entry((event_id, org_id)).or_insert((0, is_wanted));
        *copies += 1;
    }
    events
}

/// What a projection saw, in the order in which it wrote it down.
async fn deliveries(owner: &PgPool, projection: &str) -> Vec<(Uuid, i64)> {
    sqlx::query_as(
        "select event_id, position from faults.deliveries where consumer = $1 order by delivery",
    )
    .bind(projection)
    .fetch_all(owner)
    .await
    .expect("the owner may look at everything")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of `count` events of one organisation and one writer, all kept.
    fn kept(count: i64) -> (Promises, Vec<Sealed>, Vec<(Uuid, i64)>) {
        let org_id = Uuid::now_v7();
        let sealed: Vec<Sealed> = (1..=count)
            .map(|position| Sealed {
                position,
                event_id: Uuid::now_v7(),
                org_id,
                org_sequence: position,
                is_there: true,
                is_wanted: true,
            })
            .collect();
        let ids = sealed.iter().map(|seal| seal.event_id).collect();
        let deliveries = sealed.iter().map(|seal| (seal.event_id, seal.position)).collect();
        (Promises { acknowledged: vec![ids], ..Promises::default() }, sealed, deliveries)
    }

    #[test]
    fn the_judge_has_nothing_to_say_of_a_log_that_kept_everything() {
        let (promises, sealed, deliveries) = kept(5);

        assert!(Findings::compare(&promises, &sealed, &deliveries).is_clean());
    }

    #[test]
    fn the_judge_misses_what_is_lost() {
        let (mut promises, mut sealed, deliveries) = kept(5);
        promises.acknowledged[0].push(Uuid::now_v7());
        sealed[4].is_there = false;

        let found = Findings::compare(&promises, &sealed, &deliveries);

        assert_eq!((found.lost, found.doubled), (2, 1), "{found:?}");
    }

    #[test]
    fn the_judge_sees_double_missing_and_disordered_deliveries() {
        let (promises, sealed, mut deliveries) = kept(5);
        deliveries[3] = deliveries[1];

        let found = Findings::compare(&promises, &sealed, &deliveries);

        assert_eq!((found.doubled, found.undelivered, found.out_of_order), (1, 1, 1));
    }

    #[test]
    fn the_judge_sees_gaps_and_events_of_one_writer_that_changed_places() {
        let (mut promises, mut sealed, _) = kept(5);
        promises.acknowledged[0].swap(1, 2);
        sealed.remove(4);
        sealed[3].org_sequence = 9;

        let found = Findings::compare(&promises, &sealed, &[]);

        assert_eq!((found.gaps, found.out_of_order, found.lost), (1, 1, 1), "{found:?}");
    }
}
