//! The one path from a call to an answer, tried with a domain made for it.

use std::sync::LazyLock;

use platform::{
    Access, Action, Command, Domain, DomainName, Error, Event, EventType, Kind, Query, Recorded,
    Result, Role, Snapshot, Spec, System, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use testkit::{ACME, TestSystem};
use tokio::sync::Notify;
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

/// Hit a ball; whoever sees it hits it again.
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

#[allow(clippy::unnecessary_wraps, reason = "a reaction may have no consequence")]
fn hit_back(hit: &Recorded<BallHit>) -> Option<HitBall> {
    Some(HitBall { ball_id: hit.data.ball_id })
}

/// Tell a fact, then break.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct TellAndPanic {}

impl Command for TellAndPanic {
    const SPEC: Spec = Spec::invoke("tell_and_panic", "/panics");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&BallHit { ball_id: Uuid::now_v7() }).await?;
        panic!("on purpose");
    }
}

/// Try to write where only reading is allowed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct WriteInQuery {}

impl Query for WriteInQuery {
    const SPEC: Spec = Spec::read("write_in_query", "/writes");
    type Output = ();
    async fn answer(self, db: &mut Snapshot<'_>) -> Result<()> {
        sqlx::query("create table probe.written ()").execute(db.connection()).await?;
        Ok(())
    }
}

static GO_ON: LazyLock<Notify> = LazyLock::new(Notify::new);
static ENTERED: LazyLock<Notify> = LazyLock::new(Notify::new);

/// Take a place until told to go on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct TakePlace {}

impl Query for TakePlace {
    const SPEC: Spec = Spec::read("take_place", "/places");
    type Output = ();
    async fn answer(self, _: &mut Snapshot<'_>) -> Result<()> {
        ENTERED.notify_one();
        GO_ON.notified().await;
        Ok(())
    }
}

static ACTING: LazyLock<Notify> = LazyLock::new(Notify::new);
static ACT_ON: LazyLock<Notify> = LazyLock::new(Notify::new);

/// Act until told to stop.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ActSlowly {
    /// Whether it is ever told to.
    is_endless: bool,
}

impl Action for ActSlowly {
    const SPEC: Spec = Spec::invoke("act_slowly", "/acts").needs(Access::Operate);
    type Output = ();
    async fn act(self, _: &System) -> Result<()> {
        ACTING.notify_one();
        if self.is_endless {
            std::future::pending::<()>().await;
        }
        ACT_ON.notified().await;
        Ok(())
    }
}

fn probe() -> Domain {
    Domain::new(PROBE)
        .command::<HitBall>()
        .command::<TellAndPanic>()
        .query::<WriteInQuery>()
        .query::<TakePlace>()
        .action::<ActSlowly>()
        .emits::<BallHit>()
}

async fn events_of(system: &TestSystem) -> i64 {
    system.settle().await;
    sqlx::query_scalar("select count(*) from events.domain_events")
        .fetch_one(&mut system.owner().await)
        .await
        .expect("the owner may count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_operation_fails_alone_and_leaves_nothing() {
    let system = testkit::start([probe()]).await;
    let member = system.member(ACME, Role::Staff);

    let failed = member.refuse("probe", "tell_and_panic", json!({})).await;
    let next = member.call("probe", "hit_ball", json!({"ball_id": Uuid::now_v7()})).await;

    assert_eq!(failed.kind(), Kind::Failure);
    assert!(!failed.message().contains("on purpose"), "the cause stays in the log");
    assert!(next.is_ok(), "the next call is served");
    assert_eq!(events_of(&system).await, 1, "what panicked has told nothing");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_reactions_ends_after_ten_events() {
    let system = testkit::start([probe().on("hit_back", hit_back)]).await;
    let member = system.member(ACME, Role::Staff);

    member.run(HitBall { ball_id: Uuid::now_v7() }).await.expect("the first hit is allowed");

    assert_eq!(events_of(&system).await, 10);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_cannot_write() {
    let system = testkit::start([probe()]).await;

    let failed = system.member(ACME, Role::Staff).ask(WriteInQuery {}).await;

    let Err(Error::Failure(cause)) = failed else { panic!("a query wrote: {failed:?}") };
    assert!(cause.to_string().contains("read-only transaction"), "{cause}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_domain_tells_when_to_come_back() {
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    let tuning = "[domain.probe]\nin_flight_max = 1\n";
    let system = testkit::start_with([probe()], platform::otp::Clock::system(), tuning, edge).await;
    let member = system.member(ACME, Role::Staff);

    let first = member.call("probe", "take_place", json!({}));
    let (first, refused) = tokio::join!(first, async {
        ENTERED.notified().await;
        let refused = member.refuse("probe", "write_in_query", json!({})).await;
        GO_ON.notify_one();
        refused
    });

    assert!(first.is_ok());
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert!(refused.retry_after().is_some());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_does_not_fit_names_every_field() {
    let system = testkit::start([probe()]).await;
    let member = system.member(ACME, Role::Staff);

    let missing = member.refuse("probe", "hit_ball", json!({})).await;
    let wrong = member.refuse("probe", "hit_ball", json!({"ball_id": "seven"})).await;

    assert_eq!((missing.kind(), wrong.kind()), (Kind::Invalid, Kind::Invalid));
    assert!(missing.message().contains("ball_id"), "{missing}");
    assert_eq!(wrong.fields()[0].pointer, "/ball_id");
    system.stop().await;
}

/// Types and outcomes of what the operator's log says.
async fn record_of_actions(system: &TestSystem) -> Vec<(String, Option<String>)> {
    system.settle().await;
    sqlx::query_as(
        "select event_type, convert_from(payload, 'utf8')::jsonb ->> 'outcome'
         from events.domain_events where domain = 'operator' order by arrival",
    )
    .fetch_all(&mut system.owner().await)
    .await
    .expect("the owner may read")
}

const ACTION: &str = "root/domains/operator/children/actions/action#1";

#[tokio::test(flavor = "multi_thread")]
async fn an_action_and_its_record_do_not_end_with_whoever_asked() {
    let system = testkit::start([probe()]).await;
    let operator = system.member(ACME, Role::Operator);

    let asking = operator.call("probe", "act_slowly", json!({"is_endless": false}));
    tokio::select! {
        answer = asking => panic!("nobody has told it to end: {answer:?}"),
        () = ACTING.notified() => {}
    }
    let process = system.system().tree().process(ACTION).expect("it goes on");
    ACT_ON.notify_one();
    process.gone().await;

    let record = record_of_actions(&system).await;
    let finished = ("action_finished".to_owned(), Some("done".to_owned()));
    assert_eq!(record, [("action_requested".to_owned(), None), finished]);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_is_killed_is_on_record_as_interrupted() {
    let system = testkit::start([probe()]).await;
    let operator = system.member(ACME, Role::Operator);

    let asking = operator.refuse("probe", "act_slowly", json!({"is_endless": true}));
    let (refused, ()) = tokio::join!(asking, async {
        ACTING.notified().await;
        system.system().tree().kill(ACTION).expect("it is there");
    });

    assert_eq!(refused.kind(), Kind::Unavailable);
    let record = record_of_actions(&system).await;
    let finished = ("action_finished".to_owned(), Some("unavailable".to_owned()));
    assert_eq!(record, [("action_requested".to_owned(), None), finished]);
    system.stop().await;
}
