//! One bad job, in the same process as many good ones of its own queue and of another's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use faults::order::Say;
use faults::work::Way;
use otp::process::OsProcessSpec;
use otp::{Clock, Intensity, Root, Strategy, SupervisorSpec};

use super::expected::{Expected, alike};
use super::site::{HARMED, OTHER, Site, until};
use super::table::Row;
use super::worker::{PROGRAM, Worker};
use crate::amount::times;
use crate::cluster::folder;

/// How many jobs are well-behaved, of each queue.
fn good() -> i64 {
    times(2_000, 100).into()
}

/// Bad jobs are numbered from zero, good ones from here, those of the other queue from there.
const GOOD: i64 = 1_000;
const OTHERS: i64 = 1_000_000;
/// How much memory the process of a domain may take.
const MEMORY_MAX: u64 = 256 << 20;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many bad jobs are in the hands of their first attempt.
const HELD: &str = "
select count(*) from jobs.jobs
where state = 'executing' and attempt = 1 and args ->> 'way' = 'spinning'
";
/// How many jobs of the other queue, and good ones of the same, have been done.
const DONE: &str = "select count(*) from faults.effects";

/// Enqueues the bad jobs and, once somebody has begun with them, the good ones.
async fn enqueue(site: &Site, bad: &[Way]) -> Vec<Expected> {
    let mut expected = Vec::new();
    for (number, way) in (0..).zip(bad) {
        let (one, jobs) = alike(HARMED, *way, number..number + 1);
        site.enqueuer.enqueue(&jobs).await;
        expected.extend(one);
    }
    let begun = async || {
        let waiting = "select count(*) from jobs.jobs where attempt = 0";
        site.cluster.number(waiting).await == Some(0)
    };
    until("somebody to begin", PATIENCE, begun).await;
    for (queue, first) in [(HARMED, GOOD), (OTHER, OTHERS)] {
        let (good, jobs) = alike(queue, Way::Command, first..first + good());
        for batch in jobs.chunks(100) {
            site.enqueuer.enqueue(batch).await;
        }
        expected.extend(good);
    }
    expected
}

/// The errors of a bad job, oldest first, and how many attempts it had.
async fn errors(site: &Site, number: i64) -> Vec<String> {
    sqlx::query_scalar(
        "select error ->> 'error' from jobs.finished as job, jsonb_array_elements(job.errors)
             with ordinality as error (error, place)
         where (job.args ->> 'number')::bigint = $1 and job.queue = 'recruit' order by place",
    )
    .bind(number)
    .fetch_all(&site.cluster.owner)
    .await
    .expect("the owner may look at everything")
}

async fn restarts_of_the_other(worker: &mut Worker) -> u64 {
    let mut restarts = 0;
    for place in ["", "/queue", "/queue/producer", "/queue/attempts"] {
        restarts += worker.say(&Say::Restarts(format!("root/domains/{OTHER}{place}"))).await;
    }
    restarts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_job_ends_as_documented_and_hurts_nobody_else() {
    let bad = [
        (Way::Poisonous, "panicked: unlucky, as ever"),
        (Way::Hanging, "timed out after"),
        // The thread is shared with everybody and held for a second, twice.
        (Way::Spinning, "timed out after"),
        (Way::Verbose, "\u{fffd} \u{feff} \\u0000 ' \" ü"),
        (Way::Unknown, "has no performer for `unheard_of`"),
        (Way::Unreadable, "undecodable arguments: missing field `way`"),
    ];
    let site = Site::start("bad").await;
    let mut worker = site.worker("one");

    let expected = enqueue(&site, &bad.map(|(way, _)| way)).await;
    let verdict = site.judge(&expected).await;

    let row = Row {
        fault: "A job that panics, hangs, spins, says too much, is unknown or unreadable",
        harm: format!("one of each among {} good jobs in each of two queues", good()),
        verdict,
    };
    row.tell(&site);
    for (number, (way, says)) in (0..).zip(bad) {
        let errors = errors(&site, number).await;
        assert_eq!(errors.len(), 2, "{way:?}: {errors:?}");
        assert!(errors.iter().all(|error| error.contains(says)), "{way:?}: {errors:?}");
        assert!(errors.iter().all(|error| error.chars().count() <= 4_001), "{way:?}");
    }
    assert_eq!(restarts_of_the_other(&mut worker).await, 0);
    worker.stop().await;
    site.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_holds_its_thread_hurts_no_domain_with_threads_of_its_own() {
    let site = Site::start("spinning").await;
    let release = folder(&format!("release-{}", std::process::id()));
    let mut order = site.order("one");
    order.dedicated = Some(HARMED.to_owned());
    order.release = Some(release.clone());
    let mut worker = Worker::start(order);

    let expected = enqueue(&site, &[Way::Spinning]).await;
    site.watched(site.until_count(DONE, 2 * good())).await;
    let held = site.cluster.number(HELD).await;
    std::fs::write(&release, "").expect("anybody may write there");
    let verdict = site.judge(&expected).await;
    std::fs::remove_file(&release).expect("it was written just now");

    let row = Row {
        fault: "A job that holds its thread, in a domain with threads of its own",
        harm: format!("let go when {} good jobs were done", 2 * good()),
        verdict,
    };
    row.tell(&site);
    let errors = errors(&site, 0).await;
    assert_eq!(held, Some(1), "nobody can end it, nor is it given to anybody else");
    assert_eq!(errors[0], "killed: the attempt ended without a word");
    assert!(errors[1].contains("timed out after"), "{errors:?}");
    assert_eq!(restarts_of_the_other(&mut worker).await, 0);
    worker.stop().await;
    site.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_floods_memory_ends_the_process_of_its_domain_and_no_other() {
    let site = Site::start("flooding").await;
    let mut other = site.order("other");
    other.queues.retain(|(queue, _)| queue == OTHER);
    let mut other = Worker::start(other);
    let mut order = site.order("cell");
    order.queues.retain(|(queue, _)| queue == HARMED);
    let order = serde_json::to_string(&order).expect("an order is JSON");
    let line = Arc::new(Mutex::new(None));
    let held = Arc::clone(&line);
    let cell = OsProcessSpec::new(PROGRAM)
        .args([order])
        .memory_max(MEMORY_MAX)
        .socket(move |socket| drop(held.lock().expect("no holder panics").replace(socket)))
        .on_line(|_, _| {})
        .child("cell");
    let patient = Intensity::new(100, Duration::from_mins(1));
    let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(patient).child(cell);
    let root = Root::start(spec, Clock::system()).await.expect("the cell starts");

    let expected = enqueue(&site, &[Way::Flooding]).await;
    let verdict = site.judge(&expected).await;

    let ends = root.tree().find("root/cell").expect("it is listed").restarts;
    let row = Row {
        fault: "A job that floods the memory of its domain's process",
        harm: format!("{ends} ends of a process that may have {} MiB", MEMORY_MAX >> 20),
        verdict,
    };
    row.tell(&site);
    let errors = errors(&site, 0).await;
    assert_eq!(ends, errors.len() as u64, "{errors:?}");
    assert_eq!(ends, u64::from(expected[0].attempts_max()), "{errors:?}");
    assert!(errors.iter().all(|error| error.starts_with("rescued: ")), "{errors:?}");
    assert_eq!(restarts_of_the_other(&mut other).await, 0);
    root.stop().await;
    other.stop().await;
    site.cluster.stop().await;
}
