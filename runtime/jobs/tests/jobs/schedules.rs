//! What operators do with schedules, and that it holds on every node.

use std::time::Duration;

use jobs::cron::{self, Crontab, Source, WishError};
use jobs::{CronEntry, Outcome, Performed, Queues, Schedule, admin, drain};
use kernel::Timestamp;
use serde_json::json;

use crate::world::{QUEUE, WORK, World, performing};

const NAME: &str = "recruit.refresh_pool";

#[tokio::test]
async fn a_change_wins_over_the_code_on_every_node_until_it_is_reset() {
    let world = World::new().await;
    let (one, two) = (world.node("one").await, world.node("two").await);
    let (here, there) = (declared("@daily"), declared("@daily"));
    let changed = CronEntry { args: json!({ "deep": true }), ..entry("every 10 minutes") };

    let info = cron::put(&one, &here, &changed).await.expect("it is well-formed");
    tick(&two, &there).await;
    world.clock.advance(Duration::from_mins(10));
    let by_change = tick(&two, &there).await;
    let reset = cron::reset(&two, &there, NAME).await.expect("it is declared");
    world.clock.advance(Duration::from_mins(10));
    let after_reset = tick(&one, &here).await;

    assert_eq!((info.source, reset.source), (Source::Changed, Source::Declared));
    assert_eq!((by_change, after_reset), (1, 0));
    let page = admin::list_jobs(&one, &admin::JobFilter::default(), None, 10).await;
    assert_eq!(page.expect("the database is there").jobs[0].args, json!({ "deep": true }));
}

#[tokio::test]
async fn a_change_outlives_a_deploy_that_declares_something_else() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let changed = entry("every 10 minutes");
    cron::put(&queues, &declared("@daily"), &changed).await.expect("it is well-formed");

    let info = cron::get(&queues, &declared("@hourly"), NAME).await.expect("it is declared");

    assert_eq!(info.entry.map(|entry| entry.schedule), Some(changed.schedule));
    assert_eq!(info.declared, Some(entry("@hourly")));
}

#[tokio::test]
async fn what_was_paused_is_not_missed() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = declared("every 5 minutes");
    tick(&queues, &crontab).await;

    let paused = cron::pause(&queues, &crontab, NAME).await.expect("it is declared");
    world.clock.advance(Duration::from_hours(1));
    let while_paused = tick(&queues, &crontab).await;
    let resumed = cron::resume(&queues, &crontab, NAME).await.expect("it is declared");
    let at_once = tick(&queues, &crontab).await;
    world.clock.advance(Duration::from_mins(5));
    let next = tick(&queues, &crontab).await;

    assert_eq!((while_paused, at_once, next), (0, 0, 1));
    assert_eq!((paused.next_tick, paused.paused_at.is_some()), (None, true));
    assert_eq!((resumed.next_tick.is_some(), resumed.paused_at), (true, None));
}

#[tokio::test]
async fn a_declared_entry_that_is_deleted_stays_deleted_until_it_is_reset() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = declared("every 5 minutes");
    tick(&queues, &crontab).await;

    cron::delete(&queues, &crontab, NAME).await.expect("it is declared");
    world.clock.advance(Duration::from_hours(1));
    let after_restart = tick(&queues, &declared("every 5 minutes")).await;
    let listed = cron::list(&queues, &crontab).await.expect("the database is there");
    cron::reset(&queues, &crontab, NAME).await.expect("it is declared");
    world.clock.advance(Duration::from_mins(5));
    let after_reset = tick(&queues, &crontab).await;

    assert_eq!((after_restart, after_reset), (0, 1));
    assert_eq!(listed.len(), 1);
    assert!(listed[0].deleted_at.is_some() && listed[0].entry.is_none());
}

#[tokio::test]
async fn an_entry_that_an_operator_made_ticks_until_it_is_deleted() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = Crontab::default();

    let made = cron::put(&queues, &crontab, &entry("every 5 minutes")).await.expect("well-formed");
    world.clock.advance(Duration::from_mins(5));
    let ticked = tick(&queues, &crontab).await;
    cron::delete(&queues, &crontab, NAME).await.expect("it exists");
    world.clock.advance(Duration::from_mins(5));
    let deleted = tick(&queues, &crontab).await;

    assert_eq!((made.source, ticked, deleted), (Source::Made, 1, 0));
    assert!(cron::list(&queues, &crontab).await.expect("the database is there").is_empty());
}

#[tokio::test]
async fn an_entry_may_be_run_at_once_and_goes_on_as_ever() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = declared("every 5 minutes");
    tick(&queues, &crontab).await;

    let first = cron::run_now(&queues, &crontab, NAME).await.expect("it is declared");
    let second = cron::run_now(&queues, &crontab, NAME).await.expect("it is declared");
    world.clock.advance(Duration::from_mins(5));
    let ticked = tick(&queues, &crontab).await;

    assert_ne!(first, second);
    assert_eq!(ticked, 1);
    assert_eq!(world.count("available").await, 3);
}

#[tokio::test]
async fn a_list_shows_the_last_job_and_the_next_tick() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = declared("every 5 minutes");
    tick(&queues, &crontab).await;
    world.clock.advance(Duration::from_mins(5));
    tick(&queues, &crontab).await;
    let performers = performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) });
    drain::drain(&queues, QUEUE, &performers).await.expect("the job is performed");

    let listed = cron::list(&queues, &crontab).await.expect("the database is there");

    let [info] = &listed[..] else { panic!("one entry is declared, not {}", listed.len()) };
    let job = admin::get_job(&queues, info.job_id.expect("it ticked")).await;
    assert_eq!(job.map(|job| job.meta["cron"].clone()).ok(), Some(json!(NAME)));
    let next: Option<Timestamp> = info.next_tick;
    assert!(next.is_some_and(|next| next > world.clock.now()));
}

#[tokio::test]
async fn a_wish_that_cannot_be_granted_says_why() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = Crontab::default();
    let bad = CronEntry { priority: 12, ..entry("@daily") };

    let unknown = cron::pause(&queues, &crontab, "nothing").await;
    let refused = cron::put(&queues, &crontab, &bad).await;
    cron::put(&queues, &crontab, &entry("@daily")).await.expect("it is well-formed");
    let undeclared = cron::reset(&queues, &crontab, NAME).await;

    assert!(matches!(unknown, Err(WishError::NoSuchEntry(name)) if name == "nothing"));
    assert!(matches!(refused, Err(WishError::Entry(error)) if error.field == "priority"));
    assert!(matches!(undeclared, Err(WishError::NotDeclared(_))));
}

#[tokio::test]
async fn a_definition_that_cannot_be_read_stops_no_other_entry() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = declared("every 5 minutes");
    tick(&queues, &crontab).await;
    let later = "insert into jobs.schedules (name, ticked_at, definition)
                 values ('later', now(), '{\"schedule\": \"@daily\", \"moon\": \"full\"}')";
    sqlx::query(later).execute(&world.owner).await.expect("the owner may");

    world.clock.advance(Duration::from_mins(5));
    let ticked = tick(&queues, &crontab).await;
    let listed = cron::list(&queues, &crontab).await.expect("the database is there");

    assert_eq!(ticked, 1);
    assert!(listed[0].problem.as_ref().is_some_and(|problem| problem.contains("moon")));
}

async fn tick(queues: &Queues, crontab: &Crontab) -> u64 {
    cron::tick(queues, crontab).await.expect("the database is there")
}

fn declared(schedule: &str) -> Crontab {
    Crontab::new(vec![entry(schedule)])
}

fn entry(schedule: &str) -> CronEntry {
    let schedule = Schedule::parse(schedule, None).expect("it is well-formed");
    CronEntry::new(NAME, schedule, QUEUE, WORK)
}
