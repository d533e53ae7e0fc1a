//! What a supervisor writes into the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use otp::{
    ChildSpec, Clock, ExitReason, Intensity, Process, Restart, Root, RunContext, Shutdown,
    StartError, Strategy, SupervisorSpec,
};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::stage::{Ask, Journal, SECOND, actor, patient, slow_worker, start, worker};

/// One record of the log, by field.
type Record = BTreeMap<&'static str, String>;

/// Keeps everything that is written in this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Record>>>);

impl Log {
    fn kept() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The supervisor reports about a child: context, supervisor, reason.
    fn about(&self, id: &str) -> Vec<[String; 3]> {
        let records = self.0.lock().unwrap();
        let about =
            records.iter().filter(|record| record.get("offender.id").is_some_and(|it| it == id));
        let parts = ["context", "supervisor", "reason"];
        about
            .filter(|record| record.contains_key("context"))
            .map(|record| parts.map(|part| record.get(part).cloned().unwrap_or_default()))
            .collect()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

#[derive(Default)]
struct Fields(Record);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

#[tokio::test]
async fn a_report_names_the_supervisor_the_reason_and_all_of_the_offender() {
    let (log, _kept) = Log::kept();
    let journal = Journal::default();
    let inner = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(Intensity::new(0, SECOND))
        .child(worker(&journal, "a").shutdown(Shutdown::BrutalKill));
    let upper = ChildSpec::supervisor("inner", inner).restart(Restart::Transient);
    let root = start(patient(Strategy::OneForOne).child(upper)).await;

    let inner = root.tree().pid("root/inner").unwrap();
    actor(&root.tree(), "root/inner/a").cast(Ask::End(ExitReason::failed("x"))).unwrap();
    inner.gone().await;

    let records = log.0.lock().unwrap().clone();
    let of = |context: &str| {
        let is_it = |record: &&Record| record.get("context").is_some_and(|it| it == context);
        records.iter().find(is_it).cloned().unwrap_or_default()
    };
    let offender = [
        ("offender.id", "a"),
        ("offender.pid", "<root/inner/a#1>"),
        ("offender.restart", "permanent"),
        ("offender.shutdown", "brutal_kill"),
        ("offender.significant", "false"),
        ("offender.type", "worker"),
        ("supervisor", "root/inner"),
    ];
    for context in ["child_terminated", "shutdown"] {
        let record = of(context);
        for (field, value) in offender {
            assert_eq!(record.get(field).map(String::as_str), Some(value), "{context} {field}");
        }
    }
    assert_eq!(of("child_terminated")["reason"], "error:x");
    assert_eq!(of("shutdown")["reason"], "reached_max_restart_intensity");
    // It gave up in good order, which a transient child may.
    assert_eq!(log.about("inner"), Vec::<[String; 3]>::new());
    let progress: Vec<_> = records
        .iter()
        .filter(|record| record["message"] == "progress")
        .map(|record| (record.get("supervisor").cloned(), record["offender.id"].clone()))
        .collect();
    let expected = [
        (None, "root".to_owned()),
        (Some("root".to_owned()), "inner".to_owned()),
        (Some("root/inner".to_owned()), "a".to_owned()),
    ];
    assert_eq!(progress, expected);
}

#[tokio::test]
async fn a_mild_end_is_reported_of_a_permanent_child_only() {
    let (log, _kept) = Log::kept();
    let journal = Journal::default();
    let ends = |name, restart| worker(&journal, name).restart(restart);
    let root = start(
        patient(Strategy::OneForOne)
            .child(ends("permanent", Restart::Permanent))
            .child(ends("transient", Restart::Transient))
            .child(ends("temporary", Restart::Temporary)),
    )
    .await;
    let tree = root.tree();

    for name in ["permanent", "transient", "temporary"] {
        let path = format!("root/{name}");
        let pid = tree.pid(&path).unwrap();
        actor(&tree, &path).cast(Ask::End(ExitReason::Normal)).unwrap();
        pid.gone().await;
    }

    let report = ["child_terminated", "root", "normal"].map(str::to_owned);
    assert_eq!(log.about("permanent"), [report]);
    assert!(log.about("transient").is_empty());
    assert!(log.about("temporary").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_as_told_is_a_shutdown_error() {
    let (log, _kept) = Log::kept();
    let journal = Journal::default();
    let root = start(
        patient(Strategy::OneForOne)
            .child(worker(&journal, "prompt"))
            .child(worker(&journal, "brutal").shutdown(Shutdown::BrutalKill))
            .child(slow_worker(&journal, "slow", SECOND).shutdown(Shutdown::Timeout(SECOND / 2)))
            .child(ChildSpec::process("odd", || EndsWith(ExitReason::failed("odd"))))
            .child(ChildSpec::process("done", || EndsWith(ExitReason::Normal)))
            .child(
                ChildSpec::process("mild", || EndsWith(ExitReason::Normal))
                    .restart(Restart::Transient),
            ),
    )
    .await;

    root.stop().await;

    let error = |reason: &str| vec![["shutdown_error", "root", reason].map(str::to_owned)];
    assert_eq!(log.about("slow"), error("killed"));
    assert_eq!(log.about("odd"), error("error:odd"));
    assert_eq!(log.about("done"), error("normal"));
    for fine in ["prompt", "brutal", "mild"] {
        assert!(log.about(fine).is_empty(), "{fine}: {:?}", log.about(fine));
    }
}

/// Ends with this when it is told to stop, whatever it was told.
struct EndsWith(ExitReason);

impl Process for EndsWith {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Err(self.0.clone())
    }
}

#[tokio::test]
async fn a_start_that_fails_is_a_start_error() {
    let (log, _kept) = Log::kept();
    let spec = patient(Strategy::OneForOne).child(
        ChildSpec::process("unable", || Unable).shutdown(Shutdown::Timeout(Duration::from_secs(2))),
    );

    Root::start(spec, Clock::system()).await.err().unwrap();

    assert_eq!(log.about("unable"), [["start_error", "root", "no luck"].map(str::to_owned)]);
    let records = log.0.lock().unwrap();
    let report = records.iter().find(|record| record.contains_key("offender.shutdown")).unwrap();
    assert_eq!(report["offender.shutdown"], "2000");
}

struct Unable;

impl Process for Unable {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        Err(StartError::failed("no luck"))
    }

    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        Ok(())
    }
}
