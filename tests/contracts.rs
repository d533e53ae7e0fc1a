//! Published shapes change only on purpose: what others rely on is a snapshot that a review sees.
//!
//! `INSTA_UPDATE=always cargo nextest run -p tests contracts` writes them anew after a change that
//! is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use platform::{Catalog, DomainName, Operation};
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
fn every_operation_has_a_tool_name_of_its_own_that_clients_take() {
    let catalog = catalog();
    let name = |operation: &Operation| format!("{}_{}", operation.domain, operation.spec.name());

    let names: Vec<String> = catalog.operations().map(name).collect();

    let own: BTreeSet<&String> = names.iter().collect();
    assert_eq!(own.len(), names.len(), "two operations have one tool name");
    let long: Vec<&String> = names.iter().filter(|name| name.len() > 64).collect();
    assert!(long.is_empty(), "longer than the 64 characters that clients take: {long:?}");
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

/// The contract of REST as a file that others can read and a review can see. It is written anew by
/// the command at the top of this file, whatever stood in it: after a merge take either side and
/// run the command.
#[test]
fn the_openapi_document_changes_only_on_purpose() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api/openapi.json");
    let document = rest::document(&catalog());
    let mut generated = serde_json::to_string_pretty(&document).expect("a document is JSON");
    generated.push('\n');

    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, &generated).expect("the checkout can be written to");
    }

    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = generated.lines().zip(checked_in.lines().chain(std::iter::repeat("")));
    let first = differs.enumerate().find(|(_, (generated, checked_in))| generated != checked_in);
    assert!(
        generated == checked_in,
        "docs/api/openapi.json is not what the catalog says, first at {first:?}; if that is meant, \
         INSTA_UPDATE=always cargo nextest run -p tests contracts"
    );
}

#[test]
fn every_example_in_the_document_fits_its_schema() {
    let document = rest::document(&catalog());
    let mut media = Vec::new();
    shown(&document, "", &mut media);

    let unfit: Vec<String> = media
        .iter()
        .filter_map(|(pointer, schema, example)| {
            // References lead to the components, from wherever the schema stands.
            let mut whole = (*schema).clone();
            whole["components"] = document["components"].clone();
            let options = jsonschema::options().should_validate_formats(true);
            let validator = options.build(&whole).expect("the schemas are schemas");
            let complaint = validator.iter_errors(example).next()?.to_string();
            Some(format!("{pointer}: {complaint}\n    in {example}"))
        })
        .collect();

    assert!(media.len() > 150, "only {} examples", media.len());
    assert!(unfit.is_empty(), "\n{}\n", unfit.join("\n"));
}

#[test]
fn every_body_is_shown_by_an_example() {
    let document = rest::document(&catalog());
    let paths = document["paths"].as_object().expect("there are paths");

    let operations = paths.values().flat_map(|path| path.as_object().into_iter().flatten());
    let silent: Vec<String> = operations
        .flat_map(|(_, operation)| {
            let answers = operation["responses"].as_object().into_iter().flatten();
            let bodies = answers.map(|(_, answer)| &answer["content"]["application/json"]);
            let bodies = bodies.chain([&operation["requestBody"]["content"]["application/json"]]);
            let id = operation["operationId"].clone();
            bodies
                .filter(|media| media.is_object() && media.get("example").is_none())
                .map(move |_| id.to_string())
        })
        .collect();

    assert!(
        silent.is_empty(),
        "no example can be made up for {}; say one: #[schemars(example = …)]",
        silent.join(", ")
    );
}

/// Every schema that has an example beside or within it, with where it stands.
fn shown<'a>(at: &'a Value, pointer: &str, found: &mut Vec<(String, &'a Value, &'a Value)>) {
    match at {
        Value::Object(fields) => {
            if let (Some(schema), Some(example)) = (fields.get("schema"), fields.get("example")) {
                found.push((pointer.to_owned(), schema, example));
            }
            if let (true, Some(Value::Array(examples))) =
                (fields.contains_key("type"), fields.get("examples"))
            {
                found.extend(examples.iter().map(|example| (pointer.to_owned(), at, example)));
            }
            for (name, value) in fields {
                shown(value, &format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                shown(item, &format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_domain_says_what_it_is() {
    let catalog = catalog();

    let silent = catalog.domains().iter().filter(|domain| domain.words().is_empty());
    let silent: Vec<&str> = silent.map(|domain| domain.name().as_str()).collect();

    assert!(silent.is_empty(), "Domain::about is missing for {}", silent.join(", "));
}

/// A code that is given somewhere, with its status and where.
struct Given {
    code: String,
    status: &'static str,
    path: String,
}

/// The words that stand before a code in the sources, and the status that goes with it.
const GIVING: [(&str, &str); 15] = [
    ("Reason::invalid(", "422"),
    ("Reason::unauthenticated(", "401"),
    ("Reason::forbidden(", "403"),
    ("Reason::not_found(", "404"),
    ("Reason::conflict(", "409"),
    ("Reason::stale(", "412"),
    ("StatusCode::BAD_REQUEST,", "400"),
    ("StatusCode::UNAUTHORIZED,", "401"),
    ("StatusCode::FORBIDDEN,", "403"),
    ("StatusCode::REQUEST_TIMEOUT,", "408"),
    ("StatusCode::PRECONDITION_REQUIRED,", "428"),
    ("StatusCode::PAYLOAD_TOO_LARGE,", "413"),
    ("StatusCode::UNSUPPORTED_MEDIA_TYPE,", "415"),
    ("StatusCode::UNPROCESSABLE_ENTITY,", "422"),
    ("StatusCode::SERVICE_UNAVAILABLE,", "503"),
];

fn given_in(path: &str, text: &str) -> Vec<Given> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for (word, status) in GIVING {
        for after in text.split(word).skip(1) {
            let literal =
                after.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
            if let Some((code, _)) = literal {
                found.push(Given { code: code.to_owned(), status, path: path.to_owned() });
            }
        }
    }
    found
}

/// Whoever meets a problem finds it explained: docs/problems.md is what `/problems/<code>` tells.
#[test]
fn every_code_of_a_problem_is_explained() {
    let sources = crate::tidy::sources(&["domains", "runtime", "edge"], ".rs");
    let given: Vec<Given> = sources
        .iter()
        .filter(|source| !source.is_test() && !source.path.contains("/examples/"))
        .flat_map(|source| given_in(&source.path, &source.text))
        .collect();
    let meanings: BTreeMap<&str, &rest::Meaning> =
        rest::meanings().iter().map(|meaning| (meaning.code, meaning)).collect();

    let silent: Vec<String> = given
        .iter()
        .filter(|given| {
            let meaning = meanings.get(given.code.as_str());
            meaning.is_none_or(|meaning| !meaning.status.contains(given.status))
        })
        .map(|Given { code, status, path }| format!("`{code}` with status {status} in {path}"))
        .collect();
    let text: String = sources.into_iter().map(|source| source.text).collect();
    let gone = meanings.keys().filter(|code| !text.contains(&format!("\"{code}\"")));
    let gone: Vec<&str> = gone.copied().collect();

    assert!(given.len() > 100, "only {} codes are found", given.len());
    assert!(silent.is_empty(), "docs/problems.md wants rows for\n{}", silent.join("\n"));
    assert!(gone.is_empty(), "docs/problems.md explains what nobody says: {}", gone.join(", "));
    assert_eq!(meanings.len(), rest::meanings().len(), "a code has two rows");
}
