//! A domain on threads of its own, whose operations hold them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use platform::otp::{Clock, SupervisionEventKind};
use platform::{
    Command, Domain, DomainName, Event, EventType, Kind, Query, Recorded, Result, Role, Snapshot,
    Spec, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{ACME, TestSystem};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use uuid::Uuid;

const BUSY: DomainName = DomainName::new("busy");
const CALM: DomainName = DomainName::new("calm");

/// Say on which thread this is answered.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct GetThread {}

impl Query for GetThread {
    const SPEC: Spec = Spec::read("get_thread", "/thread");
    type Output = String;
    async fn answer(self, db: &mut Snapshot<'_>) -> Result<String> {
        sqlx::query("select 1").execute(db.connection()).await?;
        Ok(thread::current().name().unwrap_or_default().to_owned())
    }
}

/// Say that there is an answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct GetAnswer {}

impl Query for GetAnswer {
    const SPEC: Spec = Spec::read("get_answer", "/answer");
    type Output = ();
    async fn answer(self, db: &mut Snapshot<'_>) -> Result<()> {
        sqlx::query("select 1").execute(db.connection()).await?;
        Ok(())
    }
}

static SPINNING: Semaphore = Semaphore::const_new(0);
static RELEASED: AtomicBool = AtomicBool::new(false);

/// Hold the thread until the test lets go.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Spin {}

impl Query for Spin {
    const SPEC: Spec = Spec::read("spin", "/spins");
    type Output = ();
    async fn answer(self, _: &mut Snapshot<'_>) -> Result<()> {
        SPINNING.add_permits(1);
        while !RELEASED.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

static WAITING: LazyLock<Notify> = LazyLock::new(Notify::new);
static DROPPED: LazyLock<Notify> = LazyLock::new(Notify::new);

/// Wait for ever, and say when that was given up.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct WaitForEver {}

impl Query for WaitForEver {
    const SPEC: Spec = Spec::read("wait_for_ever", "/waits");
    type Output = ();
    async fn answer(self, _: &mut Snapshot<'_>) -> Result<()> {
        struct Dropped;
        impl Drop for Dropped {
            fn drop(&mut self) {
                DROPPED.notify_one();
            }
        }
        let _dropped = Dropped;
        WAITING.notify_one();
        std::future::pending().await
    }
}

/// A ball was hit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct BallHit {
    /// The ball.
    ball_id: Uuid,
}

impl Event for BallHit {
    const TYPE: EventType = BUSY.event("ball_hit", 1);
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

async fn start() -> TestSystem {
    let busy = Domain::new(BUSY)
        .command::<HitBall>()
        .query::<GetThread>()
        .query::<Spin>()
        .query::<WaitForEver>()
        .emits::<BallHit>()
        .on("hit_back", hit_back);
    let calm = Domain::new(CALM).query::<GetAnswer>();
    let dedicated = "[domain.busy]\nruntime = \"dedicated\"\nthreads = 2\n";
    testkit::start_with([busy, calm], Clock::system(), dedicated, Box::new(|_| Vec::new())).await
}

async fn thread_of(system: &TestSystem) -> Result<Value> {
    system.member(ACME, Role::Staff).call("busy", "get_thread", json!({})).await
}

fn is_of_its_own(thread: &Value) -> bool {
    thread.as_str().is_some_and(|name| name.starts_with("busy-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_reactions_and_jobs_of_a_dedicated_domain_run_on_its_threads() {
    let system = start().await;
    let member = system.member(ACME, Role::Staff);

    let thread = thread_of(&system).await.expect("it answers");
    let input = json!({"ball_id": Uuid::now_v7()});
    member.call("busy", "hit_ball", input).await.expect("it answers");
    system.settle().await;
    let hits: i64 = sqlx::query_scalar("select count(*) from events.domain_events")
        .fetch_one(&mut system.owner().await)
        .await
        .expect("the owner may count");

    assert!(is_of_its_own(&thread), "{thread}");
    assert_eq!(hits, 10, "each reaction led to the next until the circle was cut");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_takes_its_operation_along() {
    let system = start().await;
    let member = system.member(ACME, Role::Staff);

    tokio::select! {
        _ = member.call("busy", "wait_for_ever", json!({})) => panic!("it never ends"),
        () = WAITING.notified() => {}
    }

    DROPPED.notified().await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_holds_all_its_threads_is_replaced_and_no_other_notices() {
    let system = start().await;
    let member = system.member(ACME, Role::Staff);
    let mut events = system.system().tree().subscribe();
    let mut spins = JoinSet::new();
    for _ in 0..2 {
        let member = system.member(ACME, Role::Staff);
        spins.spawn(async move { member.call("busy", "spin", json!({})).await });
    }
    SPINNING.acquire_many(2).await.expect("it is open").forget();

    let mut answers = 0;
    let (mut named, mut is_back) = (None, false);
    while !is_back {
        member.call("calm", "get_answer", json!({})).await.expect("no other domain notices");
        answers += 1;
        while let Ok(event) = events.try_recv() {
            match &event.kind {
                SupervisionEventKind::Overstayed { message, .. } => named = Some(message.clone()),
                SupervisionEventKind::Restarted => is_back = event.path == "root/domains/busy",
                _ => {}
            }
        }
    }
    let spun = spins.join_all().await;
    let thread = thread_of(&system).await.expect("the domain is back");
    RELEASED.store(true, Ordering::Release);

    assert_eq!(named.as_deref(), Some("spin"));
    assert!(answers > 0);
    assert!(is_of_its_own(&thread), "{thread}");
    for refused in spun {
        assert_eq!(refused.expect_err("it was given up").kind(), Kind::Unavailable);
    }
    system.stop().await;
}
