//! The reindexer: indexes that have become too large are rebuilt, and only those.

use jobs::reindexer::{self, Bloated};
use sqlx::Executor as _;

use crate::world::World;

/// Small enough for a test, and still far from a new index.
const BLOATED: Bloated = Bloated { bytes_min: 200_000, factor_min: 4 };

#[tokio::test]
async fn an_index_that_jobs_have_passed_through_is_rebuilt_and_the_others_are_left() {
    let world = World::new().await;
    world.enqueue_many(1).await;
    let pass = "insert into jobs.jobs (id, org_id, queue, name, args, scope, max_attempts, \
                timeout_ms, inserted_at, scheduled_at)
                select gen_random_uuid(), org_id, queue, name, args, scope, max_attempts, \
                timeout_ms, inserted_at, scheduled_at
                from jobs.jobs cross join generate_series(1, 20000) as number";
    world.owner.execute(pass).await.expect("the owner may");
    world.owner.execute("delete from jobs.jobs").await.expect("the owner may");
    world.owner.execute("vacuum jobs.jobs").await.expect("the owner may");
    let queues = world.node("one").await;
    let before = size(&queues, "jobs.jobs_to_claim").await;

    let first = reindexer::reindex(&world.owner.connect_options(), BLOATED).await;
    let second = reindexer::reindex(&world.owner.connect_options(), BLOATED).await;

    let (first, second) = (first.expect("the owner may"), second.expect("the owner may"));
    assert!(first.rebuilt.contains(&"jobs.jobs_to_claim".to_owned()), "{first:?}");
    assert!(!first.rebuilt.iter().any(|index| index.contains("finished")), "{first:?}");
    assert_eq!((second.rebuilt, second.dropped), (vec![], vec![]));
    assert!(size(&queues, "jobs.jobs_to_claim").await < before / 4);
}

#[tokio::test]
async fn what_a_failed_rebuild_left_behind_is_dropped() {
    let world = World::new().await;
    let left = "create index jobs_to_claim_ccnew on jobs.jobs (queue)";
    world.owner.execute(left).await.expect("the owner may");
    let invalid = "update pg_index set indisvalid = false
                   where indexrelid = 'jobs.jobs_to_claim_ccnew'::regclass";
    world.owner.execute(invalid).await.expect("the owner of the server may");

    let done = reindexer::reindex(&world.owner.connect_options(), BLOATED).await;

    let done = done.expect("the owner may");
    assert_eq!(done.dropped, ["jobs.jobs_to_claim_ccnew"]);
    assert_eq!(done.rebuilt, Vec::<String>::new());
}

async fn size(queues: &jobs::Queues, index: &str) -> u64 {
    let sizes = reindexer::sizes(queues).await.expect("the database is there");
    sizes.iter().find(|size| size.index == index).expect("the index exists").bytes
}
