//! The byte form as it is written down: docs/event-format.md by its examples.

use kernel::merkle::{self, Frontier};
use kernel::{Digest, EventId, Link, OrgId, SealedFacts, canonical_bytes, event_digest, next_link};
use serde_json::Value;

fn vectors() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/event-format.vectors.json");
    let text = std::fs::read_to_string(file).expect("the examples are in the repository");
    serde_json::from_str(&text).expect("the examples are JSON")
}

fn items(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn digest(value: &Value) -> Digest {
    text(value).parse().expect("64 digits")
}

#[test]
fn canonical_json_is_as_written_down() {
    let vectors = vectors();

    for vector in items(&vectors["canonical"]) {
        let bytes = canonical_bytes(&vector["value"]).expect("the value has a canonical form");

        let digits = bytes.iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
        assert_eq!(digits, text(&vector["hex"]), "{}", vector["utf8"]);
    }
    for vector in items(&vectors["refused"]) {
        let value = serde_json::from_str(text(&vector["json"])).expect("it is JSON");

        assert!(canonical_bytes(&value).is_err(), "{vector}");
    }
}

#[test]
fn digests_and_links_are_as_written_down() {
    let vectors = vectors();
    let mut link = Link::GENESIS;
    assert_eq!(link, digest(&vectors["genesis"]));

    for (vector, chained) in items(&vectors["events"]).iter().zip(items(&vectors["chain"])) {
        let event = &vector["event"];
        let id = |name: &str| text(&event[name]).parse().expect("an id");
        let micros = event["recorded_at_us"].as_i64().expect("a time");
        let version = event["version"].as_u64().expect("a version");
        let computed = event_digest(&SealedFacts {
            event_id: EventId::from_uuid(id("event_id")),
            org_id: OrgId::from_uuid(id("org_id")),
            domain: text(&event["domain"]),
            event_type: text(&event["event_type"]),
            version: u16::try_from(version).expect("it fits"),
            aggregate_id: event["aggregate_id"].as_str().map(|id| id.parse().expect("an id")),
            payload: text(&event["payload"]).as_bytes(),
            metadata: text(&event["metadata"]).as_bytes(),
            recorded_at: chrono::DateTime::from_timestamp_micros(micros).expect("in range"),
        });

        assert_eq!(computed, digest(&vector["digest"]), "{event}");
        assert_eq!(link, digest(&chained["previous_hash"]), "{event}");
        link = next_link(&link, &computed);
        assert_eq!(link, digest(&chained["hash"]), "{event}");
    }
}

#[test]
fn trees_and_paths_are_as_written_down() {
    let vectors = vectors();
    let tree = &vectors["merkle"];
    let leaves: Vec<Digest> =
        items(&tree["leaves"]).iter().map(|data| merkle::leaf(digest(data).as_bytes())).collect();

    for (size, root) in items(&tree["roots"]).iter().enumerate() {
        let mut grown = Frontier::default();
        for leaf in &leaves[..size] {
            grown.push(*leaf);
        }

        assert_eq!(grown.root(), digest(root), "{size} leaves");
    }
    for vector in items(&tree["paths"]) {
        let number = |name: &str| vector[name].as_u64().expect("a number");
        let (index, size) = (number("index"), number("size"));
        let mut grown = Frontier::following(index);
        for leaf in leaves.iter().take(usize::try_from(size).expect("few")) {
            grown.push(*leaf);
        }

        let expected: Vec<Digest> = items(&vector["path"]).iter().map(digest).collect();
        assert_eq!(grown.path(), Some(expected), "{vector}");
    }
}
