//! Documents and prompts: what an agent reads by its address, and what it is asked.

use platform::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::talk::Agent;

async fn read(agent: &Agent, uri: &str) -> Value {
    agent.ask("resources/read", json!({ "uri": uri })).await
}

#[tokio::test]
async fn a_query_is_listed_under_its_address_for_whoever_may_ask_it() {
    let agent = Agent::start(Role::Staff).await;
    let elsewhere = agent.with_scopes(Role::Staff, &["mcp:payroll:read", "mcp:depot:write"]).await;
    let stranger = agent.with_scopes(Role::Operator, &["mcp:operator:operate"]).await;

    let resources = agent.ask("resources/list", json!({})).await;
    let templates = agent.ask("resources/templates/list", json!({})).await;
    let theirs = stranger.ask("resources/templates/list", json!({})).await;
    let writers = elsewhere.ask("resources/templates/list", json!({})).await;

    let resources = resources["result"]["resources"].as_array().expect("a list").clone();
    let uris: Vec<&str> = resources.iter().filter_map(|it| it["uri"].as_str()).collect();
    assert_eq!(uris, ["finnest://catalogue", "depot://manual"]);
    let manual = &resources[1];
    assert_eq!(
        (&manual["name"], &manual["mimeType"]),
        (&json!("show_manual"), &json!("text/markdown"))
    );
    assert_eq!(manual["description"], "Show how crates are packed.");
    let listed = templates["result"]["resourceTemplates"].as_array().expect("a list").clone();
    let uris: Vec<&str> = listed.iter().filter_map(|it| it["uriTemplate"].as_str()).collect();
    assert_eq!(uris, ["depot://crates/{crate_id}", "depot://labels/{label}/print"]);
    assert_eq!(listed[0]["mimeType"], "application/json");
    assert_eq!(theirs["result"]["resourceTemplates"], json!([]), "{theirs}");
    assert_eq!(writers["result"]["resourceTemplates"], json!(listed), "who writes reads too");
    drop((elsewhere, stranger));
    agent.stop().await;
}

#[tokio::test]
async fn what_is_read_by_address_is_the_answer_of_the_query_for_the_callers_organisation() {
    let agent = Agent::start(Role::Staff).await;

    let manual = read(&agent, "depot://manual").await;
    let print = read(&agent, "depot://labels/a%2Fnail%20%C3%A9/print").await;

    let text = json!({"uri": "depot://manual", "mimeType": "text/markdown",
                      "text": "# Heavy things first"});
    assert_eq!(manual["result"]["contents"], json!([text]), "{manual}");
    let contents = &print["result"]["contents"];
    let told = contents[0]["text"].as_str().unwrap_or_default();
    let told: Value = serde_json::from_str(told).expect("it is JSON");
    assert_eq!(told, json!({"label": "a/nail é", "org_id": testkit::ACME}), "{print}");
    assert_eq!(contents[1]["mimeType"], "image/png", "{print}");
    assert_eq!(contents[1]["uri"], "depot://labels/a%2Fnail%20%C3%A9/print#/picture");
    assert!(contents[1]["blob"].is_string(), "{print}");
    agent.stop().await;
}

#[tokio::test]
async fn an_address_where_nothing_is_says_so() {
    let agent = Agent::start(Role::Staff).await;
    let id = Uuid::now_v7();

    let unknown = read(&agent, &format!("depot://crates/{id}")).await;
    let malformed = read(&agent, "depot://crates/seven").await;

    assert_eq!(unknown["error"]["code"], -32002, "{unknown}");
    assert_eq!(unknown["error"]["data"]["code"], "no_crate");
    assert_eq!(malformed["error"]["code"], -32602, "{malformed}");
    for uri in [
        "depot://crates/",
        "depot://crates",
        "depot://crates/1/2",
        "depot://labels/%ff/print",
        "depot://manual?x=1",
        "depot://../depot/manual",
        "depot:manual",
        "payroll://manual",
        "file:///etc/passwd",
        "",
    ] {
        let refused = read(&agent, uri).await;
        assert_eq!(refused["error"]["code"], -32002, "{uri}: {refused}");
    }
    let odd = agent.ask("resources/read", json!({"uri": 7})).await;
    assert_eq!(odd["error"]["code"], -32602, "{odd}");
    agent.stop().await;
}

#[tokio::test]
async fn a_reading_is_recorded_as_a_call_and_refused_as_one() {
    let agent = Agent::start(Role::Staff).await;
    let elsewhere = agent.with_scopes(Role::Staff, &["mcp:operator:operate", "mcp:x:read"]).await;
    let id = Uuid::now_v7();

    read(&agent, &format!("depot://crates/{id}")).await;
    read(&agent, "depot://labels/Bo/print").await;
    let refused = elsewhere.ask("resources/read", json!({"uri": "depot://manual"})).await;

    let calls = agent.recorded("tool_called").await;
    let told: Vec<_> = calls
        .iter()
        .map(|(_, call)| json!([call["operation"], call["outcome"], call["arguments"]]))
        .collect();
    let expected = json!([
        ["get_crate", "not_found", {"crate_id": id}],
        ["print_label", "done", {"label": {"characters": 2}}],
        ["show_manual", "forbidden", {}],
    ]);
    assert_eq!(json!(told), expected);
    assert_eq!(refused["error"]["data"]["kind"], "forbidden", "{refused}");
    drop(elsewhere);
    agent.stop().await;
}

#[tokio::test]
async fn a_prompt_is_listed_with_its_arguments_and_filled_in() {
    let agent = Agent::start(Role::Staff).await;

    let listed = agent.ask("prompts/list", json!({})).await;
    let arguments = json!({"label": "fragile", "tone": "stern"});
    let asked = json!({"name": "depot_write_note", "arguments": arguments});
    let filled = agent.ask("prompts/get", asked).await;

    let prompt = &listed["result"]["prompts"][0];
    assert_eq!(
        (&prompt["name"], &prompt["title"]),
        (&json!("depot_write_note"), &json!("Write note"))
    );
    assert_eq!(prompt["description"], "Write a note for a label.\n\nIt is kept nowhere.");
    let label = json!({"name": "label", "description": "The label.", "required": true});
    let tone = json!({"name": "tone", "description": "How it shall sound.", "required": false});
    assert_eq!(prompt["arguments"], json!([label, tone]));
    let said = filled["result"]["messages"].as_array().unwrap_or_else(|| panic!("{filled}"));
    let kinds: Vec<_> = said.iter().map(|it| json!([it["role"], it["content"]["type"]])).collect();
    let expected = json!([
        ["user", "resource"],
        ["user", "resource"],
        ["user", "resource"],
        ["user", "text"],
        ["assistant", "text"],
    ]);
    assert_eq!(json!(kinds), expected, "{filled}");
    assert_eq!(said[0]["content"]["resource"]["uri"], "depot://labels/fragile/print");
    assert_eq!(said[3]["content"]["text"], "Write a note in a stern tone.");
    let calls = agent.recorded("tool_called").await;
    assert_eq!(calls.len(), 1, "what it hands over was read, and reading is recorded");
    agent.stop().await;
}

#[tokio::test]
async fn a_prompt_that_cannot_be_filled_in_says_why() {
    let agent = Agent::start(Role::Staff).await;
    let stranger = agent.with_scopes(Role::Operator, &["mcp:operator:operate"]).await;
    let get = |arguments: Value| json!({"name": "depot_write_note", "arguments": arguments});

    let missing = agent.ask("prompts/get", get(json!({}))).await;
    let odd = agent.ask("prompts/get", get(json!([]))).await;
    let unknown = agent.ask("prompts/get", json!({"name": "depot_fly"})).await;
    let panicked = agent.ask("prompts/get", get(json!({"label": "panic"}))).await;
    let hidden = stranger.ask("prompts/get", get(json!({"label": "nails"}))).await;
    let unlisted = stranger.ask("prompts/list", json!({})).await;

    assert_eq!(missing["error"]["code"], -32602, "{missing}");
    assert_eq!(missing["error"]["data"]["errors"][0]["pointer"], "/label", "{missing}");
    assert_eq!(odd["error"]["code"], -32602, "{odd}");
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert_eq!(panicked["error"]["code"], -32603, "{panicked}");
    assert!(!panicked.to_string().contains("says so"), "{panicked}");
    assert_eq!(hidden["error"]["message"], "there is no prompt `depot_write_note` here");
    assert_eq!(unlisted["result"]["prompts"], json!([]));
    drop(stranger);
    agent.stop().await;
}
