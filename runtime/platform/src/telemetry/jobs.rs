//! What is measured of jobs; the table for operators stands in docs/jobs.md under "Telemetry".
//!
//! What has happened is counted by the node it happened on. What waits is counted in the table of
//! jobs to be done, whose size does not grow with what was done, and is the same on every node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jobs::JobState;
use jobs::meters::{BOUNDS_US, Backlog, Times};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::added;
use crate::system::System;

/// A queue whose oldest available job has been due for so long does not keep up.
const OVERDUE_SECONDS: u64 = 60;

/// What is measured of jobs.
#[derive(Debug)]
pub(crate) struct JobMeters {
    queued: IntGaugeVec,
    oldest: IntGaugeVec,
    overdue: IntGaugeVec,
    paused: IntGaugeVec,
    running: IntGaugeVec,
    limit: IntGaugeVec,
    claimed: IntCounterVec,
    ended: IntCounterVec,
    rescued: IntCounterVec,
    wait: TimesMeter,
    run: TimesMeter,
    rounds: IntCounterVec,
}

impl JobMeters {
    pub(crate) fn new(registry: &Registry) -> Self {
        let gauge = |name, help, labels: &[&str]| {
            added(registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let counter = |name, help, labels: &[&str]| {
            added(registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let times = |name, help| added(registry, TimesMeter::new(name, help));
        Self {
            queued: gauge(
                "finnest_queue_jobs",
                "Jobs of a queue that are not finished, by state.",
                &["queue", "state"],
            ),
            oldest: gauge(
                "finnest_queue_oldest_available_seconds",
                "For how long the oldest available job has been due.",
                QUEUE,
            ),
            overdue: gauge(
                "finnest_queue_overdue",
                "Whether a queue that is not paused has a job that was due a minute ago.",
                QUEUE,
            ),
            paused: gauge("finnest_queue_paused", "Whether a queue is paused.", QUEUE),
            running: gauge("finnest_queue_running", "Attempts that run on this node.", QUEUE),
            limit: gauge(
                "finnest_queue_limit",
                "Attempts that may run on this node at once.",
                QUEUE,
            ),
            claimed: counter("finnest_jobs_claimed_total", "Attempts begun on this node.", QUEUE),
            ended: counter(
                "finnest_job_attempts_total",
                "Attempts that ended on this node, by outcome.",
                &["queue", "outcome"],
            ),
            rescued: counter(
                "finnest_jobs_rescued_total",
                "Jobs taken back by this node from attempts that were gone.",
                QUEUE,
            ),
            wait: times(
                "finnest_job_wait_seconds",
                "From when a job was due to the start of its attempt.",
            ),
            run: times("finnest_job_run_seconds", "From the start of an attempt to its end."),
            rounds: counter(
                "finnest_job_duty_rounds_total",
                "Rounds of the duties of all queues on this node, by outcome.",
                &["duty", "outcome"],
            ),
        }
    }

    /// Brings everything up to date with the queues of this node and the table of jobs.
    pub(crate) async fn measure(&self, system: &System) {
        self.measure_node(system);
        if let Ok(backlog) = system.queues().backlog().await {
            self.measure_backlog(system, &backlog);
        }
    }

    fn measure_node(&self, system: &System) {
        self.claimed.reset();
        self.ended.reset();
        self.rescued.reset();
        self.rounds.reset();
        for stats in system.queues().stats() {
            let (queue, counts) = ([stats.queue.as_str()], stats.counts);
            self.running.with_label_values(&queue).set(i64::from(stats.running));
            self.limit.with_label_values(&queue).set(i64::from(stats.limit));
            self.claimed.with_label_values(&queue).inc_by(counts.claimed);
            self.rescued.with_label_values(&queue).inc_by(counts.rescued);
            let outcomes = [
                ("completed", counts.completed),
                ("retried", counts.retried),
                ("discarded", counts.discarded),
                ("cancelled", counts.cancelled),
                ("snoozed", counts.snoozed),
                ("excused", counts.excused),
                ("superseded", counts.superseded),
            ];
            for (outcome, count) in outcomes {
                self.ended.with_label_values(&[queue[0], outcome]).inc_by(count);
            }
        }
        let times = system.queues().times();
        self.wait.set(times.iter().map(|times| (times.queue.clone(), times.wait.clone())));
        self.run.set(times.into_iter().map(|times| (times.queue, times.run)));
        for (duty, rounds) in system.queues().rounds() {
            self.rounds.with_label_values(&[duty, "done"]).inc_by(rounds.done);
            self.rounds.with_label_values(&[duty, "failed"]).inc_by(rounds.failed);
        }
    }

    fn measure_backlog(&self, system: &System, backlog: &BTreeMap<String, Backlog>) {
        for gauge in [&self.queued, &self.oldest, &self.overdue, &self.paused] {
            gauge.reset();
        }
        let empty = Backlog::default();
        let domains = system.catalog().domains().iter().map(|domain| domain.name().as_str());
        for queue in domains {
            let backlog = backlog.get(queue).unwrap_or(&empty);
            for state in JobState::ALL.into_iter().filter(|state| !state.is_final()) {
                let count = backlog.counts.get(&state).copied().unwrap_or_default();
                self.queued.with_label_values(&[queue, state.name()]).set(whole(count));
            }
            let oldest = backlog.oldest_available.map_or(0, |oldest| oldest.as_secs());
            let is_overdue = oldest >= OVERDUE_SECONDS && !backlog.is_paused;
            self.oldest.with_label_values(&[queue]).set(whole(oldest));
            self.overdue.with_label_values(&[queue]).set(i64::from(is_overdue));
            self.paused.with_label_values(&[queue]).set(i64::from(backlog.is_paused));
        }
    }
}

const QUEUE: &[&str] = &["queue"];

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A histogram by queue whose counts are kept by the queues themselves.
#[derive(Debug, Clone)]
struct TimesMeter {
    desc: Desc,
    times: Arc<Mutex<Vec<(String, Times)>>>,
}

impl TimesMeter {
    fn new(name: &str, help: &str) -> prometheus::Result<Self> {
        let labels = vec!["queue".to_owned()];
        let desc =
            Desc::new(name.to_owned(), help.to_owned(), labels, std::collections::HashMap::new())?;
        Ok(Self { desc, times: Arc::default() })
    }

    fn set(&self, times: impl Iterator<Item = (String, Times)>) {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner) = times.collect();
    }
}

impl Collector for TimesMeter {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(times.iter().map(|(queue, times)| metric(queue, times)).collect());
        vec![family]
    }
}

fn metric(queue: &str, times: &Times) -> Metric {
    let mut count = 0;
    let buckets = BOUNDS_US.iter().zip(times.counts).map(|(bound_us, more)| {
        count += more;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(std::time::Duration::from_micros(*bound_us).as_secs_f64());
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(times.counts.iter().sum());
    histogram.set_sample_sum(times.sum.as_secs_f64());
    let mut label = LabelPair::default();
    label.set_name("queue".to_owned());
    label.set_value(queue.to_owned());
    let mut metric = Metric::default();
    metric.set_label(vec![label]);
    metric.set_histogram(histogram);
    metric
}
