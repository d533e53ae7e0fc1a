//! Kill any process of the tree: what must survive survives, and no other domain notices.
//!
//! A trickle of requests goes to every domain while each process is killed in turn. Afterwards each
//! job order must have had each of its consequences exactly once, and the chain must hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use platform::Role;
use platform::otp::{Status, Tree};
use serde_json::{Value, json};
use testkit::{ACME, Member};

use crate::support::{domains, job_order, killable};

/// Restarts are not what is tested here, so that killing on purpose never exhausts a budget.
const GENEROUS: &str = "
[defaults]
max_restarts = 1000
max_seconds = 1
";

/// Requests to every domain until told to stop; counts answers, keeps the first fault.
struct Trickle {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Result<(), String>>,
}

impl Trickle {
    #[allow(clippy::disallowed_methods, reason = "a test's load is no part of the tree")]
    fn start(member: Member) -> Self {
        let (stop, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&opened));
        let task = tokio::spawn(async move {
            while !stopping.load(Ordering::Acquire) {
                member
                    .call("recruit", "open_job_order", job_order())
                    .await
                    .map_err(|error| format!("recruit/open_job_order: {error}"))?;
                counting.fetch_add(1, Ordering::AcqRel);
                for (domain, list) in [
                    ("pulse", "list_roster_templates"),
                    ("onboard", "list_credential_checks"),
                    ("reach", "list_messages"),
                    ("payroll", "list_billing_records"),
                ] {
                    member
                        .call(domain, list, json!({}))
                        .await
                        .map_err(|error| format!("{domain}/{list}: {error}"))?;
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        });
        Self { stop, opened, task }
    }

    /// Waits until so many more job orders were opened.
    async fn goes_on(&self, count: u64) {
        let goal = self.opened.load(Ordering::Acquire) + count;
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        while self.opened.load(Ordering::Acquire) < goal && !self.task.is_finished() {
            ticks.tick().await;
        }
    }

    async fn stop(self) -> (u64, Result<(), String>) {
        self.stop.store(true, Ordering::Release);
        let ended = self.task.await.expect("the trickle does not panic");
        (self.opened.load(Ordering::Acquire), ended)
    }
}

/// Waits until the tree is as `is_so` wants it.
async fn until(tree: &Tree, what: &str, mut is_so: impl FnMut() -> bool) {
    let mut changes = tree.changes();
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !is_so() {
            changes.changed().await.expect("the tree is alive");
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} within ten seconds"));
}

/// Kills a process and waits until its next incarnation runs, with all below it.
async fn kill_and_await(tree: &Tree, path: &str) {
    // What was killed before may have been above it, so it may still be on its way up.
    let mut killed = None;
    until(tree, &format!("{path} can be killed"), || {
        killed = killed.take().or_else(|| tree.kill(path).ok());
        killed.is_some()
    })
    .await;
    let incarnation = killed.expect("it was waited for").incarnation;
    until(tree, &format!("{path} is back"), || {
        let node = tree.find(path);
        node.is_some_and(|node| {
            let all_run = node.walk().iter().all(|below| below.status == Status::Running);
            all_run && node.incarnation > incarnation
        })
    })
    .await;
}

/// Retries at once what waits for its next attempt because its process was killed.
async fn retry_what_was_killed(operator: &Member) {
    let input = json!({"state": "retryable", "limit": 500});
    let jobs = operator.call("operator", "list_jobs", input).await.expect("jobs can be listed");
    for job in jobs["items"].as_array().expect("a list has items") {
        let retry = json!({"job_id": job["job_id"]});
        operator.call("operator", "retry_job", retry).await.expect("the job is retryable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_can_be_killed_and_nobody_else_notices() {
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    let clock = platform::otp::Clock::system();
    let system = testkit::start_with(domains(), clock, GENEROUS, edge).await;
    let member = system.member(ACME, Role::Staff);
    let tree = system.system().tree().clone();
    let paths = killable(&tree.snapshot());
    assert!(paths.len() > 50, "the tree has its processes: {paths:?}");
    let trickle = Trickle::start(member.clone());

    for path in &paths {
        kill_and_await(&tree, path).await;
        trickle.goes_on(1).await;
    }
    let (opened, refused) = trickle.stop().await;
    system.settle().await;
    retry_what_was_killed(&system.member(ACME, Role::Operator)).await;
    system.settle().await;

    assert_eq!(refused, Ok(()), "every request of every domain is answered");
    assert!(opened >= paths.len() as u64);
    for (table, order) in [
        ("pulse.roster_templates", "job_order_id"),
        ("payroll.billing_records", "job_order_id"),
        ("reach.messages", "about_id"),
    ] {
        let sql = format!("select count(*), count(distinct {order}) from {table}");
        let (rows, orders): (i64, i64) = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .fetch_one(&mut system.owner().await)
            .await
            .expect("the table can be read");
        assert_eq!((rows, orders), (opened.cast_signed(), opened.cast_signed()), "{table}");
    }
    assert_chain_holds(&system.member(ACME, Role::Operator)).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_gives_up_is_quarantined_and_its_neighbours_go_on() {
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    let clock = platform::otp::Clock::system();
    let tuning = "[domain.payroll]\nmax_restarts = 0\n";
    let system = testkit::start_with(domains(), clock, tuning, edge).await;
    let member = system.member(ACME, Role::Staff);
    let tree = system.system().tree().clone();
    let mut changes = tree.changes();

    tree.kill("root/domains/payroll/queue").expect("the queue exists");
    while tree.quarantined_until("root/domains/payroll").is_none() {
        changes.changed().await.expect("the tree is alive");
    }
    let refused = member.refuse("payroll", "list_billing_records", json!({})).await;
    let order = member.call("recruit", "open_job_order", job_order()).await;
    tree.lift_quarantine("root/domains/payroll").expect("it is in quarantine");
    system.settle().await;
    let bills = member.call("payroll", "list_billing_records", json!({})).await;

    assert_eq!(refused.kind(), platform::Kind::Unavailable);
    let order = order.expect("recruit goes on");
    let bills = bills.expect("payroll is back");
    assert_eq!(bills["items"][0]["job_order_id"], order["job_order_id"]);
    system.stop().await;
}

async fn assert_chain_holds(operator: &Member) {
    let report = operator.call("operator", "verify_chain", json!({})).await;
    let report = report.expect("it can be verified");
    assert_eq!(report["holds"], Value::Bool(true), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_with_one_event_is_found_at_its_position() {
    let system = testkit::start(domains()).await;
    let member = system.member(ACME, Role::Staff);
    for _ in 0..3 {
        member.call("recruit", "open_job_order", job_order()).await.expect("the order is opened");
    }
    system.settle().await;
    let operator = system.member(ACME, Role::Operator);
    assert_chain_holds(&operator).await;

    // Only somebody who owns the server can do this: triggers off, one payload changed.
    let sql = "set session_replication_role = replica;
        update events.domain_events set payload = convert_to(
            replace(convert_from(payload, 'UTF8'), '\"headcount\":3', '\"headcount\":4'), 'UTF8')
        where id = (select event_id from events.seals where position = 2)";
    sqlx::raw_sql(sql).execute(&mut system.owner().await).await.expect("an owner can do harm");
    let events = operator.call("operator", "list_events", json!({"after": 1, "limit": 1})).await;
    let report = operator.call("operator", "verify_chain", json!({})).await;

    let report = report.expect("it can be verified");
    // The verify itself was recorded before it walked, so the log has grown.
    assert_eq!(report["holds"], Value::Bool(false), "{events:?}");
    assert_eq!(report["broken"][0]["position"], 2, "{report}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_the_months_of_the_log_and_is_told_why_one_stays() {
    let system = testkit::start(domains()).await;
    let operator = system.member(ACME, Role::Operator);
    let call = async |name: &str, input| operator.call("operator", name, input).await;

    let months = call("list_partitions", json!({})).await.expect("they can be listed");
    let wish = |month: &str| json!({ "month": month, "reason": "drill" });
    let nowhere = call("archive_month", wish("2019-03")).await.expect_err("it has no directory");
    let unknown = call("attach_month", wish("2019-03")).await.expect_err("it has not left");
    let no_month = call("attach_month", wish("2019-3x")).await.expect_err("it is no month");

    let states: Vec<&str> = months["items"]
        .as_array()
        .expect("it is a list")
        .iter()
        .filter_map(|month| month["state"].as_str())
        .collect();
    assert_eq!((states[0], &states[1..]), ("current", ["ahead"; 12].as_slice()), "{months}");
    assert_eq!((&months["retention_months"], &months["strays"]), (&json!(84), &json!(0)));
    assert!(nowhere.to_string().contains("--archive-dir"), "{nowhere}");
    assert!(unknown.to_string().contains("2019-03 has not left"), "{unknown}");
    assert_eq!(no_month.kind(), platform::Kind::Invalid);
    system.stop().await;
}
