//! Staging.

use std::time::Duration;

use jobs::{Outcome, Performed, stager};
use serde_json::json;

use crate::world::{World, performing, start};

#[tokio::test]
async fn a_job_whose_time_has_come_is_staged_and_its_queue_hears_of_it() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let root = start(&world, &queues, completing()).await;
    let mut job = world.job(json!({}));
    job.scheduled_at = Some(world.clock.now() + Duration::from_mins(1));
    world.enqueue(&job).await;

    let early = stager::stage(&queues).await;
    world.clock.advance(Duration::from_mins(1));
    let in_time = stager::stage(&queues).await;

    world.until_count("completed", 1).await;
    assert_eq!((early.ok(), in_time.ok()), (Some(0), Some(1)));
    root.stop().await;
}

fn completing() -> jobs::Performers {
    performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) })
}
