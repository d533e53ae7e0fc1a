//! Telemetry: what the platform measures of itself, in the words of Prometheus.
//!
//! | metric | kind | labels | unit |
//! |---|---|---|---|
//! | `finnest_operations_total` | counter | domain, operation, outcome | calls |
//! | `finnest_operation_duration_seconds` | histogram | domain, operation | seconds |
//! | `finnest_reactions_refused_total` | counter | domain, subscription | past the hop limit |
//! | `finnest_process_restarts_total` | counter | path | restarts |
//! | `finnest_process_up` | gauge | path | 1 or 0 |
//! | `finnest_process_mailbox_messages` | gauge | path | messages waiting |
//! | `finnest_consumer_lag_events` | gauge | consumer | events that wait for it |
//! | `finnest_consumer_lag_seconds` | gauge | consumer | age of the oldest of them |
//! | `finnest_consumer_stalled` | gauge | consumer | organisations it cannot serve |
//! | `finnest_sealed_position` | gauge | | position |
//! | `finnest_bus_subscribers` | gauge | class | subscribers to live events |
//! | `finnest_bus_queue_events_max` | gauge | class | the most events that waited for one of them |
//! | `finnest_bus_dropped_total` | counter | class | events that did not fit a queue |
//! | `finnest_relay_lag_events` | gauge | | sealed events not passed on yet |
//! | `finnest_relay_lag_seconds` | gauge | | age of the last event passed on |
//! | `finnest_database_connections` | gauge | state | connections |
//!
//! What is measured of jobs stands in docs/jobs.md.
//!
//! Outcome is `ok` or the kind of the error. Label values are bounded: processes that come and go,
//! such as connections, are not listed.

mod jobs;

use std::time::Duration;

use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

use self::jobs::JobMeters;
use crate::operation::Operation;
use crate::refusal::Kind;

/// The registry of one system and what it counts there.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    operations: IntCounterVec,
    operation_duration: HistogramVec,
    pub(crate) reactions_refused: IntCounterVec,
    pub(crate) restarts: IntCounterVec,
    pub(crate) up: IntGaugeVec,
    pub(crate) mailbox: IntGaugeVec,
    pub(crate) sealed_position: IntGauge,
    pub(crate) bus: BusMeters,
    pub(crate) jobs: JobMeters,
    pub(crate) consumers: ConsumerGauges,
    pub(crate) connections: IntGaugeVec,
}

/// What is measured for each consumer of events, or for each lane of it.
#[derive(Debug)]
pub(crate) struct ConsumerGauges {
    pub(crate) lag_events: IntGaugeVec,
    pub(crate) lag_seconds: IntGaugeVec,
    pub(crate) stalled: IntGaugeVec,
}

impl ConsumerGauges {
    fn new(registry: &Registry) -> Self {
        let gauge =
            |name, help| added(registry, IntGaugeVec::new(Opts::new(name, help), &["consumer"]));
        Self {
            lag_events: gauge(
                "finnest_consumer_lag_events",
                "Events that wait for a consumer, or for a lane of it.",
            ),
            lag_seconds: gauge(
                "finnest_consumer_lag_seconds",
                "Age of the oldest event that waits for a consumer.",
            ),
            stalled: gauge(
                "finnest_consumer_stalled",
                "Organisations with an event that a consumer cannot digest.",
            ),
        }
    }
}

/// What is measured of live events on their way out of the log.
#[derive(Debug)]
pub(crate) struct BusMeters {
    pub(crate) subscribers: IntGaugeVec,
    pub(crate) queue_max: IntGaugeVec,
    pub(crate) dropped: IntCounterVec,
    pub(crate) relay_lag: IntGauge,
    pub(crate) relay_lag_seconds: IntGauge,
}

impl BusMeters {
    fn new(registry: &Registry) -> Self {
        let gauge =
            |name, help| added(registry, IntGaugeVec::new(Opts::new(name, help), &["class"]));
        Self {
            subscribers: gauge(
                "finnest_bus_subscribers",
                "Subscribers to live events, by what they would rather lose.",
            ),
            queue_max: gauge(
                "finnest_bus_queue_events_max",
                "The most events that ever waited for one subscriber.",
            ),
            dropped: added(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "finnest_bus_dropped_total",
                        "Events that did not fit a queue; durable subscribers read them again.",
                    ),
                    &["class"],
                ),
            ),
            relay_lag: added(
                registry,
                IntGauge::new(
                    "finnest_relay_lag_events",
                    "Sealed events that the relay has not passed on yet.",
                ),
            ),
            relay_lag_seconds: added(
                registry,
                IntGauge::new(
                    "finnest_relay_lag_seconds",
                    "Age of the last event passed on, while there are more.",
                ),
            ),
        }
    }
}

/// From a quarter of a millisecond to ten seconds.
const BUCKETS_SECONDS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

impl Telemetry {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counter = |name, help, labels: &[&str]| {
            added(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name, help, labels: &[&str]| {
            added(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let number = |name, help| added(&registry, IntGauge::new(name, help));
        let duration = HistogramOpts::new(
            "finnest_operation_duration_seconds",
            "Time from call to answer, by operation.",
        );
        let duration = duration.buckets(BUCKETS_SECONDS.to_vec());
        Self {
            operations: counter(
                "finnest_operations_total",
                "Calls of operations, by outcome.",
                &["domain", "operation", "outcome"],
            ),
            operation_duration: added(
                &registry,
                HistogramVec::new(duration, &["domain", "operation"]),
            ),
            reactions_refused: counter(
                "finnest_reactions_refused_total",
                "Reactions not done because their chain of causes was ten events long.",
                &["domain", "subscription"],
            ),
            restarts: counter("finnest_process_restarts_total", "Restarts of a process.", PATH),
            up: gauge("finnest_process_up", "Whether a process runs.", PATH),
            mailbox: gauge(
                "finnest_process_mailbox_messages",
                "Messages that wait for a process.",
                PATH,
            ),
            consumers: ConsumerGauges::new(&registry),
            jobs: JobMeters::new(&registry),
            connections: gauge(
                "finnest_database_connections",
                "Database connections, by state.",
                &["state"],
            ),
            sealed_position: number(
                "finnest_sealed_position",
                "Highest sealed position known here.",
            ),
            bus: BusMeters::new(&registry),
            registry,
        }
    }

    /// The registry, for surfaces that count on their own.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn operation(&self, operation: &Operation, took: Duration, refused: Option<Kind>) {
        let (domain, name) = (operation.domain.as_str(), operation.spec.name());
        let outcome = refused.map_or("ok", Kind::name);
        self.operations.with_label_values(&[domain, name, outcome]).inc();
        self.operation_duration.with_label_values(&[domain, name]).observe(took.as_secs_f64());
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory succeeds");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

/// The label of what is measured for each process.
const PATH: &[&str] = &["path"];

/// A metric, known to the registry from now on.
fn added<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("the name is valid");
    registry.register(Box::new(metric.clone())).expect("no metric has this name yet");
    metric
}
