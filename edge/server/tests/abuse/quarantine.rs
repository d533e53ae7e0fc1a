//! A domain that is down, seen over HTTP.

use super::{JOB_ORDERS, check, order, serve_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_in_quarantine_says_when_to_come_back_and_its_neighbours_answer() {
    const RECRUIT: &str = "root/domains/recruit";
    const PULSE: &str = "/api/v1/pulse/roster_templates";
    const TUNING: &str =
        "[domains]\nquarantine_ms = [300_000]\n[domain.recruit]\nmax_restarts = 0\n";
    let served = serve_with(&[], TUNING).await;
    let tree = served.system.system().tree();
    let mut changes = tree.changes();
    tree.kill(&format!("{RECRUIT}/queue")).expect("the queue exists");
    while tree.quarantined_until(RECRUIT).is_none() {
        changes.changed().await.expect("the tree outlives its processes");
    }

    let read = served.get(JOB_ORDERS, "").await;
    let write = served.post(order("Forklift driver").as_bytes()).await;
    let neighbour = served.get(PULSE, "").await;
    let ready = served.get("/ready", "").await;

    for (what, answer) in [("read", &read), ("write", &write)] {
        check(what, answer, 503, "unavailable");
        let after = answer.header("retry-after").and_then(|after| after.parse::<u64>().ok());
        assert!(after.is_some_and(|after| after >= 1), "{what}: {}", answer.text);
    }
    assert_eq!(neighbour.status, 200, "{}", neighbour.text);
    assert_eq!(ready.status, 200, "one domain that is down is no reason to leave: {}", ready.text);
    tree.lift_quarantine(RECRUIT).expect("it is in quarantine");
    served.must_still_serve("a quarantine").await;
    served.system.stop().await;
}
