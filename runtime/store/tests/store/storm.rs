//! Writers that commit, roll back and hang as chance has it: the order is gapless all the same.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use kernel::{EventId, OrgId, Position};
use sqlx::{Postgres, Transaction};
use store::{NewEvent, SealedEvent, read, sealer};

use crate::database::{TestLog, opened, supervise};

/// Numbers that look random and are the same in every run (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What one writer left: what it committed, and what still hangs.
type Left = (Vec<EventId>, Vec<(EventId, Transaction<'static, Postgres>)>);

/// One writer of 15 transactions of up to four events: most commit, some roll back, one may hang.
async fn write(log: &TestLog, seed: u64, organisations: &[OrgId]) -> Left {
    let mut chance = Chance(seed);
    let (mut committed, mut hanging) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        let place = usize::try_from(chance.below(organisations.len() as u64)).expect("small");
        let org_id = organisations[place];
        let batch: Vec<NewEvent> =
            (0..=chance.below(4)).map(|number| opened(org_id, number.cast_signed())).collect();
        let mut transaction = log.begin("recruit", org_id).await;
        store::append_all(&mut transaction, &batch).await.expect("a domain may append");
        let mut ids = batch.iter().map(|event| event.event_id);
        match chance.below(10) {
            0..=1 => transaction.rollback().await.expect("nothing is in the way"),
            2 if hanging.is_empty() && seed.is_multiple_of(4) => {
                hanging.extend(ids.next_back().map(|last| (last, transaction)));
            }
            _ => {
                transaction.commit().await.expect("nothing is in the way");
                committed.extend(ids);
                log.log.nudge();
            }
        }
    }
    (committed, hanging)
}

fn assert_gapless(events: &[SealedEvent]) {
    let mut sequences: HashMap<OrgId, i64> = HashMap::new();
    for (event, position) in events.iter().zip(1..) {
        assert_eq!(event.position, Position(position));
        let sequence = sequences.entry(event.org_id).or_default();
        *sequence += 1;
        assert_eq!(event.org_sequence, *sequence);
    }
}

#[tokio::test]
async fn whatever_32_writers_do_what_is_committed_is_sealed_once_and_nothing_else() {
    let log = TestLog::create().await;
    let organisations: Vec<OrgId> = (0..7).map(|_| OrgId::new()).collect();
    let root = supervise([sealer::child(&log.log)]).await;

    let left = join_all((0..32).map(|seed| write(&log, seed, &organisations))).await;
    let mut committed = HashSet::new();
    for (ids, hanging) in left {
        committed.extend(ids);
        for (last, transaction) in hanging {
            transaction.commit().await.expect("nothing is in the way");
            committed.insert(last);
        }
    }
    root.stop().await;
    sealer::seal_all(&log.log).await.expect("sealing works");

    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    let events = read::after(&mut reading, Position::ORIGIN, 10_000).await;
    let events = events.expect("the log can be read");
    assert_gapless(&events);
    let sealed: HashSet<EventId> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(sealed.len(), events.len(), "each once");
    assert!(committed.is_subset(&sealed), "nothing that was committed is missing");
    let kept = log.count("select count(*) from events.domain_events").await;
    assert_eq!(i64::try_from(events.len()).expect("few"), kept, "what was rolled back is nowhere");
    log.assert_holds().await;
}

#[tokio::test]
async fn what_one_look_finds_is_sealed_in_the_order_of_its_arrival() {
    let log = TestLog::create().await;
    let organisations: Vec<OrgId> = (0..3).map(|_| OrgId::new()).collect();
    let left = join_all((0..16).map(|seed| write(&log, seed, &organisations))).await;
    let mut hanging: Vec<_> = left.into_iter().flat_map(|(_, hanging)| hanging).collect();

    sealer::seal_all(&log.log).await.expect("sealing works");
    while let Some((_, transaction)) = hanging.pop() {
        transaction.commit().await.expect("nothing is in the way");
    }
    sealer::seal_all(&log.log).await.expect("sealing works");

    // A look ends with a seal that holds its snapshot.
    let misplaced = log
        .count(
            "with look as (
                 select seal.position, event.arrival,
                     (select min(last.position) from events.seals as last
                      where last.sealed_snapshot is not null and last.position >= seal.position)
                         as last_position
                 from events.seals as seal
                 join events.domain_events as event on event.id = seal.event_id
             ), placed as (
                 select arrival, lag(arrival) over (partition by last_position order by position)
                     as arrival_before
                 from look
             )
             select count(*) from placed where arrival < arrival_before",
        )
        .await;
    let looks = log.count("select count(sealed_snapshot) from events.seals").await;
    assert_eq!((misplaced, looks), (0, 2));
    log.assert_holds().await;
}
