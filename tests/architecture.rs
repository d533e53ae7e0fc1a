//! The crate graph: who may import whom, compared with what the manifests say.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Stands for every crate of ours.
const ALL: &[&str] = &["*"];

/// Who may import whom. A crate without a row fails the test.
const ALLOWED: &[(&str, &[&str])] = &[
    ("kernel", &[]),
    ("otp", &[]),
    ("store", &["kernel", "otp"]),
    ("jobs", &["kernel", "otp"]),
    ("bus", &["kernel", "otp"]),
    ("nats", &["kernel", "otp", "bus"]),
    ("platform", &["kernel", "otp", "store", "jobs", "bus"]),
    ("contracts", &["kernel"]),
    ("domains/*", &["platform", "contracts"]),
    ("rest", &["platform"]),
    ("mcp", &["platform"]),
    ("socket", &["platform"]),
    ("live", &[]),
    ("console", &["platform", "live"]),
    ("cli", &["platform"]),
    ("server", ALL),
    ("testkit", &["kernel", "otp", "store", "jobs", "bus", "platform"]),
    ("tests", ALL),
    ("faults", ALL),
    ("benches", ALL),
];

/// What tests may import beyond that. The story of a reaction needs the domain that tells the
/// event, and all of them follow recruit; what is built without tests stays blind.
const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[
    ("*", &["testkit"]),
    ("testkit", ALL),
    ("domains/*", &["recruit"]),
    ("nats", &["platform"]),
    ("console", &["accounts"]),
];

/// Crates of others that only some of ours may touch, so that what they do is done in one place.
const GUARDED: &[(&str, &[&str])] = &[
    ("ractor", &["otp"]),
    (
        "sqlx",
        &[
            "kernel",
            "store",
            "jobs",
            "platform",
            "domains/*",
            "server",
            "testkit",
            "faults",
            "benches",
        ],
    ),
    ("async-nats", &["nats"]),
    ("axum", &["rest", "mcp", "socket", "live", "console", "server", "benches"]),
    ("tower", &["rest", "mcp", "socket", "live", "console", "server"]),
    ("maud", &["rest", "console"]),
    ("clap", &["cli", "server"]),
    ("rmcp", &["mcp"]),
];

/// One import, as a manifest declares it.
struct Edge {
    importer: String,
    imported: String,
    is_for_tests: bool,
}

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest).no_deps();
    command.exec().expect("cargo can read the workspace it is testing")
}

/// The row that speaks for a crate.
fn layer(package: &Package) -> String {
    let mut folders = package.manifest_path.components().rev().skip(2);
    let is_in_domains = folders.next().is_some_and(|folder| folder.as_str() == "domains");
    if is_in_domains && package.name.as_str() != "contracts" {
        return "domains/*".to_owned();
    }
    package.name.to_string()
}

fn row(table: &'static [(&str, &[&str])], layer: &str) -> Option<&'static [&'static str]> {
    table.iter().find(|(name, _)| *name == layer).map(|(_, row)| *row)
}

fn is_allowed(layer: &str, edge: &Edge) -> bool {
    let allows = |row: &[&str]| row == ALL || row.contains(&edge.imported.as_str());
    let in_tests = || {
        let rows = ["*", layer].into_iter().filter_map(|layer| row(ALLOWED_IN_TESTS, layer));
        edge.is_for_tests && rows.into_iter().any(allows)
    };
    row(ALLOWED, layer).is_some_and(allows) || in_tests()
}

fn edges(package: &Package) -> impl Iterator<Item = Edge> + '_ {
    package.dependencies.iter().map(|dependency| Edge {
        importer: package.name.to_string(),
        imported: dependency.name.clone(),
        is_for_tests: dependency.kind == DependencyKind::Development,
    })
}

#[test]
fn every_crate_has_a_row_in_the_table() {
    let metadata = metadata();

    let without: Vec<String> = metadata
        .packages
        .iter()
        .filter(|package| row(ALLOWED, &layer(package)).is_none())
        .map(|package| format!("`{}` has no row that says what it may import", package.name))
        .collect();

    assert!(without.is_empty(), "\n{}\n", without.join("\n"));
}

#[test]
fn every_crate_imports_only_what_its_layer_allows() {
    let metadata = metadata();
    let ours: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();

    let violations: Vec<String> = metadata
        .packages
        .iter()
        .flat_map(|package| edges(package).map(|edge| (layer(package), edge)))
        .filter(|(_, edge)| ours.contains(&edge.imported.as_str()))
        .filter(|(layer, edge)| !is_allowed(layer, edge))
        .map(|(_, edge)| {
            let when = if edge.is_for_tests { ", not even in tests" } else { "" };
            format!("`{}` may not import `{}`{when}", edge.importer, edge.imported)
        })
        .collect();

    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn what_must_be_done_in_one_place_is_imported_in_one_place() {
    let metadata = metadata();

    let violations: Vec<String> = metadata
        .packages
        .iter()
        .flat_map(|package| edges(package).map(|edge| (layer(package), edge)))
        .filter(|(_, edge)| !edge.is_for_tests)
        .filter_map(|(layer, edge)| Some((row(GUARDED, &edge.imported)?, layer, edge)))
        .filter(|(guards, layer, _)| !guards.contains(&layer.as_str()))
        .map(|(guards, _, edge)| {
            let guards = guards.join("`, `");
            format!("`{}` may not import `{}`, only `{guards}` may", edge.importer, edge.imported)
        })
        .collect();

    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn the_table_itself_says_no() {
    let edge = |importer: &str, imported: &str, is_for_tests| Edge {
        importer: importer.to_owned(),
        imported: imported.to_owned(),
        is_for_tests,
    };

    assert!(!is_allowed("domains/*", &edge("recruit", "people", false)));
    assert!(!is_allowed("domains/*", &edge("recruit", "payroll", true)));
    assert!(!is_allowed("domains/*", &edge("recruit", "testkit", false)));
    assert!(is_allowed("domains/*", &edge("recruit", "testkit", true)));
    assert!(!is_allowed("kernel", &edge("kernel", "otp", false)));
}
