//! Scaling a queue through the door that every surface uses, and why its jobs wait.

use platform::{Command, Domain, DomainName, Result, Role, Spec, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{ACME, Member, TestSystem};

const PROBE: DomainName = DomainName::new("probe");

/// Send a letter.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct SendLetter {}

impl Command for SendLetter {
    const SPEC: Spec = Spec::create("send_letter", "/letters");
    type Output = ();
    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

/// Send a letter later.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct PlanLetter {}

impl Command for PlanLetter {
    const SPEC: Spec = Spec::create("plan_letter", "/plans");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.enqueue(&SendLetter {}).await.map(drop)
    }
}

async fn start() -> (TestSystem, Member) {
    let probe =
        Domain::new(PROBE).command::<SendLetter>().command::<PlanLetter>().job::<SendLetter>();
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    let tuning = "[domain.probe]\nmax_restarts = 0\n";
    let clock = platform::otp::Clock::system();
    let system = testkit::start_with([probe], clock, tuning, edge).await;
    let operator = system.member(ACME, Role::Operator);
    (system, operator)
}

async fn ask(operator: &Member, operation: &str, input: Value) -> Value {
    let answer = operator.call("operator", operation, input).await;
    answer.unwrap_or_else(|error| panic!("{operation}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_scales_a_queue_and_resets_it() {
    let (system, operator) = start().await;
    let scale = json!({
        "queue": "probe", "limit": 3, "global_limit": 20, "partition_by": "organisation",
        "partition_limit": 2,
    });

    let scaled = ask(&operator, "scale_queue", scale).await;
    let listed = ask(&operator, "list_queues", json!({})).await;
    let wrong = json!({ "queue": "probe", "partition_by": "" });
    let refused = operator.call("operator", "scale_queue", wrong).await;
    let of_one = json!({ "queue": "probe", "node": "other", "global_limit": 1 });
    let refused_of_one = operator.call("operator", "scale_queue", of_one).await;
    let reset = ask(&operator, "reset_queue", json!({ "queue": "probe" })).await;

    let limits = json!({
        "global_limit": 20, "partition_by": "organisation", "partition_limit": 2,
    });
    assert_eq!((&scaled["limits"], &scaled["limit"]), (&limits, &json!(3)));
    let probe = listed["items"].as_array().and_then(|items| {
        items.iter().find(|item| item["queue"] == "probe").map(|item| item["limit"].clone())
    });
    assert_eq!(probe, Some(json!(3)));
    assert!(refused.is_err_and(|error| error.to_string().contains("partition_by")));
    assert!(refused_of_one.is_err());
    assert_eq!((&reset["limits"], reset.get("limit")), (&json!({}), None));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_says_so_and_a_node_may_be_paused_alone() {
    let (system, operator) = start().await;
    let node = system.system().queues().node_name().to_owned();
    let on_node = json!({ "queue": "probe", "node": node });

    let paused = ask(&operator, "pause_queue_on_node", on_node.clone()).await;
    let resumed = ask(&operator, "resume_queue_on_node", on_node).await;

    assert_eq!(paused["nodes"][0]["node"], json!(node));
    assert!(paused["nodes"][0]["paused_at"].is_string());
    assert_eq!(resumed["nodes"], json!([]));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_quarantined_domain_wait_visibly_and_run_when_it_is_back() {
    let (system, operator) = start().await;
    let tree = system.system().tree().clone();
    let mut changes = tree.changes();
    ask(&operator, "pause_queue", json!({ "queue": "probe" })).await;
    system.member(ACME, Role::Staff).run(PlanLetter {}).await.expect("it may be planned");
    let paused = waits(&operator).await;

    tree.kill("root/domains/probe/queue").expect("the queue exists");
    while tree.quarantined_until("root/domains/probe").is_none() {
        changes.changed().await.expect("the tree is alive");
    }
    ask(&operator, "resume_queue", json!({ "queue": "probe" })).await;
    let quarantined = waits(&operator).await;
    tree.lift_quarantine("root/domains/probe").expect("it is in quarantine");
    system.settle().await;
    let jobs = ask(&operator, "list_jobs", json!({})).await;

    assert_eq!((paused, quarantined), (json!("paused"), json!("quarantined")));
    assert_eq!(waits(&operator).await, Value::Null);
    assert_eq!(jobs["items"][0]["state"], "completed");
    system.stop().await;
}

/// Why the jobs of the probe wait.
async fn waits(operator: &Member) -> Value {
    let listed = ask(operator, "list_queues", json!({})).await;
    let items = listed["items"].as_array().expect("there are queues");
    let probe = items.iter().find(|item| item["queue"] == "probe");
    probe.map_or(Value::Null, |probe| probe["waits"]["reason"].clone())
}
