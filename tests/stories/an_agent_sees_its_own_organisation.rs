//! Agents use the tools of real domains, and see nothing of another organisation.

use platform::Role;
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX, Member};

use crate::support::{Served, job_order, serve};

async fn call(served: &Served, member: &Member, tool: &str, arguments: Value) -> Value {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                         "params": {"name": tool, "arguments": arguments}});
    let answer = served.tell(member, "/mcp", &message).await;
    answer["result"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organisations_id_is_not_found_and_its_lists_are_empty() {
    let served = serve().await;
    let ours = served.recruiter();
    let theirs = served.system.member(GLOBEX, Role::Director);

    let opened = call(&served, &ours, "recruit_open_job_order", job_order()).await;
    let id = json!({"job_order_id": opened["structuredContent"]["job_order_id"]});
    let mine = call(&served, &ours, "recruit_get_job_order", id.clone()).await;
    let foreign = call(&served, &theirs, "recruit_get_job_order", id.clone()).await;
    let changed = call(&served, &theirs, "recruit_cancel_job_order", {
        let mut input = id.clone();
        input["reason"] = "no longer needed".into();
        input
    })
    .await;
    let listed = call(&served, &theirs, "recruit_list_job_orders", json!({})).await;

    assert_eq!(opened["isError"], false, "{opened}");
    assert_eq!(mine["structuredContent"]["title"], "Forklift driver", "{mine}");
    for refused in [foreign, changed] {
        assert_eq!(refused["isError"], true, "{refused}");
        assert_eq!(refused["structuredContent"]["kind"], "not_found", "{refused}");
    }
    assert!(!listed.to_string().contains("Forklift"), "{listed}");
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_sees_no_tool_that_changes_what_is_the_organisations() {
    let served = serve().await;
    let worker = served.system.member(ACME, Role::Worker);
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});

    let answer = served.tell(&worker, "/mcp", &list).await;
    let refused = call(&served, &worker, "recruit_open_job_order", job_order()).await;

    let tools = answer["result"]["tools"].as_array().expect("tools are listed");
    let of_domains = tools.iter().filter_map(|tool| tool["name"].as_str());
    let business: Vec<&str> = of_domains.filter(|name| !name.starts_with("accounts_")).collect();
    assert!(business.is_empty(), "{business:?}");
    assert_eq!(refused["structuredContent"]["code"], "access_denied");
    served.system.stop().await;
}
