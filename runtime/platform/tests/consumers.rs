//! What operators see of consumers and do for them, tried with a reaction that fails over one ball.

use std::time::Duration;

use platform::{
    Command, Domain, DomainName, Event, EventType, Kind, Recorded, Result, Role, Spec, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX, Member, TestSystem};
use uuid::Uuid;

const PROBE: DomainName = DomainName::new("probe");

/// A ball was hit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct BallHit {
    /// The ball.
    ball_id: Uuid,
}

impl Event for BallHit {
    const TYPE: EventType = PROBE.event("ball_hit", 1);
    fn aggregate_id(&self) -> Uuid {
        self.ball_id
    }
}

/// Hit a ball.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct HitBall {
    /// The ball.
    ball_id: Uuid,
}

impl Command for HitBall {
    const SPEC: Spec = Spec::create("hit_ball", "/balls");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&BallHit { ball_id: self.ball_id }).await.map(drop)
    }
}

/// A ball that went out of play was counted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct BallCounted {
    /// The ball.
    ball_id: Uuid,
}

impl Event for BallCounted {
    const TYPE: EventType = PROBE.event("ball_counted", 1);
    fn aggregate_id(&self) -> Uuid {
        self.ball_id
    }
}

/// Count a ball.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct CountBall {
    /// The ball.
    ball_id: Uuid,
}

impl Command for CountBall {
    const SPEC: Spec = Spec::internal("count_ball");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&BallCounted { ball_id: self.ball_id }).await.map(drop)
    }
}

/// Counts every ball but one.
#[allow(clippy::unnecessary_wraps, reason = "a reaction may have no consequence")]
fn count(hit: &Recorded<BallHit>) -> Option<CountBall> {
    assert!(!hit.data.ball_id.is_max(), "no such ball");
    Some(CountBall { ball_id: hit.data.ball_id })
}

async fn start() -> TestSystem {
    let domain = Domain::new(PROBE)
        .command::<HitBall>()
        .command::<CountBall>()
        .emits::<BallHit>()
        .emits::<BallCounted>()
        .on("count", count);
    testkit::start([domain]).await
}

async fn hit(system: &TestSystem, org_id: platform::OrgId, ball_id: Uuid) {
    let member = system.member(org_id, Role::Staff);
    member.run(HitBall { ball_id }).await.expect("anybody may hit a ball");
}

async fn consumers(operator: &Member) -> Value {
    operator.call("operator", "list_consumers", json!({})).await.expect("an operator may look")
}

/// What operators see once `is_so` holds.
async fn once(operator: &Member, is_so: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        loop {
            looks.tick().await;
            let seen = consumers(operator).await;
            if is_so(&seen) {
                return seen;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it happens in time")
}

async fn counted(system: &TestSystem) -> i64 {
    sqlx::query_scalar(
        "select count(*) from events.domain_events where event_type = 'ball_counted'",
    )
    .fetch_one(&mut system.owner().await)
    .await
    .expect("the owner may count")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_that_consumers_are_live() {
    let system = start().await;
    hit(&system, ACME, Uuid::now_v7()).await;
    system.settle().await;

    let operator = system.member(ACME, Role::Operator);
    let seen = once(&operator, |seen| seen["items"][0]["state"] == "live").await;

    let consumer = &seen["items"][0];
    assert_eq!(consumer["consumer"], "probe.count");
    assert_eq!((&consumer["is_here"], &consumer["lag_events"]), (&json!(true), &json!(0)));
    assert_eq!(seen["stalls"], json!([]));
    let metrics = system.system().metrics_text().await;
    assert!(
        metrics.contains("finnest_consumer_lag_events{consumer=\"probe.count\"} 0"),
        "{metrics}"
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_skips_an_event_over_which_a_reaction_panics() {
    let system = start().await;
    let operator = system.member(ACME, Role::Operator);
    hit(&system, ACME, Uuid::max()).await;
    hit(&system, ACME, Uuid::now_v7()).await;
    hit(&system, GLOBEX, Uuid::now_v7()).await;
    let seen = once(&operator, |seen| seen["stalls"][0]["attempts"].as_u64() >= Some(1)).await;
    let stall = &seen["stalls"][0];

    let metrics = system.system().metrics_text().await;
    let order = json!({
        "consumer": "probe.count",
        "position": stall["position"],
        "reason": "the ball was lost",
    });
    let early = json!({"consumer": "probe.count", "position": 999, "reason": "the ball was lost"});
    let refused = operator.refuse("operator", "skip_event", early).await;
    let skipped = operator.call("operator", "skip_event", order).await.expect("it stands there");
    system.settle().await;

    assert!(stall["error"].as_str().is_some_and(|error| error.contains("no such ball")), "{stall}");
    assert_eq!((&stall["is_parked"], &stall["org_id"]), (&json!(true), &json!(ACME)));
    assert!(metrics.contains("finnest_consumer_stalled{consumer=\"probe.count\"} 1"), "{metrics}");
    assert_eq!(refused.kind(), Kind::Conflict);
    assert_eq!(counted(&system).await, 2, "what waited behind it has followed, and nothing else");
    let kept = operator.call("operator", "list_skipped_events", json!({})).await;
    assert_eq!(kept.expect("an operator may look")["items"], json!([skipped]));
    assert!(skipped["skipped_by"].as_str().is_some_and(|by| by.starts_with("user ")), "{skipped}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_stalled_is_tried_again() {
    let system = start().await;
    let operator = system.member(ACME, Role::Operator);

    let input = json!({"consumer": "probe.count"});
    let not_stalled = operator.refuse("operator", "retry_consumer", input.clone()).await;
    let unknown =
        operator.refuse("operator", "retry_consumer", json!({"consumer": "probe.cuont"})).await;
    hit(&system, ACME, Uuid::max()).await;
    let attempts = |seen: &Value| seen["stalls"][0]["attempts"].as_u64().unwrap_or_default();
    let before = attempts(&once(&operator, |seen| attempts(seen) >= 1).await);
    let retried = operator.call("operator", "retry_consumer", input).await;
    once(&operator, |seen| attempts(seen) > before).await;

    assert_eq!((not_stalled.kind(), unknown.kind()), (Kind::Conflict, Kind::NotFound));
    assert_eq!(retried.expect("it is stalled")["events"], 1);
    system.stop().await;
}
