//! What is offered: what a door does not have is not there, and a key is taken where it is shown.

use hyper::Method;
use platform::Role;
use platform::operator::OPERATOR;
use serde_json::json;

use super::doors::{Door, tool_call};
use super::{Street, foreign, walk};
use crate::inputs::name_of;

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_sent_twice_with_a_key_is_the_same_for_agents_as_over_http() {
    let street = Street::build("").await;
    let (served, house) = (&street.served, &street.houses[0]);
    let document = served.send_as(None, Method::GET, "/api/openapi.json", None).await.json();
    let key = json!({"$ref": "#/components/parameters/idempotency_key"});
    let (mut wrong, mut taken) = (Vec::new(), 0);

    for domain in served.system.system().catalog().domains() {
        let role = if domain.name() == OPERATOR { Role::Operator } else { Role::Director };
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let address = format!("/mcp/{}", domain.name());
        let listed = served.tell(&street.member(house, role), &address, &list).await;
        let tools = listed["result"]["tools"].as_array().expect("tools are listed");
        for operation in domain.operations() {
            let path = format!("/api/v1/{}{}", domain.name(), operation.spec.path());
            let name = format!("{}_{}", domain.name(), operation.spec.name());
            let Some(tool) = tools.iter().find(|tool| tool["name"] == *name) else { continue };
            let Some(post) = document["paths"][&path].get("post") else { continue };
            if post["operationId"] != *name {
                continue;
            }
            let by_http = post["parameters"].as_array().is_some_and(|all| all.contains(&key));
            let by_agents = tool["inputSchema"]["properties"].get("request_id").is_some();
            taken += usize::from(by_http);
            wrong.extend((by_http != by_agents).then_some(name));
        }
    }

    assert!(taken > 5, "only {taken} operations take a key");
    assert!(wrong.is_empty(), "a key is taken at one door and refused at another: {wrong:?}");
    street.served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_door_does_not_have_is_not_told_there_either() {
    let street = Street::build("").await;
    let director = street.member(&street.houses[0], Role::Director);
    let mut withheld = 0;

    for operation in walk(&street) {
        if Door::Mcp.withholds(operation).is_none() {
            continue;
        }
        let message = tool_call(operation, &foreign(operation));
        let answer = street.served.tell(&director, "/mcp", &message).await;
        let said = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(said.starts_with("there is no tool"), "{}: {answer}", name_of(operation));
        withheld += 1;
    }

    assert!(withheld > 0, "nothing is withheld");
    street.served.system.stop().await;
}
