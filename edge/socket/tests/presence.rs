//! Presence over real sockets: who sees whom, in which order, on which node.

#[expect(dead_code, reason = "other tests use the rest of it")]
mod fixture;
mod nodes;

use nodes::{Client, Nodes, topic};
use platform::Role;
use serde_json::{Value, json};

fn devices(state: &Value, user: &str) -> Vec<String> {
    let metas = state[user]["metas"].as_array().cloned().unwrap_or_default();
    metas.iter().map(|meta| meta["device"].as_str().unwrap_or("?").to_owned()).collect()
}

async fn joined(nodes: &Nodes, role: Role, device: &str) -> Client {
    let mut client = nodes.connect(nodes.address, role).await;
    let answer = client.join(&topic(), json!({ "presence": { "device": device } })).await;
    assert_eq!(answer["status"], "ok", "{answer}");
    client
}

#[tokio::test]
async fn whoever_joins_is_told_who_is_there_after_the_answer_and_what_was_missed() {
    let nodes = Nodes::start().await;
    nodes.pack("a").await;
    nodes.system.settle().await;
    let _other = joined(&nodes, Role::Director, "desk").await;
    let mut client = nodes.connect(nodes.address, Role::Staff).await;

    let params = json!({ "last_seq": 0, "presence": { "device": "phone" } });
    let answer = client.join(&topic(), params).await;
    let (missed, state) = (client.frame().await, client.frame().await);

    assert_eq!((&answer["status"], &missed[3]), (&json!("ok"), &json!("crate_packed")));
    assert_eq!(
        (&state[0], &state[1], &state[3]),
        (&json!(null), &json!(null), &json!("presence_state"))
    );
    assert_eq!(devices(&state[4], &nodes.user(Role::Staff)), ["phone"]);
    assert_eq!(devices(&state[4], &nodes.user(Role::Director)), ["desk"]);
    nodes.system.stop().await;
}

#[tokio::test]
async fn the_devices_of_one_person_come_and_go_one_by_one() {
    let nodes = Nodes::start().await;
    let staff = nodes.user(Role::Staff);
    let mut watcher = joined(&nodes, Role::Director, "desk").await;
    watcher.push("presence_state").await;
    let phone = joined(&nodes, Role::Staff, "phone").await;
    let mut tablet = joined(&nodes, Role::Staff, "tablet").await;
    let mut came = Vec::new();
    while came.len() < 2 {
        came.extend(devices(&watcher.push("presence_diff").await["joins"], &staff));
    }

    phone.close().await;
    let left = watcher.push("presence_diff").await;
    tablet.send(json!(["1", "9", topic(), "phx_leave", {}])).await;
    let last = watcher.push("presence_diff").await;

    came.sort();
    assert_eq!(came, ["phone", "tablet"]);
    assert_eq!(devices(&left["leaves"], &staff), ["phone"]);
    assert_eq!(devices(&last["leaves"], &staff), ["tablet"]);
    nodes.system.stop().await;
}

#[tokio::test]
async fn an_update_replaces_the_meta_and_names_the_one_before() {
    let nodes = Nodes::start().await;
    let staff = nodes.user(Role::Staff);
    let mut client = joined(&nodes, Role::Staff, "phone").await;
    let state = client.push("presence_state").await;
    let before = state[&staff]["metas"][0].clone();

    let answer = client.call(&topic(), "presence_update", json!({ "device": "desk" })).await;
    let mut diff = client.push("presence_diff").await;
    while devices(&diff["joins"], &staff) != ["desk"] {
        diff = client.push("presence_diff").await;
    }
    let refused = client.call(&topic(), "presence_update", json!([])).await;

    assert_eq!(answer["status"], "ok", "{answer}");
    assert_eq!(diff["joins"][&staff]["metas"][0]["phx_ref_prev"], before["phx_ref"]);
    assert_eq!(diff["leaves"][&staff]["metas"][0]["phx_ref"], before["phx_ref"]);
    assert_eq!(refused["response"]["code"], "bad_presence");
    nodes.system.stop().await;
}

#[tokio::test]
async fn whoever_does_not_ask_is_neither_seen_nor_told() {
    let nodes = Nodes::start().await;
    let mut plain = nodes.connect(nodes.address, Role::Staff).await;
    plain.join(&topic(), json!({})).await;
    let mut seen = joined(&nodes, Role::Director, "desk").await;

    let state = seen.push("presence_state").await;
    nodes.pack("a").await;
    let first = plain.frame().await;
    let refused = plain.call(&topic(), "presence_update", json!({})).await;

    assert_eq!(state.as_object().map(serde_json::Map::len), Some(1), "{state}");
    assert_eq!(first[3], "crate_packed");
    assert_eq!(refused["response"]["code"], "not_present");
    nodes.system.stop().await;
}

#[tokio::test]
async fn what_cannot_be_shown_refuses_the_join() {
    let nodes = Nodes::start().await;
    let large = json!({ "presence": { "note": "x".repeat(2_000) } });
    let cases = [
        (Role::Staff, topic(), json!({ "presence": "yes" }), "bad_presence"),
        (Role::Staff, topic(), large, "presence_too_large"),
        (Role::Operator, "system:supervision".to_owned(), json!({ "presence": {} }), "no_presence"),
    ];
    for (role, topic, params, code) in cases {
        let mut client = nodes.connect(nodes.address, role).await;
        let answer = client.join(&topic, params).await;
        assert_eq!(
            (&answer["status"], &answer["response"]["code"]),
            (&json!("error"), &json!(code))
        );
    }
    nodes.system.stop().await;
}

#[tokio::test]
async fn nodes_tell_each_other_who_is_there_and_who_goes_with_a_node() {
    let nodes = Nodes::start().await;
    let (staff, director) = (nodes.user(Role::Staff), nodes.user(Role::Director));
    let mut here = joined(&nodes, Role::Staff, "phone").await;
    here.push("presence_state").await;
    let other = nodes.another().await;
    let mut there = nodes.connect(other.address, Role::Director).await;
    there.join(&topic(), json!({ "presence": { "device": "desk" } })).await;
    let state = there.push("presence_state").await;

    // The newcomer has heard of the first node already, or hears of it now.
    let mut seen = devices(&state, &staff);
    while seen.is_empty() {
        seen = devices(&there.push("presence_diff").await["joins"], &staff);
    }
    let mut came = here.push("presence_diff").await;
    while devices(&came["joins"], &director).is_empty() {
        came = here.push("presence_diff").await;
    }
    other.system.stop().await;
    let left = here.push("presence_diff").await;

    assert_eq!(seen, ["phone"]);
    assert_eq!(devices(&came["joins"], &director), ["desk"]);
    assert_eq!(devices(&left["leaves"], &director), ["desk"]);
    nodes.system.stop().await;
}

#[tokio::test]
async fn a_killed_presence_process_comes_back_with_everybody_and_tells_who_comes() {
    let nodes = Nodes::start().await;
    let other = nodes.another().await;
    let director = nodes.user(Role::Director);
    let mut here = joined(&nodes, Role::Staff, "phone").await;
    here.push("presence_state").await;

    nodes.system.system().tree().kill("root/bus/presence").expect("it is there");
    let _desk = joined(&nodes, Role::Director, "desk").await;
    let mut came = here.push("presence_diff").await;
    while devices(&came["joins"], &director).is_empty() {
        came = here.push("presence_diff").await;
    }
    let mut there = nodes.connect(other.address, Role::Admin).await;
    there.join(&topic(), json!({ "presence": { "device": "tablet" } })).await;
    let mut seen = there.push("presence_state").await;
    let staff = nodes.user(Role::Staff);
    while devices(&seen, &director).is_empty() || devices(&seen, &staff).is_empty() {
        let diff = there.push("presence_diff").await;
        for (key, metas) in diff["joins"].as_object().expect("an object") {
            seen[key] = metas.clone();
        }
    }

    assert_eq!(devices(&came["joins"], &director), ["desk"]);
    assert_eq!(came["leaves"], json!({}));
    other.system.stop().await;
    nodes.system.stop().await;
}
