//! The leader: one node at a time does the duties of all queues.

use std::time::Duration;

use jobs::{Queues, duties, leader, lifeline};
use otp::{Root, Strategy, SupervisorSpec};
use serde_json::json;

use crate::world::{World, until};

#[tokio::test]
async fn one_of_many_nodes_leads_and_goes_on_leading() {
    let world = World::new().await;
    let nodes = [world.node("one").await, world.node("two").await, world.node("three").await];

    let first = futures_util::future::join_all(nodes.iter().map(leader::campaign)).await;
    let again = futures_util::future::join_all(nodes.iter().map(leader::campaign)).await;

    let won = |round: Vec<Result<bool, _>>| -> Vec<bool> {
        round.into_iter().map(|won: Result<bool, sqlx::Error>| won.unwrap()).collect()
    };
    let (first, again) = (won(first), won(again));
    let leading: Vec<bool> = nodes.iter().map(Queues::is_leader).collect();
    assert_eq!(first.iter().filter(|won| **won).count(), 1);
    assert_eq!((&first, &first), (&again, &leading));
    assert_eq!(current(&nodes[0]).await.epoch, 1);
}

#[tokio::test]
async fn a_leader_that_gives_up_is_followed_by_who_asks_next() {
    let world = World::new().await;
    let (one, two) = (world.node("one").await, world.node("two").await);
    leader::campaign(&one).await.expect("the database is there");

    leader::resign(&one).await.expect("the database is there");
    let followed = leader::campaign(&two).await;
    let back = leader::campaign(&one).await;

    assert_eq!((followed.ok(), back.ok()), (Some(true), Some(false)));
    assert_eq!((one.is_leader(), two.is_leader()), (false, true));
    let leader = current(&one).await;
    assert_eq!((leader.node.as_str(), leader.epoch), (two.node_id(), 2));
    assert_eq!(leader.name.as_deref(), Some("two"));
    assert!(!leader.is_expired);
}

#[tokio::test]
async fn a_leader_that_died_is_replaced_when_its_lease_has_ended() {
    let world = World::new().await;
    let (dead, other) = (world.node("one").await, world.node("two").await);
    leader::campaign(&dead).await.expect("the database is there");

    let early = leader::campaign(&other).await;
    let lapse = "update jobs.leaders set expires_at = clock_timestamp() - interval '1 second'";
    sqlx::query(lapse).execute(&world.owner).await.expect("the owner may");
    let late = leader::campaign(&other).await;

    assert_eq!((early.ok(), late.ok()), (Some(false), Some(true)));
    assert_eq!(current(&other).await.epoch, 2);
}

#[tokio::test]
async fn a_node_that_starts_again_leads_at_once_in_place_of_its_predecessor() {
    let world = World::new().await;
    let killed = world.node("one").await;
    leader::campaign(&killed).await.expect("the database is there");

    let successor = world.node("one").await;
    let leads = leader::campaign(&successor).await;

    assert_eq!(leads.ok(), Some(true));
    assert_eq!(leader::campaign(&killed).await.ok(), Some(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_stages_until_it_stops() {
    let world = World::new().await;
    let (one, two) = (world.node("one").await, world.node("two").await);
    let first = duties_of(&world, &one).await;
    let second = duties_of(&world, &two).await;
    assert_eq!((one.is_leader(), two.is_leader()), (true, false));
    let mut job = world.job(json!({}));
    job.scheduled_at = Some(world.clock.now() + Duration::from_mins(1));
    world.enqueue(&job).await;

    first.stop().await;
    assert!(current(&two).await.is_expired);
    until("the other to lead", async || two.is_leader()).await;
    world.clock.advance(Duration::from_mins(1));

    world.until_count("available", 1).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_both_think_they_lead_rescue_every_job_once() {
    let world = World::new().await;
    let dead = world.node("dead").await;
    world.enqueue_many(600).await;
    let mut transaction = world.runtime().await;
    let now = world.clock.now();
    let claimed = jobs::claim(&mut transaction, "recruit", 600, dead.node_id(), now).await;
    assert_eq!(claimed.map(|claimed| claimed.len()).ok(), Some(600));
    transaction.commit().await.expect("the database is there");
    let (one, two) = (world.node("one").await, world.node("two").await);
    for _ in 0..4 {
        world.clock.advance(Duration::from_secs(5));
        lifeline::beat(&one).await.expect("the database is there");
        lifeline::beat(&two).await.expect("the database is there");
    }

    let (first, second) = tokio::join!(lifeline::rescue(&one), lifeline::rescue(&two));

    assert_eq!(first.unwrap() + second.unwrap(), 600);
    assert_eq!(world.count("available").await, 600);
}

async fn current(queues: &Queues) -> leader::Leader {
    let leader = leader::current(queues).await.expect("the database is there");
    leader.expect("somebody leads, or led")
}

async fn duties_of(world: &World, queues: &Queues) -> Root {
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .child(duties::leader(queues))
        .child(duties::stager(queues))
        .child(duties::lifeline(queues))
        .child(duties::pruner(queues));
    Root::start(spec, world.clock.clone()).await.expect("the duties start")
}
