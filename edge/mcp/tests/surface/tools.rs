//! The MCP surface over a real system: what an agent sees, may do, and is told.

use axum::http::{StatusCode, header};
use platform::{Role, SecondFactor};
use serde_json::{Value, json};

use crate::talk::{self, Agent};

/// The tools that only read.
const READING: [&str; 4] =
    ["depot_get_crate", "depot_list_labels", "depot_print_label", "depot_show_manual"];

#[tokio::test]
async fn an_operation_is_a_tool_with_its_words_schemas_and_hints() {
    let agent = Agent::start(Role::Staff).await;

    let tools = agent.tools("/mcp/depot").await;

    let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    let expected = [
        "depot_pack_crate",
        "depot_get_crate",
        "depot_list_labels",
        "depot_suggest_label",
        "depot_drop_crate",
        "depot_count_shelves",
        "depot_print_label",
        "depot_show_manual",
    ];
    assert_eq!(names, expected);
    let pack = &tools[0];
    assert_eq!(pack["title"], "Pack crate");
    assert_eq!(pack["description"], "Pack a crate.\n\nThe label must not be a joke.");
    assert_eq!(pack["inputSchema"]["required"], json!(["label"]));
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    assert_eq!(pack["inputSchema"]["$schema"], dialect);
    assert_eq!(pack["inputSchema"]["additionalProperties"], false);
    assert_eq!(pack["inputSchema"]["properties"]["request_id"]["type"], "string");
    assert_eq!(pack["inputSchema"]["properties"]["weight_g"].get("format"), None);
    assert_eq!(pack["outputSchema"]["properties"]["label"]["type"], "string");
    assert_eq!(pack["_meta"]["finnest/category"], "execute");
    let hint = |index: usize, name: &str| tools[index]["annotations"][name] == true;
    assert!(!hint(0, "readOnlyHint") && !hint(0, "destructiveHint") && !hint(0, "idempotentHint"));
    assert!(hint(1, "readOnlyHint") && hint(1, "idempotentHint") && !hint(1, "openWorldHint"));
    assert_eq!(tools[1]["inputSchema"]["properties"].get("request_id"), None);
    assert_eq!(tools[2]["outputSchema"]["required"], json!(["result"]));
    assert_eq!(tools[3]["_meta"]["finnest/category"], "propose");
    assert!(hint(4, "destructiveHint") && hint(4, "idempotentHint"));
    assert_eq!(tools[4]["_meta"]["finnest/category"], "restricted");
    assert_eq!(tools[4].get("outputSchema"), None);
    agent.stop().await;
}

#[tokio::test]
async fn an_answer_is_structured_and_text_and_what_is_no_object_is_wrapped() {
    let agent = Agent::start(Role::Staff).await;

    let packed = agent.call("depot_pack_crate", json!({"label": "nails"})).await;
    let labels = agent.call("depot_list_labels", json!({})).await;
    let suggested = agent.call("depot_suggest_label", json!({})).await;

    assert_eq!(packed["isError"], false, "{packed}");
    assert_eq!(packed["structuredContent"]["label"], "nails");
    let text = packed["content"][0]["text"].as_str().unwrap_or_default();
    let told: Value = serde_json::from_str(text).expect("the text says the same");
    assert_eq!(told, packed["structuredContent"]);
    assert_eq!(labels["structuredContent"], json!({"result": ["nails"]}));
    assert_eq!(suggested.get("structuredContent"), None, "{suggested}");
    agent.stop().await;
}

#[tokio::test]
async fn what_is_a_picture_or_a_file_stands_beside_the_structured_result() {
    let agent = Agent::start(Role::Staff).await;

    let fragile = agent.call("depot_print_label", json!({"label": "fragile"})).await;
    let nails = agent.call("depot_print_label", json!({"label": "a nail"})).await;
    let manual = agent.call("depot_show_manual", json!({})).await;

    let org_id = testkit::ACME;
    let structured = json!({"label": "fragile", "org_id": org_id});
    assert_eq!(fragile["structuredContent"], structured, "{fragile}");
    let picture = json!({"type": "image", "mimeType": "image/png", "data": "ZnJhZ2lsZQ=="});
    let note = json!({"type": "resource", "resource": {
        "uri": "depot://labels/fragile/print#/note", "mimeType": "text/markdown",
        "text": "*handle with care*"}});
    let content = fragile["content"].as_array().expect("there is content");
    assert!(content.contains(&picture) && content.contains(&note), "{fragile}");
    assert_eq!(nails["content"].as_array().map(Vec::len), Some(2), "{nails}");
    assert_eq!(manual.get("structuredContent"), None, "{manual}");
    assert_eq!(manual["content"][0]["resource"]["uri"], "depot://manual");
    let tools = agent.tools("/mcp/depot").await;
    let print = tools.iter().find(|tool| tool["name"] == "depot_print_label");
    let output = &print.expect("it is a tool")["outputSchema"];
    assert_eq!(output["required"], json!(["label", "org_id"]), "{output}");
    assert_eq!(output["properties"].get("picture"), None, "{output}");
    agent.stop().await;
}

#[tokio::test]
async fn who_asks_with_a_progress_token_hears_how_far_a_call_is() {
    let agent = Agent::start(Role::Staff).await;
    let mut call = talk::call("depot_count_shelves", &json!({}));
    let (plain, counted) = agent.post("/mcp", &call.to_string()).await;
    call["params"]["_meta"] = json!({"progressToken": "p-1"});

    let (told, stream) = agent.post("/mcp", &call.to_string()).await;

    assert_eq!(plain.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(counted["result"]["structuredContent"], json!({"result": 2}), "{counted}");
    assert_eq!(told.headers()[header::CONTENT_TYPE], "text/event-stream");
    let lines = stream.as_str().expect("a stream is text").lines();
    let data = lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok());
    let messages: Vec<Value> = data.collect();
    let (answer, before) = messages.split_last().expect("there is an answer");
    let steps: Vec<Value> = before
        .iter()
        .map(|it| json!([it["method"], it["params"]["progressToken"], it["params"]["progress"]]))
        .collect();
    let step = |done: f64| json!(["notifications/progress", "p-1", done]);
    assert_eq!(steps, [step(0.0), step(1.0), step(2.0)], "{stream}");
    assert_eq!(before[0]["params"]["total"], 2.0);
    assert_eq!(answer["result"], counted["result"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_refusal_is_a_result_that_blames_and_a_failure_is_an_error_that_tells_nothing() {
    let agent = Agent::start(Role::Staff).await;
    let crate_id = uuid::Uuid::now_v7();

    let joke = agent.call("depot_pack_crate", json!({"label": "joke"})).await;
    let malformed = agent.call("depot_pack_crate", json!({"label": 7, "colour": "red"})).await;
    let nowhere = agent.call("depot_get_crate", json!({"crate_id": crate_id})).await;
    let panicked = agent.rpc_call("depot_pack_crate", json!({"label": "panic"})).await;
    let unknown = agent.rpc_call("depot_fly", json!({})).await;

    assert_eq!(joke["isError"], true, "{joke}");
    let told = &joke["structuredContent"];
    assert_eq!((&told["kind"], &told["code"]), (&json!("invalid"), &json!("joke")));
    assert_eq!(told["message"], "the label `joke` is a joke");
    assert_eq!(told["errors"][0]["pointer"], "/label");
    assert_eq!(malformed["structuredContent"]["code"], "malformed_input");
    assert_eq!(nowhere["structuredContent"]["kind"], "not_found");
    assert_eq!(panicked["error"]["code"], -32603);
    assert_eq!(panicked["error"]["data"]["kind"], "failure");
    assert!(!panicked.to_string().contains("says so"), "{panicked}");
    assert_eq!(unknown["error"]["code"], -32602);
    agent.stop().await;
}

#[tokio::test]
async fn what_has_no_surface_or_needs_no_credential_is_no_tool() {
    let agent = Agent::start(Role::Director).await;

    for name in ["depot_count_again", "depot_knock", "operator_record_tool_called"] {
        let answer = agent.rpc_call(name, json!({})).await;
        assert_eq!(answer["error"]["code"], -32602, "{name}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_request_id_given_twice_has_one_effect_and_one_answer() {
    let agent = Agent::start(Role::Staff).await;
    let arguments = json!({"label": "nails", "request_id": "r-1"});

    let first = agent.call("depot_pack_crate", arguments.clone()).await;
    let second = agent.call("depot_pack_crate", arguments).await;
    let reused =
        agent.call("depot_pack_crate", json!({"label": "bolts", "request_id": "r-1"})).await;
    let odd = agent.call("depot_pack_crate", json!({"label": "x", "request_id": 1})).await;

    assert_eq!(first["structuredContent"], second["structuredContent"]);
    assert_eq!(second["_meta"]["finnest/replayed"], true);
    assert_eq!(reused["structuredContent"]["code"], "idempotency_key_reused");
    assert_eq!(odd["structuredContent"]["errors"][0]["pointer"], "/request_id");
    assert_eq!(agent.recorded("crate_packed").await.len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn only_what_the_caller_may_use_is_listed() {
    let agent = Agent::start(Role::Worker).await;

    let worker = agent.names("/mcp").await;
    let supervisor = agent.acting(Role::Supervisor).names("/mcp").await;
    let staff = agent.acting(Role::Staff).names("/mcp").await;
    let operator = agent.acting(Role::Operator).names("/mcp").await;

    assert_eq!(worker, Vec::<String>::new());
    assert_eq!(supervisor, READING);
    assert!(staff.contains(&"depot_drop_crate".to_owned()));
    assert!(!staff.iter().any(|name| name.starts_with("operator_")), "{staff:?}");
    assert!(operator.contains(&"operator_kill_process".to_owned()));
    assert!(operator.iter().all(|name| name.len() <= 64), "{operator:?}");
    let refused = agent.call("depot_pack_crate", json!({"label": "nails"})).await;
    assert_eq!(refused["structuredContent"]["code"], "access_denied");
    agent.stop().await;
}

#[tokio::test]
async fn a_credential_opens_what_its_scopes_say_and_no_more() {
    let agent = Agent::start(Role::Staff).await;
    let reader = agent.with_scopes(Role::Staff, &["mcp:depot:read"]).await;
    let elsewhere = agent.with_scopes(Role::Staff, &["mcp:payroll:write"]).await;
    let operator = agent.with_scopes(Role::Operator, &["*:read"]).await;
    let operating = agent.with_scopes(Role::Operator, &["mcp:operator:operate"]).await;

    let listed = reader.names("/mcp/depot").await;
    let written = reader.call("depot_pack_crate", json!({"label": "nails"})).await;
    let (refused, told) = elsewhere.post("/mcp/depot", &talk::list()).await;
    let (nothing, _) = elsewhere.post("/mcp", &talk::list()).await;

    assert_eq!(listed, READING);
    assert_eq!(written["structuredContent"]["code"], "scope_missing");
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(told["error"], "insufficient_scope");
    assert_eq!(
        refused.headers()["www-authenticate"],
        "Bearer error=\"insufficient_scope\", scope=\"mcp:depot:read mcp:depot:write\", \
         resource_metadata=\
         \"http://localhost:4000/.well-known/oauth-protected-resource/mcp/depot\""
    );
    assert_eq!(nothing.status(), StatusCode::FORBIDDEN);
    assert!(!operator.names("/mcp").await.iter().any(|name| name.starts_with("operator_")));
    assert!(!operating.names("/mcp/operator").await.is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn who_must_show_a_second_factor_reads_without_and_changes_nothing() {
    let agent = Agent::start(Role::Staff).await;
    let asked = agent.asked_for_second_factor(Role::Staff).await;

    let read = asked.call("depot_list_labels", json!({})).await;
    let written = asked.call("depot_pack_crate", json!({"label": "nails"})).await;

    assert_eq!(asked.second_factor().await, SecondFactor::Missing);
    assert_eq!(read["isError"], false, "{read}");
    assert_eq!(written["structuredContent"]["code"], "second_factor_required");
    assert_eq!(agent.recorded("crate_packed").await.len(), 0);
    agent.stop().await;
}

#[tokio::test]
async fn every_call_is_an_event_that_says_who_what_and_how_it_ended() {
    let agent = Agent::start(Role::Staff).await;
    let crate_id = uuid::Uuid::now_v7();

    agent.call("depot_get_crate", json!({"crate_id": crate_id})).await;
    agent
        .call("depot_pack_crate", json!({"label": "Bo's", "weight_g": 7, "request_id": "r-1"}))
        .await;
    agent.rpc_call("depot_pack_crate", json!({"label": "panic"})).await;

    let calls = agent.recorded("tool_called").await;
    let told: Vec<_> =
        calls.iter().map(|(_, call)| (&call["operation"], &call["outcome"])).collect();
    let [get, pack] = [json!("get_crate"), json!("pack_crate")];
    let [not_found, done, failure] = [json!("not_found"), json!("done"), json!("failure")];
    assert_eq!(told, [(&get, &not_found), (&pack, &done), (&pack, &failure)]);
    let (actor, first) = &calls[0];
    assert_eq!(*actor, agent.user_id());
    assert_eq!(first["arguments"], json!({"crate_id": crate_id}));
    assert_eq!((&first["code"], &first["server"]), (&json!("no_crate"), &json!("*")));
    let second = &calls[1].1;
    assert_eq!(second["arguments"], json!({"label": {"characters": 4}, "weight_g": 7}));
    assert_eq!(second["request_id"], "r-1");
    assert_eq!(second["category"], "execute");
    agent.stop().await;
}

#[tokio::test]
async fn the_callers_correlation_and_trace_are_those_of_the_events() {
    let agent = Agent::start(Role::Staff).await;
    let correlation_id = uuid::Uuid::now_v7().to_string();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut call = talk::call("depot_pack_crate", &json!({"label": "nails"}));
    call["params"]["_meta"] = json!({"traceparent": traceparent});

    let headers = [("x-correlation-id", correlation_id.as_str())];
    let (answer, _) = agent.post_with("/mcp/depot", &call.to_string(), &headers).await;

    assert_eq!(answer.headers()["x-correlation-id"], correlation_id.as_str());
    let scopes = agent.scopes_of("crate_packed").await;
    assert_eq!(scopes[0].correlation_id.to_string(), correlation_id);
    assert_eq!(scopes[0].traceparent.map(|trace| trace.to_string()).as_deref(), Some(traceparent));
    agent.stop().await;
}

#[tokio::test]
async fn the_catalogue_lists_the_servers_a_caller_may_use() {
    let agent = Agent::start(Role::Staff).await;

    let read = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read",
                      "params": {"uri": "finnest://catalogue"}});
    let (_, answer) = agent.post("/mcp", &read.to_string()).await;

    let text = answer["result"]["contents"][0]["text"].as_str().unwrap_or_default();
    let catalogue: Value = serde_json::from_str(text).expect("the catalogue is JSON");
    let servers = catalogue["servers"].as_array().expect("it lists servers");
    assert_eq!(servers.len(), 1, "{catalogue}");
    assert_eq!(servers[0]["path"], "/mcp/depot");
    assert_eq!(servers[0]["tools"][0]["category"], "execute");
    agent.stop().await;
}

#[tokio::test]
async fn a_cursor_that_is_none_of_ours_is_refused() {
    let agent = Agent::start(Role::Staff).await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list",
                      "params": {"cursor": "nowhere"}});

    let (_, refused) = agent.post("/mcp", &list.to_string()).await;

    assert_eq!(refused["error"]["code"], -32602);
    agent.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again_and_costs_no_record() {
    let tuning = "[edge]\ncredential_per_second = 1\ncredential_burst = 2\n";
    let agent = Agent::start_tuned(Role::Staff, tuning).await;

    let mut answered = 0;
    let refused = loop {
        let answer = agent.call("depot_list_labels", json!({})).await;
        if answer["isError"] == true || answered == 100 {
            break answer;
        }
        answered += 1;
    };

    assert_eq!(refused["structuredContent"]["kind"], "limited", "{refused}");
    assert!(refused["structuredContent"]["retry_after_ms"].as_u64() > Some(0), "{refused}");
    assert!(answered >= 2, "the burst is let in");
    assert_eq!(agent.recorded("tool_called").await.len(), answered);
    agent.stop().await;
}
