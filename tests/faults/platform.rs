//! The whole platform is killed with -9 and started again, while clients call it over HTTP.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::{Instant, interval, sleep};
use uuid::Uuid;

use crate::amount::times;
use crate::cluster::{DELIVERIES, run};
use crate::judge;
use crate::program::{Answers, Program};
use crate::random::{self, Random};
use crate::report::Row;
use crate::writers::Promises;

/// Writes down every job that follows from an event, wherever it goes afterwards, so a second one
/// shows.
const WITNESS: &str = "
create function faults.witness() returns trigger language plpgsql security definer as $$
begin
    insert into faults.deliveries (consumer, event_id, position)
    select split_part(new.unique_key, ':', 1), seal.event_id, seal.position
    from events.seals as seal
    where seal.event_id = split_part(new.unique_key, ':', 2)::uuid;
    return new;
end;
$$;
create trigger witness before insert on jobs.jobs for each row
    when (new.unique_key ~ '^[a-z_]+\\.[a-z_]+:[0-9a-f-]{36}$')
    execute function faults.witness();
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_killed_with_9_keeps_every_promise() {
    let (seed, began) = (random::seed(), Instant::now());
    eprintln!("platform: FINNEST_FAULTS_SEED={seed}");
    let mut random = Random::new(seed);
    let mut program = Program::start().await;
    let owner = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(program.owner());
    run(&owner, &(DELIVERIES.to_owned() + WITNESS)).await;

    let kills = times(20, 2);
    let (is_done, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let clients = program.open_job_orders(&is_done, &count);
    let harm = async {
        for _ in 0..kills {
            more(&count, 100).await;
            sleep(random.millis(0..500)).await;
            program.kill().await;
            program.start_again().await;
        }
        more(&count, 100).await;
        is_done.store(true, Ordering::Relaxed);
    };
    let (answers, ()) = tokio::join!(clients, harm);
    let promises = events_of(&owner, &answers).await;
    let reactions = reactions(&owner).await;
    let names: Vec<&str> = reactions.iter().map(String::as_str).collect();
    let mut findings = judge::compare(&owner, &promises, &names).await;
    findings.doubled += twice(&owner).await;
    let (holds, said) = program.command(&["verify", "--local"]).await;

    findings.broken = u64::from(!holds);
    let row = Row {
        fault: "The platform killed with -9",
        harm: format!("{kills} kills and restarts; {} reactions watched", names.len()),
        acknowledged: promises.acknowledged_count(),
        in_doubt: answers.unanswered,
        failed: 0,
        findings,
        took: began.elapsed(),
        seed,
    };
    row.tell();
    assert!(names.len() >= 4, "four domains react to a job order: {names:?}");
    assert!(row.findings.is_clean(), "{row:?}\n{said}");
}

/// Waits until `more` requests were answered.
async fn more(count: &AtomicU64, more: u64) {
    let target = count.load(Ordering::Relaxed) + more;
    let mut ticks = interval(Duration::from_millis(5));
    while count.load(Ordering::Relaxed) < target {
        ticks.tick().await;
    }
}

/// The events that tell of the job orders in `answers`; any id for one of which nothing tells.
async fn events_of(owner: &PgPool, answers: &Answers) -> Promises {
    let told: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select aggregate_id, id from events.domain_events where event_type = 'job_order_opened'",
    )
    .fetch_all(owner)
    .await
    .expect("the owner may look at everything");
    let told: HashMap<Uuid, Uuid> = told.into_iter().collect();
    let event_of = |job_order: &Uuid| told.get(job_order).copied().unwrap_or(Uuid::nil());
    let acknowledged =
        answers.job_orders.iter().map(|client| client.iter().map(event_of).collect()).collect();
    Promises { acknowledged, ..Promises::default() }
}

/// The reactions to a job order.
async fn reactions(owner: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select distinct delivery.consumer
         from faults.deliveries as delivery
         join events.domain_events as event on event.id = delivery.event_id
         where event.event_type = 'job_order_opened'",
    )
    .fetch_all(owner)
    .await
    .expect("the owner may look at everything")
}

/// How many requests had their effect more than once.
async fn twice(owner: &PgPool) -> usize {
    let count: i64 = sqlx::query_scalar(
        "select count(*) from (
             select from recruit.job_orders group by title having count(*) > 1
             union all
             select from events.domain_events where event_type = 'job_order_opened'
             group by aggregate_id having count(*) > 1
         ) as found",
    )
    .fetch_one(owner)
    .await
    .expect("the owner may look at everything");
    usize::try_from(count).expect("a count")
}
