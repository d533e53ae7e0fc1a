//! Published shapes change only on purpose: what others rely on is a snapshot that a review sees.
//!
//! `INSTA_UPDATE=always cargo nextest run -p tests contracts` writes them anew after a change that
//! is meant.

use std::collections::BTreeMap;

use platform::{Catalog, DomainName};
use serde_json::Value;

fn catalog() -> Catalog {
    server::catalog().expect("the domains do not contradict each other")
}

#[test]
fn the_shapes_of_events_change_only_on_purpose() {
    let catalog = catalog();
    let events: BTreeMap<String, &Value> = catalog
        .events()
        .map(|event| {
            let event_type = event.event_type;
            let name = format!("{}/{} v{}", event_type.domain, event_type.name, event_type.version);
            (name, &event.schema)
        })
        .collect();

    insta::assert_json_snapshot!("events", events);
}

#[test]
fn the_operations_change_only_on_purpose() {
    let catalog = catalog();
    let operations: BTreeMap<String, String> = catalog
        .operations()
        .map(|operation| {
            let name = format!("{}/{}", operation.domain, operation.spec.name());
            let spec = operation.spec;
            (name, format!("{:?} {} {:?}", spec.verb(), spec.path(), spec.access()))
        })
        .collect();

    insta::assert_json_snapshot!("operations", operations);
}

#[test]
fn the_roles_checked_in_are_those_of_the_catalog() {
    let domains: Vec<DomainName> = catalog().domains().iter().map(platform::Domain::name).collect();

    let generated = platform::roles_sql(&domains);

    let checked_in = include_str!("../deploy/roles.sql");
    assert!(
        generated == checked_in,
        "deploy/roles.sql is not what the catalog says; it should be:\n{generated}"
    );
}

#[test]
fn every_operation_and_event_explains_itself() {
    let catalog = catalog();

    let events = catalog.events().filter(|event| event.description.is_empty());
    let operations = catalog.operations().filter(|operation| operation.summary.is_empty());
    let silent: Vec<String> = events
        .map(|event| format!("event {}", event.event_type.name))
        .chain(
            operations.map(|silent| format!("operation {}/{}", silent.domain, silent.spec.name())),
        )
        .collect();

    assert!(silent.is_empty(), "without a doc comment: {}", silent.join(", "));
}
