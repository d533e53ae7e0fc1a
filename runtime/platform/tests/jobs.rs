//! The life of a job as a domain's author meets it: typed arguments, answers, what is remembered.

use std::collections::BTreeSet;
use std::time::Duration;

use platform::jobs::{self, JobRow, JobState, admin};
use platform::otp::Clock;
use platform::{
    Attempt, Command, Domain, DomainName, Enqueued, Error, Job, JobId, NewJob, Outcome, Result,
    Role, Scope, Spec, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{ACME, TestSystem};
use uuid::Uuid;

const PROBE: DomainName = DomainName::new("probe");

/// Weigh something outside.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Weigh {
    /// How much it should be.
    #[schemars(range(min = 1))]
    grams: u32,
}

impl Job for Weigh {
    const NAME: &'static str = "weigh";
    const PRIORITY: i16 = 4;

    fn backoff(used: u32) -> Option<Duration> {
        Some(Duration::from_mins(u64::from(used)))
    }

    async fn perform(self, attempt: &Attempt) -> Result<Outcome> {
        match self.grams {
            13 => Err(Error::failure(ScaleBroken(std::io::Error::other("no current")))),
            66 => Ok(Outcome::Discard("nobody can lift that".to_owned())),
            grams => Ok(Outcome::CompleteWith(json!({
                "grams": grams,
                "tags": attempt.tags(),
                "note": attempt.meta()["note"],
            }))),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the scale is broken")]
struct ScaleBroken(#[source] std::io::Error);

/// A job that no domain declares.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Forgotten {}

impl Job for Forgotten {
    const NAME: &'static str = "forgotten";

    async fn perform(self, _: &Attempt) -> Result<Outcome> {
        Ok(Outcome::Complete)
    }
}

/// Have something weighed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct AskForWeight {
    /// How much it should be.
    grams: u32,
    /// Whether a job is asked for that was forgotten.
    #[serde(default)]
    is_forgotten: bool,
}

impl Command for AskForWeight {
    const SPEC: Spec = Spec::create("ask_for_weight", "/weights");
    type Output = Value;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Value> {
        if self.is_forgotten {
            return Ok(json!(tx.enqueue(&Forgotten {}).await?));
        }
        let say = |new: &mut NewJob| {
            new.tags.push("fragile".to_owned());
            new.meta = json!({"note": "handle with care"});
        };
        let enqueued = tx.enqueue_with(&Weigh { grams: self.grams }, say).await?;
        assert!(matches!(enqueued, Enqueued::New(_)));
        Ok(json!(enqueued.job_id()))
    }
}

/// Break in the middle.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Break {}

impl Command for Break {
    const SPEC: Spec = Spec::invoke("break", "/breaks");
    type Output = ();

    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        panic!("on purpose");
    }
}

fn probe() -> Domain {
    Domain::new(PROBE).command::<AskForWeight>().command::<Break>().job::<Weigh>()
}

/// A system whose clock stands still, so that nothing waits for a retry.
async fn start() -> TestSystem {
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("the time exists");
    testkit::start_with([probe()], Clock::manual(now), "", Box::new(|_| Vec::new())).await
}

async fn weigh(system: &TestSystem, grams: u32) -> JobRow {
    let member = system.member(ACME, Role::Staff);
    let asked = member.run(AskForWeight { grams, is_forgotten: false }).await;
    let job_id = serde_json::from_value(asked.expect("the job is enqueued"));
    system.settle().await;
    row(system, job_id.expect("an id was answered")).await
}

async fn row(system: &TestSystem, job_id: JobId) -> JobRow {
    admin::get_job(system.system().queues(), job_id).await.expect("the job exists")
}

/// Puts a job into the queue past all checks, as another release or an older one would.
async fn smuggle(system: &TestSystem, name: &str, args: Value) -> JobId {
    let job = NewJob::new("probe", name, args, Scope::system(ACME, "test", Uuid::now_v7()));
    let mut owner = system.owner().await;
    let enqueued = jobs::enqueue(&mut owner, &job, system.system().now()).await;
    system.system().queues().nudge("probe");
    enqueued.expect("the owner may enqueue").job_id()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_about_a_job_reaches_its_attempt_and_its_answer_stays_with_it() {
    let system = start().await;

    let job = weigh(&system, 500).await;

    assert_eq!((job.state, job.priority), (JobState::Completed, 4));
    let note = "handle with care";
    assert_eq!(job.result, Some(json!({"grams": 500, "tags": ["fragile"], "note": note})));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_break_their_schema_are_refused_with_field_and_rule() {
    let system = start().await;
    let member = system.member(ACME, Role::Staff);

    let unfit = member.run(AskForWeight { grams: 0, is_forgotten: false }).await;
    let forgotten = member.run(AskForWeight { grams: 1, is_forgotten: true }).await;
    let edited = system.system().catalog().check_job("probe", "weigh", &json!({"gram": 1}));
    let unknown = system.system().catalog().check_job("probe", "from_later", &json!({"gram": 1}));

    assert_eq!(
        unfit.expect_err("nothing weighs nothing").to_string(),
        "the arguments of job `weigh` do not fit: at `/grams`, rule `/properties/grams/minimum`: \
         0 is less than the minimum of 1"
    );
    assert_eq!(
        forgotten.expect_err("the job is not declared").to_string(),
        "probe enqueues `forgotten`, but does not say so: declare it with Domain::job"
    );
    let fields = edited.expect_err("there is no such field").fields;
    let pointers: Vec<_> = fields.iter().map(|field| field.pointer.as_str()).collect();
    assert_eq!(pointers, ["/gram", "/grams"]);
    assert_eq!(unknown, Ok(()), "another release may know it");
    let jobs: i64 = sqlx::query_scalar("select count(*) from jobs.every_job")
        .fetch_one(&mut system.owner().await)
        .await
        .expect("the owner may count");
    assert_eq!(jobs, 0);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_no_release_here_can_read_wait_for_one_that_can_and_hurt_nobody() {
    let system = start().await;

    let unreadable = smuggle(&system, "weigh", json!({"grams": "a lot"})).await;
    let command = smuggle(&system, "ask_for_weight", json!({})).await;
    let neighbour = weigh(&system, 1).await;

    assert_eq!(neighbour.state, JobState::Completed);
    let unreadable = row(&system, unreadable).await;
    assert_eq!((unreadable.state, unreadable.used_attempts()), (JobState::Retryable, 1));
    assert_eq!(
        unreadable.errors[0].error,
        "this release cannot read the arguments of the job: at `/grams`, rule \
         `/properties/grams/type`: \"a lot\" is not of type \"integer\""
    );
    let command = row(&system, command).await;
    assert_eq!(command.state, JobState::Retryable);
    assert!(command.errors[0].error.contains("\"grams\" is a required property"));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_mends_arguments_but_not_into_others_that_do_not_fit() {
    let system = start().await;
    let operator = system.member(ACME, Role::Operator);
    let job_id = smuggle(&system, "weigh", json!({"grams": "a lot"})).await;
    system.settle().await;
    let edit = |args| json!({"job_id": job_id, "args": args});

    let refused = operator.refuse("operator", "edit_job", edit(json!({"grams": 0}))).await;
    let edited = operator.call("operator", "edit_job", edit(json!({"grams": 3}))).await;
    let retried = operator.call("operator", "retry_job", json!({"job_id": job_id})).await;
    system.settle().await;

    assert_eq!(refused.fields()[0].pointer, "/args/grams");
    assert!(edited.is_ok() && retried.is_ok());
    let job = row(&system, job_id).await;
    assert_eq!((job.state, job.args), (JobState::Completed, json!({"grams": 3})));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_remembered_with_its_causes_and_retried_by_the_jobs_own_patience() {
    let system = start().await;

    let failed = weigh(&system, 13).await;
    let discarded = weigh(&system, 66).await;

    assert_eq!(failed.state, JobState::Retryable);
    assert_eq!(failed.scheduled_at, system.system().now() + Duration::from_mins(1));
    assert_eq!(failed.errors[0].error, "the scale is broken");
    assert_eq!(failed.errors[0].stack, ["no current"]);
    assert_eq!((discarded.state, discarded.attempt), (JobState::Discarded, 1));
    assert_eq!(discarded.errors[0].error, "nobody can lift that");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_a_command_keeps_its_answer_or_the_place_where_it_broke() {
    jobs::panics::note_panics();
    let system = start().await;

    let asked = smuggle(&system, "ask_for_weight", json!({"grams": 7})).await;
    let broken = smuggle(&system, "break", json!({})).await;
    system.settle().await;

    let asked = row(&system, asked).await;
    assert_eq!(asked.state, JobState::Completed);
    let caused: JobId =
        serde_json::from_value(asked.result.expect("the command answered")).expect("with an id");
    assert_eq!(row(&system, caused).await.state, JobState::Completed);
    let error = row(&system, broken).await.errors.remove(0);
    assert_eq!(error.error, "panicked: on purpose");
    assert!(error.stack[0].contains("platform/tests/jobs.rs:"), "{:?}", error.stack);
    system.stop().await;
}

/// The rows of the table of metrics in docs/jobs.md: name, kind, labels.
fn documented() -> BTreeSet<(String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/jobs.md");
    let page = std::fs::read_to_string(page).expect("the page is in the repository");
    let rows = page.lines().filter(|line| line.starts_with("| `finnest_"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())).collect()
}

/// What the system measures of jobs, as it tells it itself.
async fn measured(system: &TestSystem) -> BTreeSet<(String, String)> {
    let text = system.system().metrics_text().await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let types = types.filter_map(|line| line.split_once(' '));
    let of_jobs = |(name, kind): (&str, &str)| {
        let is_of_jobs = name.starts_with("finnest_queue_") || name.starts_with("finnest_job");
        is_of_jobs.then(|| (name.to_owned(), kind.to_owned()))
    };
    types.filter_map(of_jobs).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lists_every_metric_of_jobs_and_no_other() {
    let system = start().await;
    weigh(&system, 1).await;

    // The duties are counted once each has had its first round.
    let documented = documented();
    let all = tokio::time::timeout(Duration::from_secs(20), async {
        while measured(&system).await.len() < documented.len() {
            tokio::task::yield_now().await;
        }
    });

    let all = all.await;
    let measured = measured(&system).await;
    assert!(all.is_ok(), "not measured: {:?}", documented.difference(&measured));
    assert_eq!(measured, documented);
    let text = system.system().metrics_text().await;
    for line in [
        "finnest_job_attempts_total{outcome=\"completed\",queue=\"probe\"} 1",
        "finnest_job_run_seconds_count{queue=\"probe\"} 1",
        "finnest_job_wait_seconds_bucket{queue=\"probe\",le=\"0.0005\"} 1",
        "finnest_queue_jobs{queue=\"probe\",state=\"available\"} 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not told:\n{text}");
    }
    system.stop().await;
}
