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
