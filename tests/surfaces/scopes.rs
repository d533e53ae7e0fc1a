//! Credentials with scopes: what one opens, it opens at every door.

use platform::{Access, Role, Verb};
use serde_json::json;

use super::doors::Door;
use super::told::Told;
use super::{Street, differing, too_early};
use crate::inputs::name_of;

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_only_reads_is_the_same_at_every_door() {
    let street = Street::build("").await;
    let system = street.served.system.system();
    let find = |domain, name| system.catalog().operation(domain, name).expect("it is declared");
    let nothing = json!({});
    let cases = [
        ("who I am", find("accounts", "get_me"), nothing.clone(), "(answered)"),
        ("my tokens", find("accounts", "list_tokens"), nothing.clone(), "(answered)"),
        ("job orders", find("recruit", "list_job_orders"), nothing.clone(), "(answered)"),
        ("a ticket", find("accounts", "create_ticket"), nothing, "(answered)"),
        ("my name", find("accounts", "rename_me"), json!({"name": "Rosa"}), "scope_missing"),
        ("an order", find("recruit", "open_job_order"), too_early(), "scope_missing"),
    ];
    let create = find("accounts", "create_token");
    let mut readers = Vec::new();
    for house in &street.houses {
        let staff = street.member(house, Role::Staff);
        let scopes = ["accounts:read", "recruit:read"];
        let wanted = json!({"label": "Reader", "scopes": scopes});
        let made = Door::Rest.ask(&street.served, &staff, create, &wanted).await;
        let Told::Answer(made) = made else { panic!("no token is made: {made:?}") };
        readers.push((house, staff.showing(made["token"].as_str().expect("it is told once"))));
    }

    for (what, operation, input, expected) in cases {
        let mut told = Vec::new();
        for (house, reader) in &readers {
            let said = house.door.ask(&street.served, reader, operation, &input).await;
            told.push((house.door, said));
        }
        assert_eq!(differing(what, &told), None);
        assert_eq!(told[0].1.code(), expected, "{what}: {told:?}");
    }
    street.served.system.stop().await;
}

#[test]
fn the_right_that_a_scope_must_grant_is_that_of_reading_for_whatever_reads() {
    let catalog = server::catalog().expect("the domains agree with each other");

    for operation in catalog.operations().filter(|found| found.spec.verb() != Verb::Internal) {
        let expected = match (operation.spec.access(), operation.spec.verb()) {
            (Access::Anyone, _) => None,
            (Access::Operate, _) => Some("operate"),
            (_, Verb::Read) => Some("read"),
            _ if operation.spec.name() == "create_ticket" => Some("read"),
            _ => Some("write"),
        };
        assert_eq!(operation.spec.right(), expected, "{}", name_of(operation));
    }
}
