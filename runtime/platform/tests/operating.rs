//! Operating jobs through the door that every surface uses.

use platform::{Command, Domain, DomainName, Kind, Result, Role, Spec, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{ACME, Member, TestSystem};

const PROBE: DomainName = DomainName::new("probe");

/// Send a letter.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct SendLetter {
    /// Whom it is for.
    to: String,
}

impl Command for SendLetter {
    const SPEC: Spec = Spec::create("send_letter", "/letters");
    type Output = ();
    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

/// Send letters later.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct PlanLetters {
    /// Whom they are for.
    to: Vec<String>,
}

impl Command for PlanLetters {
    const SPEC: Spec = Spec::create("plan_letters", "/plans");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        for to in self.to {
            tx.enqueue(&SendLetter { to }).await?;
        }
        Ok(())
    }
}

/// A system whose queue `probe` is paused with a letter in it for each of these, and its operator.
async fn with_letters(to: &[&str]) -> (TestSystem, Member) {
    let probe =
        Domain::new(PROBE).command::<SendLetter>().command::<PlanLetters>().job::<SendLetter>();
    let system = testkit::start([probe]).await;
    let operator = system.member(ACME, Role::Operator);
    let pause = operator.call("operator", "pause_queue", json!({ "queue": "probe" })).await;
    pause.expect("an operator may pause a queue");
    let plan = PlanLetters { to: to.iter().map(|to| (*to).to_owned()).collect() };
    system.member(ACME, Role::Staff).run(plan).await.expect("letters may be planned");
    (system, operator)
}

async fn ask(operator: &Member, operation: &str, input: Value) -> Value {
    let answer = operator.call("operator", operation, input).await;
    answer.unwrap_or_else(|error| panic!("{operation}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_mends_and_gives_up_jobs_and_all_of_it_is_on_record() {
    let (system, operator) = with_letters(&["ann", "bob"]).await;

    let found = ask(&operator, "list_jobs", json!({ "filter": "queue:probe args.to:bob" })).await;
    let job = &found["items"][0];
    let (job_id, version) = (&job["job_id"], &job["version"]);
    let edit = json!({ "job_id": job_id, "args": { "to": "bea" }, "version": version });
    let edited = ask(&operator, "edit_job", edit.clone()).await;
    let late = operator.refuse("operator", "edit_job", edit).await;
    let ask_one = async |operation| ask(&operator, operation, json!({ "job_id": job_id })).await;
    let shown = ask_one("get_job").await;
    let cancelled = ask_one("cancel_job").await;
    let retried = ask_one("retry_job").await;
    let discarded = ask_one("discard_job").await;
    ask_one("delete_job").await;
    let count = ask(&operator, "count_jobs", json!({ "filter": "queue:probe" })).await;
    system.settle().await;
    let events = ask(&operator, "list_events", json!({ "limit": 500 })).await;

    assert_eq!((edited["args"]["to"].as_str(), late.code()), (Some("bea"), "changed_meanwhile"));
    assert_eq!((&shown["args"], &shown["waits_for"]), (&json!({ "to": "bea" }), &json!(0)));
    let states = [cancelled, retried, discarded].map(|job| job["state"].clone());
    assert_eq!(states, ["cancelled", "available", "discarded"]);
    assert_eq!(count, json!({ "count": 1, "is_exact": true }));
    let items = events["items"].as_array().expect("a list has items");
    let operations: Vec<&str> = items
        .iter()
        .filter(|event| event["event_type"] == "action_requested")
        .filter_map(|event| event["data"]["operation"].as_str())
        .collect();
    let expected =
        ["pause_queue", "edit_job", "edit_job", "cancel_job", "retry_job", "discard_job"];
    assert_eq!(operations[..6], expected);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_or_arguments_that_are_wrong_are_refused_at_their_place() {
    let (system, operator) = with_letters(&["ann"]).await;
    let found = ask(&operator, "list_jobs", json!({ "filter": "queue:probe" })).await;
    let job_id = &found["items"][0]["job_id"];

    let filter = json!({ "filter": "queu:probe" });
    let filter = operator.refuse("operator", "list_jobs", filter).await;
    let args = json!({ "job_id": job_id, "args": { "to": 7 } });
    let args = operator.refuse("operator", "edit_job", args).await;
    let fraction = json!({ "job_id": job_id, "args": { "to": "ann", "share": [0.5] } });
    let fraction = operator.refuse("operator", "edit_job", fraction).await;

    assert_eq!((filter.kind(), args.kind()), (Kind::Invalid, Kind::Invalid));
    assert_eq!(filter.message(), "`queu` is no qualifier; did you mean `queue`?");
    assert_eq!(fraction.code(), "no_whole_number");
    let pointers = [&filter, &args, &fraction].map(|error| error.fields()[0].pointer.as_str());
    assert_eq!(pointers, ["/filter", "/args/to", "/args/share/0"]);
    ask(&operator, "delete_job", json!({ "job_id": job_id })).await;
    system.stop().await;
}
