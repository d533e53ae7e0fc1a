//! Agents use the same operations with the same walls around them.

use platform::operator::OPERATOR;
use platform::{Access, Operation, Role, Verb, allows};
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX};

use super::operations::{MARK, is_filter, reason};
use crate::inputs::{Inputs, id_places, name_of};
use crate::support::{Served, serve_every};
use crate::world::{Ids, furnish};

/// What a tool says to a director of Globex.
async fn used(served: &Served, operation: &Operation, arguments: &Value) -> Value {
    let director = served.system.member(GLOBEX, Role::Director);
    let name = format!("{}_{}", operation.domain, operation.spec.name());
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    });
    served.tell(&director, "/mcp", &message).await["result"].clone()
}

/// An input with ids of Globex, but for one place that has an id of Acme.
fn input(operation: &Operation, place: &str, ours: &Ids, theirs: &Ids) -> Value {
    let domain = operation.domain.as_str();
    let pick = |at: &str, field: &str| {
        let ids = if at == place { ours } else { theirs };
        let named = if field == "session_id" { "token_id" } else { field };
        ids.find(domain, field).or_else(|| ids.find(domain, named)).unwrap_or_default()
    };
    Inputs { id: &pick, and: Some(place) }.of(operation)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tool_finds_or_tells_a_row_of_another_organisation() {
    let served = serve_every("").await;
    furnish(&served.system, ACME, MARK).await;
    furnish(&served.system, GLOBEX, "Globex").await;
    let mut owner = served.system.owner().await;
    let (ours, theirs) = (Ids::of(&mut owner, ACME).await, Ids::of(&mut owner, GLOBEX).await);
    let mut operations: Vec<&Operation> = served.system.system().catalog().operations().collect();
    operations.retain(|operation| {
        let spec = operation.spec;
        let is_tool = spec.verb() != Verb::Internal && spec.access() != Access::Anyone;
        is_tool && operation.domain != OPERATOR && allows(Role::Director, spec.access())
    });
    // Reading comes first, while a list has nothing that the walk itself has written.
    operations.sort_by_key(|operation| operation.spec.verb() != Verb::Read);
    let mut wrong = Vec::new();

    for operation in operations {
        for place in id_places(operation) {
            let arguments = input(operation, &place, &ours, &theirs);
            let result = used(&served, operation, &arguments).await;
            let told = &result["structuredContent"];
            let is_right = match reason(operation, &place) {
                Some(_) => true,
                None if is_filter(operation, &place) => told["items"] == json!([]),
                None => told["kind"] == "not_found",
            };
            let name = name_of(operation);
            if !is_right || result.to_string().contains(MARK) {
                wrong.push(format!("{name} {place}: {result}"));
            }
        }
    }

    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_and_no_prompt_leads_to_a_row_of_another_organisation() {
    let served = serve_every("").await;
    furnish(&served.system, ACME, MARK).await;
    furnish(&served.system, GLOBEX, "Globex").await;
    let mut owner = served.system.owner().await;
    let (theirs, ours) = (Ids::of(&mut owner, ACME).await, Ids::of(&mut owner, GLOBEX).await);
    let director = served.system.member(GLOBEX, Role::Director);
    let ask = async |method: &str, params: Value| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        served.tell(&director, "/mcp", &message).await
    };
    let documents = served.system.system().catalog().operations();
    let documents = documents.filter(|operation| operation.spec.is_addressable());
    let mut read = 0;

    for operation in documents {
        let domain = operation.domain.as_str();
        let uri = |ids: &Ids| {
            let parts = operation.spec.path().split('/').map(|part| {
                let field = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
                let id = field.and_then(|field| ids.find(domain, field));
                id.map_or_else(|| part.to_owned(), |id| id.to_string())
            });
            format!("{domain}:/{}", parts.collect::<Vec<_>>().join("/"))
        };
        let (own, foreign) = (uri(&ours), uri(&theirs));
        let known = ask("resources/read", json!({"uri": own})).await;
        let unknown = ask("resources/read", json!({"uri": foreign})).await;
        assert!(known["result"]["contents"].is_array(), "{own}: {known}");
        if own != foreign {
            assert_eq!(unknown["error"]["code"], -32002, "{foreign}: {unknown}");
            read += 1;
        }
        assert!(!format!("{known}{unknown}").contains(MARK), "{foreign}: {known} {unknown}");
    }
    assert!(read >= 3, "job orders, candidates and billing records have addresses");

    let shortlist = |ids: &Ids| {
        let arguments = json!({"job_order_id": ids.find("recruit", "job_order_id")});
        json!({"name": "recruit_propose_shortlist", "arguments": arguments})
    };
    let own = ask("prompts/get", shortlist(&ours)).await;
    let foreign = ask("prompts/get", shortlist(&theirs)).await;
    let order = &own["result"]["messages"][0]["content"]["resource"]["text"];
    assert!(order.as_str().is_some_and(|order| order.contains("Globex driver")), "{own}");
    assert_eq!(foreign["error"]["code"], -32002, "{foreign}");
    served.system.stop().await;
}
