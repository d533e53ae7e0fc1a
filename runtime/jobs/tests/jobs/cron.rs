//! What recurs becomes jobs: each tick once, whatever nodes and clocks do.

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use jobs::cron::{self, Crontab};
use jobs::{CronEntry, Missed, Outcome, Performed, Queues, Schedule, drain};
use kernel::Timestamp;
use otp::Clock;
use serde_json::json;

use crate::world::{QUEUE, WORK, World, performing};

#[tokio::test]
async fn each_tick_becomes_one_job_over_all_nodes() {
    let world = World::new().await;
    let nodes = [world.node("one").await, world.node("two").await, world.node("three").await];
    let crontabs = nodes.each_ref().map(|_| Crontab::new(vec![every_five_minutes()]));
    tick_all(&nodes, &crontabs).await;

    let mut enqueued = Vec::new();
    for _ in 0..3 {
        world.clock.advance(Duration::from_mins(5));
        enqueued.push(tick_all(&nodes, &crontabs).await);
    }

    assert_eq!(enqueued, [1, 1, 1]);
    assert_eq!(world.count("available").await, 3);
}

#[tokio::test]
async fn a_new_entry_begins_with_its_next_tick() {
    let world = World::new().await;
    let queues = world.node("one").await;

    let enqueued = cron::tick(&queues, &Crontab::new(vec![every_five_minutes()])).await;

    assert_eq!(enqueued.ok(), Some(0));
}

#[tokio::test]
async fn missed_ticks_are_made_up_for_by_one_job() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = || Crontab::new(vec![every_five_minutes()]);
    cron::tick(&queues, &crontab()).await.expect("the database is there");

    world.clock.advance(Duration::from_hours(3));
    let enqueued = cron::tick(&queues, &crontab()).await;

    assert_eq!(enqueued.ok(), Some(1));
}

#[tokio::test]
async fn a_clock_set_back_runs_nothing_twice() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = || Crontab::new(vec![every_five_minutes()]);
    cron::tick(&queues, &crontab()).await.expect("the database is there");
    world.clock.advance(Duration::from_hours(1));
    cron::tick(&queues, &crontab()).await.expect("the database is there");

    let earlier = Clock::manual(world.clock.now() - Duration::from_mins(30));
    let behind = Queues::new(world.pool.clone(), earlier.clone(), "two");
    let set_back = cron::tick(&behind, &crontab()).await;
    earlier.advance(Duration::from_mins(30));
    let caught_up = cron::tick(&behind, &crontab()).await;

    assert_eq!((set_back.ok(), caught_up.ok()), (Some(0), Some(0)));
    assert_eq!(world.count("available").await, 1);
}

#[tokio::test]
async fn ticks_that_were_missed_are_treated_as_the_entry_says() {
    let hour = Duration::from_hours(1);
    let cases =
        [(Missed::Skip, 0), (Missed::Latest, 1), (Missed::All(5), 5), (Missed::All(50), 12)];

    for (missed, expected) in cases {
        let world = World::new().await;
        let queues = world.node("one").await;
        let crontab = || Crontab::new(vec![CronEntry { missed, ..every_five_minutes() }]);
        tick(&queues, &crontab()).await;

        world.clock.advance(hour + Duration::from_mins(2));
        let late = tick(&queues, &crontab()).await;
        world.clock.advance(Duration::from_mins(3));
        let in_time = tick(&queues, &crontab()).await;

        assert_eq!((late, in_time), (expected, 1), "{missed:?}");
        assert_eq!(ticks_of(&world).await.len() as u64, expected + 1, "{missed:?}");
    }
}

#[tokio::test]
async fn an_entry_that_recurs_otherwise_begins_with_its_next_tick() {
    let world = World::new().await;
    let queues = world.node("one").await;
    tick(&queues, &Crontab::new(vec![every_five_minutes()])).await;
    world.clock.advance(Duration::from_mins(4));
    let schedule = Schedule::parse("every 2 minutes", None).expect("it is well-formed");
    let changed =
        || Crontab::new(vec![CronEntry { schedule: schedule.clone(), ..every_five_minutes() }]);

    let at_once = tick(&queues, &changed()).await;
    world.clock.advance(Duration::from_mins(2));
    let next = tick(&queues, &changed()).await;

    assert_eq!((at_once, next), (0, 1));
}

#[tokio::test]
async fn nodes_of_two_versions_take_each_tick_once_and_only_what_they_declare() {
    let world = World::new().await;
    let (old, new) = (world.node("old").await, world.node("new").await);
    let renamed = CronEntry { name: "recruit.added".into(), ..every_five_minutes() };
    let gone = CronEntry { name: "recruit.gone".into(), ..every_five_minutes() };
    let olds = Crontab::new(vec![every_five_minutes(), gone]);
    let news = Crontab::new(vec![every_five_minutes(), renamed]);
    for (queues, crontab) in [(&old, &olds), (&new, &news)] {
        tick(queues, crontab).await;
    }

    let mut enqueued = Vec::new();
    for _ in 0..4 {
        world.clock.advance(Duration::from_mins(5));
        enqueued.push(tick(&old, &olds).await + tick(&new, &news).await);
    }
    for _ in 0..2 {
        world.clock.advance(Duration::from_mins(5));
        enqueued.push(tick(&new, &news).await);
    }

    assert_eq!(enqueued, [3, 3, 3, 3, 2, 2]);
    let ticks = ticks_of(&world).await;
    assert_eq!(ticks.iter().collect::<HashSet<_>>().len(), ticks.len());
    assert_eq!(ticks.iter().filter(|(name, _)| name == "recruit.gone").count(), 4);
}

#[tokio::test]
async fn a_tick_is_passed_over_while_the_job_of_the_last_is_not_done() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let entry = CronEntry { is_exclusive: true, missed: Missed::All(9), ..every_five_minutes() };
    let crontab = Crontab::new(vec![entry]);
    tick(&queues, &crontab).await;
    let five_minutes = Duration::from_mins(5);

    world.clock.advance(five_minutes * 3);
    let several_missed = tick(&queues, &crontab).await;
    world.clock.advance(five_minutes);
    let while_it_waits = tick(&queues, &crontab).await;
    drain::drain(&queues, QUEUE, &completing()).await.expect("the job is performed");
    world.clock.advance(five_minutes);
    let after_it_is_done = tick(&queues, &crontab).await;

    assert_eq!((several_missed, while_it_waits, after_it_is_done), (1, 0, 1));
}

#[tokio::test]
async fn a_clock_that_was_hours_ahead_neither_stops_an_entry_nor_repeats_a_tick() {
    let world = World::new().await;
    let wild = Clock::manual(world.clock.now());
    let queues = Queues::new(world.pool.clone(), wild.clone(), "one");
    let crontab = Crontab::new(vec![every_five_minutes()]);
    tick(&queues, &crontab).await;
    let right = wild.now();

    wild.set(right + TimeDelta::days(300));
    let ahead = tick(&queues, &crontab).await;
    wild.set(right);
    let set_right = tick(&queues, &crontab).await;
    wild.advance(Duration::from_mins(5));
    let again = tick(&queues, &crontab).await;

    assert_eq!((ahead, set_right, again), (1, 0, 1));
}

/// Three nodes, each with a clock that jumps to and fro by anything from seconds to weeks, one of
/// them restarting now and then. The seeds are fixed, so a failure repeats.
#[tokio::test]
async fn clocks_that_jump_at_random_never_run_a_tick_twice() {
    for seed in [1, 7, 1_000_003] {
        let world = World::new().await;
        let start = world.clock.now();
        let clocks = [(); 3].map(|()| Clock::manual(start));
        let nodes =
            clocks.each_ref().map(|clock| Queues::new(world.pool.clone(), clock.clone(), "node"));
        let mut crontabs = [(); 3].map(|()| crontab_of_all_kinds());
        let mut random = Random(seed);

        for _ in 0..120 {
            let node = random.below(3);
            let clock = &clocks[node];
            clock.set(match random.below(10) {
                0 => start + TimeDelta::seconds(random.up_to(14 * 86_400)),
                1 | 2 => clock.now() - TimeDelta::seconds(random.up_to(7_200)),
                3 => clock.now() + TimeDelta::seconds(random.up_to(86_400)),
                _ => clock.now() + TimeDelta::seconds(random.up_to(600)),
            });
            if random.below(20) == 0 {
                crontabs[node] = crontab_of_all_kinds();
            }
            tick(&nodes[node], &crontabs[node]).await;
        }

        let ticks = ticks_of(&world).await;
        let distinct: HashSet<_> = ticks.iter().collect();
        assert_eq!(distinct.len(), ticks.len(), "seed {seed}: a tick ran twice");
        assert!(ticks.len() > 25, "seed {seed}: only {} ticks", ticks.len());
        for (name, tick) in &ticks {
            let crontab = crontab_of_all_kinds();
            let entry =
                crontab.entries().iter().find(|entry| entry.name == *name).expect("declared");
            assert_eq!(entry.schedule.latest_tick(*tick), Some(*tick), "{name} never ticks then");
        }
    }
}

fn crontab_of_all_kinds() -> Crontab {
    let entry = |name: &str, schedule: &str, zone: Option<&str>, missed| CronEntry {
        name: name.into(),
        schedule: Schedule::parse(schedule, zone).expect("it is well-formed"),
        missed,
        ..every_five_minutes()
    };
    Crontab::new(vec![
        entry("period", "every 3 minutes", None, Missed::Latest),
        entry("hourly", "@hourly", Some("Europe/Berlin"), Missed::All(10)),
        entry("nightly", "30 2 * * *", Some("America/New_York"), Missed::Latest),
        entry("quarters", "*/15 8-17 * * mon-fri", None, Missed::Skip),
    ])
}

/// Numbers that look random and are the same for each seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).expect("31 bits fit") % bound
    }

    fn up_to(&mut self, bound: i64) -> i64 {
        i64::try_from(self.next()).expect("31 bits fit") % bound
    }
}

/// The ticks that became jobs, with the names of their entries.
async fn ticks_of(world: &World) -> Vec<(String, Timestamp)> {
    let statement = "select meta->>'cron', (meta->>'cron_tick')::timestamptz from jobs.every_job
                     where meta ? 'cron_tick'";
    sqlx::query_as(statement).fetch_all(&world.owner).await.expect("the owner may")
}

async fn tick(queues: &Queues, crontab: &Crontab) -> u64 {
    cron::tick(queues, crontab).await.expect("the database is there")
}

async fn tick_all(nodes: &[Queues], crontabs: &[Crontab]) -> u64 {
    let ticks = nodes.iter().zip(crontabs).map(|(queues, crontab)| tick(queues, crontab));
    futures_util::future::join_all(ticks).await.into_iter().sum()
}

fn every_five_minutes() -> CronEntry {
    let schedule = Schedule::parse("every 5 minutes", None).expect("it is well-formed");
    CronEntry { args: json!({}), ..CronEntry::new("recruit.refresh_pool", schedule, QUEUE, WORK) }
}

fn completing() -> jobs::Performers {
    performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) })
}
