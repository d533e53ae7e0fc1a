//! What a test can ask of a system about its jobs, and how a lost one fails it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use platform::jobs::JobState;
use platform::otp::Clock;
use platform::{
    Attempt, Command, Domain, DomainName, Error, Job, NewJob, Outcome, Result, Role, Scope, Spec,
    Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use testkit::{ACME, TestSystem};
use uuid::Uuid;

const PROBE: DomainName = DomainName::new("probe");

/// Count down to zero, a job each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct CountDown {
    /// From here.
    from: u32,
    /// How long to wait first, in minutes.
    #[serde(default)]
    minutes: u64,
}

impl Command for CountDown {
    const SPEC: Spec = Spec::create("count_down", "/countdowns");
    type Output = u32;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<u32> {
        let at = tx.now() + Duration::from_mins(self.minutes);
        let job = Report { number: self.from };
        tx.enqueue_with(&job, |new: &mut NewJob| new.scheduled_at = Some(at)).await?;
        if let Some(from) = self.from.checked_sub(1) {
            tx.enqueue(&CountDown { from, minutes: self.minutes }).await?;
        }
        Ok(self.from)
    }
}

/// Report a number outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Report {
    /// The number.
    number: u32,
}

impl Job for Report {
    const NAME: &'static str = "report";

    async fn perform(self, attempt: &Attempt) -> Result<Outcome> {
        match self.number {
            13 => Err(Error::failure("the line is dead")),
            number => Ok(Outcome::CompleteWith(json!({"said": number, "by": attempt.number()}))),
        }
    }
}

async fn start() -> TestSystem {
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("the time exists");
    let domain = Domain::new(PROBE).command::<CountDown>().job::<Report>();
    testkit::start_with([domain], Clock::manual(now), "", Box::new(|_| Vec::new())).await
}

fn scope() -> Scope {
    Scope::system(ACME, "test", Uuid::now_v7())
}

async fn panicked(future: impl Future<Output = ()>) -> String {
    let caught = AssertUnwindSafe(future).catch_unwind().await;
    let payload = caught.expect_err("the assertion fails");
    payload.downcast_ref::<String>().expect("an assertion says why").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_asserts_what_is_enqueued_and_is_shown_what_is_instead() {
    let system = start().await;
    let member = system.member(ACME, Role::Staff);
    member.run(CountDown { from: 0, minutes: 5 }).await.expect("it is enqueued");

    let enqueued = system.assert_enqueued::<Report>(|report| report.job.number == 0).await;
    system.refute_enqueued::<Report>(|report| report.job.number == 1).await;
    let missing = async {
        system.assert_enqueued::<Report>(|report| report.job.number == 1).await;
    };
    let missing = panicked(missing).await;
    let present = panicked(system.refute_enqueued::<Report>(|_| true)).await;
    let left = panicked(system.assert_no_job_left()).await;

    assert_eq!((enqueued.row.state, enqueued.row.attempt), (JobState::Scheduled, 0));
    for said in [missing, present, left] {
        assert!(said.contains("scheduled `report`") && said.contains("{\"number\":0}"), "{said}");
    }
    assert_eq!(system.all_enqueued::<Report>().await.len(), 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_is_performed_by_hand_whatever_its_queue_does() {
    let system = start().await;
    system.system().queues().pause("probe").await.expect("the database is there");

    let done = system.perform_job(&scope(), &Report { number: 7 }).await;
    let failed = system.perform_job(&scope(), &Report { number: 13 }).await;
    let command = system.perform_job(&scope(), &CountDown { from: 0, minutes: 0 }).await;

    let done = done.expect("it is performed");
    assert_eq!((done.state, done.result), (JobState::Completed, Some(json!({"said": 7, "by": 1}))));
    let failed = failed.expect("it is performed");
    assert_eq!(failed.state, JobState::Retryable);
    assert_eq!(failed.errors[0].error, "the line is dead");
    let command = command.expect("it is performed");
    assert_eq!((command.state, command.result), (JobState::Completed, Some(json!(0))));
    system.assert_enqueued::<Report>(|report| report.job.number == 0).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_the_jobs_of_a_call_are_done_when_it_answers() {
    let system = start().await;
    system.perform_inline();
    let member = system.member(ACME, Role::Staff);

    for _ in 0..3 {
        member.run(CountDown { from: 5, minutes: 0 }).await.expect("it is performed");
        system.assert_no_job_left().await;
    }
    let order: Vec<String> = sqlx::query_scalar(
        "select name || ' ' || coalesce(args ->> 'number', args ->> 'from') from jobs.every_job
         order by attempted_at, id limit 4",
    )
    .fetch_all(&mut system.owner().await)
    .await
    .expect("the owner may read");

    assert_eq!(order, ["report 5", "count_down 4", "report 4", "count_down 3"]);
    system.settle().await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_does_not_settle_says_what_moves() {
    let system = start().await;
    // Nothing performs it, and nobody has paused it either.
    system.system().perform_inline();
    let member = system.member(ACME, Role::Staff);
    member.run(CountDown { from: 0, minutes: 0 }).await.expect("it is enqueued");

    let moving = system.what_moves().await;

    assert_eq!(moving, ["1 jobs of probe: available `report`"]);
    system.system().drain_jobs().await.expect("it can be performed");
    assert_eq!(system.what_moves().await, Vec::<String>::new());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_job_fails_the_test_that_lost_it() {
    let vanishing = start().await;
    let member = vanishing.member(ACME, Role::Staff);
    member.run(CountDown { from: 0, minutes: 5 }).await.expect("it is enqueued");
    let waiting = vanishing.assert_enqueued::<Report>(|_| true).await.row.job_id;
    let steal = format!("delete from jobs.jobs where id = '{waiting}'");
    let stolen =
        sqlx::raw_sql(sqlx::AssertSqlSafe(steal)).execute(&mut vanishing.owner().await).await;
    stolen.expect("the owner may delete");

    let held = start().await;
    let member = held.member(ACME, Role::Staff);
    member.run(CountDown { from: 0, minutes: 5 }).await.expect("it is enqueued");
    let row = held.assert_enqueued::<Report>(|_| true).await.row;
    let node = held.system().queues().node_id().to_owned();
    let now = held.system().now();
    let taken = sqlx::query(
        "update jobs.jobs set state = 'executing', attempt = 1, node = $1, attempted_at = $2",
    )
    .bind(node)
    .bind(now)
    .execute(&mut held.owner().await)
    .await;
    taken.expect("the owner may update");
    held.system().stop().await;

    let told = panicked(vanishing.stop()).await;
    assert!(told.contains(&format!("job {waiting} was enqueued and is in no table")), "{told}");
    let told = panicked(held.stop()).await;
    assert!(told.contains(&format!("`report` {} of probe is executing", row.job_id)), "{told}");
}
