//! An edited supervision.toml is applied to the running platform, and nobody is restarted for it.

use std::time::Duration;

use platform::otp::{Node, Tree};
use platform::{Kind, Role};
use serde_json::{Value, json};
use testkit::{ACME, Member, TestSystem};

use crate::support::domains;

async fn start() -> (TestSystem, Member) {
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    let clock = platform::otp::Clock::system();
    let system = testkit::start_with(domains(), clock, "", edge).await;
    let operator = system.member(ACME, Role::Operator);
    (system, operator)
}

async fn reload(operator: &Member) -> Vec<String> {
    let answer = operator.call("operator", "reload_supervision", json!({})).await;
    told(&answer.expect("the page is applied"))
}

/// The changes in words.
fn told(answer: &Value) -> Vec<String> {
    let changes = answer["changes"].as_array().expect("an answer lists changes");
    let word = |change: &Value, key: &str| change[key].as_str().unwrap_or("?").to_owned();
    let told = changes.iter().map(|change| {
        let [table, key, before, after, effect] =
            ["table", "key", "before", "after", "effect"].map(|name| word(change, name));
        format!("{table} {key} {before} -> {after}, {effect}")
    });
    told.collect()
}

/// Every process that is no passing one, with its incarnation.
fn incarnations(tree: &Tree) -> Vec<(String, u64)> {
    fn below(node: &Node, found: &mut Vec<(String, u64)>) {
        found.push((node.path.clone(), node.incarnation));
        node.children
            .iter()
            .filter(|child| child.restart != platform::otp::Restart::Temporary)
            .for_each(|child| below(child, found));
    }
    let mut found = Vec::new();
    below(&tree.snapshot(), &mut found);
    found
}

async fn until(tree: &Tree, mut is_so: impl FnMut() -> bool) {
    let mut changes = tree.changes();
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !is_so() {
            changes.changed().await.expect("the tree is alive");
        }
    });
    waited.await.unwrap_or_else(|_| panic!("it never was so: {:?}", tree.snapshot()));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_numbers_hold_at_once_without_a_restart_and_still_after_one() {
    let (system, operator) = start().await;
    let tree = system.system().tree().clone();
    let before = incarnations(&tree);
    let shown = |path: &str| tree.find(path).expect("it is there").max_restarts;
    assert_eq!((shown("root"), shown("root/domains/recruit")), (Some(3), Some(3)));

    system.edit_page("[root]\nmax_restarts = 30\n[domain.recruit]\nmax_restarts = 9\n");
    let told = reload(&operator).await;

    assert_eq!(
        told,
        ["root max_restarts 3 -> 30, applied", "domain.recruit max_restarts 3 -> 9, applied"]
    );
    assert_eq!((shown("root"), shown("root/domains/recruit")), (Some(30), Some(9)));
    assert_eq!(incarnations(&tree), before);

    let killed = tree.kill("root/domains/recruit").expect("it is there").incarnation;
    until(&tree, || {
        tree.find("root/domains/recruit").is_some_and(|node| node.incarnation > killed)
    })
    .await;
    assert_eq!(shown("root/domains/recruit"), Some(9));
    assert_eq!(shown("root/domains/pulse"), Some(3));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_was_made_with_waits_for_its_next_start() {
    const ENGINE: &str = "root/domains/recruit/children/scoring_engine";
    let (system, operator) = start().await;
    let tree = system.system().tree().clone();
    let scorers = || tree.find(ENGINE).map_or(0, |engine| engine.children.len());
    let at_first = scorers();

    let page =
        "[domain.recruit]\nqueue_limit = 3\n[domain.recruit.child.scoring_engine]\npool = 2\n";
    system.edit_page(page);
    let told = reload(&operator).await;
    let meanwhile = scorers();
    let killed = tree.kill(ENGINE).expect("it is there").incarnation;
    until(&tree, || {
        let engine = tree.find(ENGINE);
        engine.is_some_and(|engine| engine.incarnation > killed && engine.children.len() == 2)
    })
    .await;

    assert_eq!(
        told,
        [
            "domain.recruit queue_limit 10 -> 3, applied".to_owned(),
            format!(
                "domain.recruit.child.scoring_engine pool as built -> 2, at next start of {ENGINE}"
            ),
        ]
    );
    assert_eq!((at_first, meanwhile), (4, 4));
    let queues = system.system().queues().stats();
    let limit = queues.iter().find(|queue| queue.queue == "recruit").map(|queue| queue.limit);
    assert_eq!(limit, Some(3));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_page_is_refused_with_every_mistake_and_changes_nothing() {
    let (system, operator) = start().await;
    let tree = system.system().tree().clone();
    let rules = |tree: &Tree| {
        tree.find("root/domains/recruit").map(|node| (node.max_restarts, node.incarnation))
    };
    let before = rules(&tree);

    let missing = operator.refuse("operator", "reload_supervision", json!({})).await;
    system.edit_page("[domain.recruit]\nmax_restarts = 9\nmax_second = 5\n[stroe]\n");
    let wrong = operator.refuse("operator", "reload_supervision", json!({})).await;
    let after = rules(&tree);

    assert_eq!((missing.kind(), missing.code()), (Kind::Conflict, "no_page"));
    assert_eq!((wrong.kind(), wrong.code()), (Kind::Invalid, "wrong_page"));
    let mistakes: Vec<&str> = wrong.fields().iter().map(|field| field.message.as_str()).collect();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].contains("did you mean `max_seconds`?"), "{mistakes:?}");
    assert!(mistakes[1].contains("did you mean `store`?"), "{mistakes:?}");
    assert_eq!(after, before);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_reloads_at_once_the_second_finds_the_work_done() {
    let (system, operator) = start().await;
    system.edit_page("[domain.payroll]\nmax_restarts = 1\nin_flight_max = 7\n");

    let (one, other) = tokio::join!(reload(&operator), reload(&operator));

    let mut lengths = [one.len(), other.len()];
    lengths.sort_unstable();
    assert_eq!(lengths, [0, 2], "{one:?} {other:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_reload_and_the_log_says_who_did_and_what_changed() {
    let (system, operator) = start().await;
    system.edit_page("[domain.reach]\nmax_restarts = 4\n");

    let staff = system.member(ACME, Role::Staff);
    let refused = staff.refuse("operator", "reload_supervision", json!({})).await;
    reload(&operator).await;
    system.settle().await;

    assert_eq!(refused.kind(), Kind::Forbidden);
    let events = operator.call("operator", "list_events", json!({"limit": 100})).await;
    let events = events.expect("an operator may read the log");
    let finished = events["items"].as_array().expect("it is a list").iter().find(|event| {
        event["event_type"] == "action_finished"
            && event["data"]["operation"] == "reload_supervision"
    });
    let finished = finished.expect("the outcome is recorded");
    assert_eq!(told(&finished["data"]["answer"]), ["domain.reach max_restarts 3 -> 4, applied"]);
    assert!(finished["scope"].to_string().contains("operator"), "{finished}");
    system.stop().await;
}
