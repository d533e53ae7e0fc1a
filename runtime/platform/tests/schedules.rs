//! What a domain does by the clock, in a running system, and what operators make of it.

use std::time::Duration;

use chrono::DateTime;
use platform::otp::Clock;
use platform::{Attempt, Command, Domain, DomainName, Every, Job, Outcome, Result, Role, Spec, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX, Member, TestSystem};

const PROBE: DomainName = DomainName::new("probe");

/// Ring the bells of every organisation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct RingBells {}

impl Job for RingBells {
    const NAME: &'static str = "ring_bells";

    async fn perform(self, attempt: &Attempt) -> Result<Outcome> {
        for scope in attempt.system().rounds("probe.ring_bells").await? {
            attempt.system().run(&scope, RingBell { times: 1 }).await?;
        }
        Ok(Outcome::Complete)
    }
}

/// Ring a bell.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct RingBell {
    /// How often.
    times: u32,
}

impl Command for RingBell {
    const SPEC: Spec = Spec::create("ring_bell", "/bells");
    type Output = ();
    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

/// A system with a clock by hand, at midday, whose bells ring hourly, and its operator.
async fn with_bells() -> (TestSystem, Clock, Member) {
    let noon = DateTime::from_timestamp(1_800_014_400, 0).expect("the time exists");
    let clock = Clock::manual(noon);
    let every = Every::new("0 * * * *").zone("Australia/Sydney").tags(&["bells"]);
    let probe = Domain::new(PROBE).command::<RingBell>().every(every, || RingBells {});
    let system = testkit::start_with([probe], clock.clone(), "", Box::new(|_| Vec::new())).await;
    let operator = system.member(ACME, Role::Operator);
    (system, clock, operator)
}

async fn ask(operator: &Member, operation: &str, input: Value) -> Value {
    let answer = operator.call("operator", operation, input).await;
    answer.unwrap_or_else(|error| panic!("{operation}: {error}"))
}

/// Lets time pass until so many jobs of that name are completed, or more.
async fn until_completed(clock: &Clock, operator: &Member, job: &str, count: u64) {
    let passing = async {
        loop {
            let filter = json!({ "filter": format!("name:{job} state:completed") });
            let found = ask(operator, "count_jobs", filter).await;
            if found["count"].as_u64() >= Some(count) {
                return;
            }
            // Duties sleep by this clock, a second or more.
            clock.advance(Duration::from_secs(6));
            tokio::task::yield_now().await;
        }
    };
    let passed = tokio::time::timeout(Duration::from_secs(30), passing).await;
    assert!(passed.is_ok(), "{job} is not completed {count} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_domain_declares_recurs_and_an_operator_sees_it() {
    let (system, clock, operator) = with_bells().await;

    let listed = ask(&operator, "list_schedules", json!({})).await;
    until_completed(&clock, &operator, "ring_bells", 1).await;
    let shown = ask(&operator, "get_schedule", json!({ "name": "probe.ring_bells" })).await;
    let job = ask(&operator, "get_job", json!({ "job_id": shown["last_job_id"] })).await;
    let duties = ask(&operator, "show_duties", json!({})).await;

    let entry = &listed["items"][0];
    assert_eq!(
        (&entry["name"], &entry["source"]),
        (&json!("probe.ring_bells"), &json!("declared"))
    );
    assert_eq!(entry["next_ticks"].as_array().map(Vec::len), Some(5));
    assert_eq!((&job["state"], &job["tags"]), (&json!("completed"), &json!(["bells"])));
    assert_eq!((&duties["is_here"], &duties["leader"]["epoch"]), (&json!(true), &json!(1)));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_a_command_recur_for_an_organisation_and_takes_it_back() {
    let (system, clock, operator) = with_bells().await;
    let name = json!({ "name": "evening_bell" });
    let put = json!({
        "name": "evening_bell", "schedule": "every 10 minutes", "queue": "probe",
        "job": "ring_bell", "args": { "times": 3 }, "org_id": GLOBEX,
    });

    let made = ask(&operator, "put_schedule", put).await;
    until_completed(&clock, &operator, "ring_bell", 1).await;
    let run = ask(&operator, "run_schedule", name.clone()).await;
    let job = ask(&operator, "get_job", json!({ "job_id": run["job_id"] })).await;
    until_completed(&clock, &operator, "ring_bell", 2).await;
    let paused = ask(&operator, "pause_schedule", name.clone()).await;
    ask(&operator, "resume_schedule", name.clone()).await;
    ask(&operator, "delete_schedule", name.clone()).await;
    let gone = operator.refuse("operator", "get_schedule", name).await;

    assert_eq!((&made["source"], &made["org_id"]), (&json!("made"), &json!(GLOBEX)));
    assert_eq!(job["args"], json!({ "times": 3 }));
    assert_eq!((&paused["next_ticks"], paused["paused_at"].is_string()), (&json!([]), true));
    assert_eq!(gone.code(), "no_such_schedule");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_cannot_be_is_refused_at_its_field() {
    let (system, _, operator) = with_bells().await;
    let cases = [
        (json!({ "schedule": "0 25 * * *" }), "/schedule", "hour: `25` is out of range"),
        (json!({ "timezone": "Mars" }), "/timezone", "`Mars` is no time zone"),
        (json!({ "queue": "nowhere" }), "/queue", "there is no queue `nowhere`"),
        (json!({ "job": "dance" }), "/job", "probe performs no job `dance`"),
        (json!({ "args": { "times": "often" } }), "/args/times", ""),
        (json!({ "missed": "some" }), "/missed", "write `skip`, `latest` or `all`"),
    ];

    for (change, pointer, said) in cases {
        let mut put = json!({
            "name": "bell", "schedule": "@daily", "queue": "probe", "job": "ring_bell",
            "args": { "times": 1 },
        });
        for (field, value) in change.as_object().expect("a change is an object") {
            put[field] = value.clone();
        }
        let refusal = operator.refuse("operator", "put_schedule", put).await;
        assert_eq!(refusal.fields()[0].pointer, pointer, "{refusal}");
        assert!(refusal.message().contains(said), "{refusal}");
    }
    let preview = json!({ "schedule": "30 2 29 feb *", "count": 2 });
    let preview = ask(&operator, "preview_schedule", preview).await;
    assert_eq!(preview["ticks"], json!(["2028-02-29T02:30:00Z", "2032-02-29T02:30:00Z"]));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_says_how_long_jobs_are_remembered() {
    let (system, _, operator) = with_bells().await;
    let line = json!({ "queue": "probe", "state": "completed" });

    let put = json!({ "queue": "probe", "state": "completed", "keep_s": 3_600 });
    let put = ask(&operator, "put_retention", put).await;
    let reset = ask(&operator, "reset_retention", line.clone()).await;
    let nothing = operator.refuse("operator", "reset_retention", line).await;
    let running = json!({ "queue": "probe", "state": "executing", "keep_s": 1 });
    let running = operator.refuse("operator", "put_retention", running).await;

    let lengths = [&put, &reset].map(|answer| answer["items"].as_array().map(Vec::len));
    assert_eq!(lengths, [Some(4), Some(3)]);
    assert_eq!((nothing.code(), running.code()), ("nothing_said", "no_end"));
    system.stop().await;
}
