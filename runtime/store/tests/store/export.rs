//! Export: what is in a file is what is in the tables, and the file says when it is not whole.

use std::sync::atomic::{AtomicBool, Ordering};

use kernel::{
    Digest, EventId, Link, OrgId, Position, SealedFacts, Timestamp, event_digest, next_link,
};
use serde_json::Value;
use store::export::{Exported, Selection, export};

use crate::database::{TestLog, instant, opened, supervise};

/// The lines of an export, as another program sees them.
pub(crate) struct Lines {
    pub(crate) text: String,
    pub(crate) header: Value,
    pub(crate) events: Vec<Value>,
    pub(crate) trailer: Value,
    pub(crate) told: Exported,
}

pub(crate) async fn exported(log: &TestLog, selection: &Selection) -> Lines {
    let mut bytes = Vec::new();
    let now = instant("2026-03-01T12:00:00Z");
    let told = export(log.log.pool(), selection, now, &mut bytes, |_| {})
        .await
        .expect("the log can be read");
    let text = String::from_utf8(bytes).expect("lines are text");
    let mut events: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let trailer = events.pop().expect("there is a last line");
    let header = events.remove(0);
    Lines { text, header, events, trailer, told }
}

fn of(org_id: OrgId) -> Selection {
    Selection { org_id: Some(org_id), ..Selection::default() }
}

/// Two organisations with three events each, in turn: odd positions are acme's.
async fn two_organisations() -> (TestLog, OrgId, OrgId) {
    let log = TestLog::create().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    for _ in 0..3 {
        log.seal_some(acme, 1).await;
        log.seal_some(zen, 1).await;
    }
    (log, acme, zen)
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().unwrap_or_else(|| panic!("{key} of {line}"))
}

/// The link that follows from what a line says, and from nothing else.
fn link_of(line: &Value, previous: &Link) -> Link {
    let micros = line["recorded_at_us"].as_i64().expect("a time");
    let facts = SealedFacts {
        event_id: EventId::from_uuid(text(line, "event_id").parse().expect("an id")),
        org_id: text(line, "org_id").parse().expect("an id"),
        domain: text(line, "domain"),
        event_type: text(line, "event_type"),
        version: u16::try_from(line["version"].as_u64().expect("a number")).expect("it is small"),
        aggregate_id: line["aggregate_id"].as_str().map(|id| id.parse().expect("an id")),
        payload: text(line, "payload").as_bytes(),
        metadata: text(line, "metadata").as_bytes(),
        recorded_at: Timestamp::from_timestamp_micros(micros).expect("it is in range"),
    };
    next_link(previous, &event_digest(&facts))
}

#[tokio::test]
async fn the_lines_of_an_organisation_give_its_chain_to_whoever_recomputes_it() {
    let (log, acme, _) = two_organisations().await;

    let lines = exported(&log, &of(acme)).await;

    let mut link = Digest::GENESIS;
    for line in &lines.events {
        assert_eq!(text(line, "previous_hash"), link.to_string());
        link = link_of(line, &link);
        assert_eq!(text(line, "hash"), link.to_string());
    }
    let positions: Vec<_> = lines.events.iter().map(|line| line["position"].as_i64()).collect();
    assert_eq!(positions, [Some(1), Some(3), Some(5)]);
    let head = &lines.header["organisations"][acme.to_string()];
    assert_eq!((head["org_sequence"].as_i64(), text(head, "hash")), (Some(3), &*link.to_string()));
    assert_eq!(lines.header["organisations"].as_object().map(serde_json::Map::len), Some(1));
}

#[tokio::test]
async fn a_header_says_where_the_log_stood_and_a_trailer_that_nothing_is_lost() {
    let (log, acme, zen) = two_organisations().await;

    let lines = exported(&log, &Selection::default()).await;

    let header = &lines.header;
    assert_eq!((text(header, "format"), text(header, "scope")), ("finnest.events.v1", "all"));
    assert_eq!((header["head"].as_i64(), header["furthest_known"].as_i64()), (Some(6), Some(6)));
    let at = instant("2026-03-01T12:00:00Z").timestamp_micros();
    assert_eq!(header["exported_at_us"].as_i64(), Some(at));
    let known = header["organisations"].as_object().expect("it is an object");
    assert!(known.contains_key(&acme.to_string()) && known.contains_key(&zen.to_string()));
    let before = lines.text.trim_end().rfind('\n').expect("there are several lines") + 1;
    let sha256 = Digest::of(&lines.text.as_bytes()[..before]);
    assert_eq!(text(&lines.trailer, "sha256"), sha256.to_string());
    assert_eq!(
        (lines.trailer["end"].as_bool(), lines.trailer["lines"].as_u64()),
        (Some(true), Some(7))
    );
    assert_eq!((lines.told.events, lines.told.lines, lines.told.sha256), (6, 7, sha256));
}

#[tokio::test]
async fn only_the_positions_asked_for_are_written() {
    let (log, acme, _) = two_organisations().await;
    let range = |org_id| Selection { org_id, from: Some(Position(3)), to: Some(Position(5)) };

    let of_all = exported(&log, &range(None)).await;
    let of_acme = exported(&log, &range(Some(acme))).await;

    let positions = |lines: &Lines| -> Vec<Option<i64>> {
        lines.events.iter().map(|line| line["position"].as_i64()).collect()
    };
    assert_eq!(positions(&of_all), [Some(3), Some(4), Some(5)]);
    assert_eq!(positions(&of_acme), [Some(3), Some(5)]);
    assert_eq!((of_all.header["from"].as_i64(), of_all.header["to"].as_i64()), (Some(3), Some(5)));
}

#[tokio::test]
async fn an_empty_log_is_a_header_and_a_trailer() {
    let log = TestLog::create().await;

    let lines = exported(&log, &Selection::default()).await;

    assert!(lines.events.is_empty());
    assert_eq!(
        (lines.header["head"].as_i64(), lines.trailer["lines"].as_u64()),
        (Some(0), Some(1))
    );
}

#[tokio::test]
async fn damage_is_written_as_it_is() {
    let (log, _, zen) = two_organisations().await;
    log.tamper(&format!(
        "delete from events.domain_events
         where id = (select event_id from events.seals where position = 1);
         update events.domain_events set payload = '{{\"number\": 1.5}}', org_id = '{zen}'
         where id = (select event_id from events.seals where position = 3);
         delete from events.seals where position = 4"
    ))
    .await;

    let lines = exported(&log, &Selection::default()).await;

    let [gone, whole, changed, .., stranded] = lines.events.as_slice() else {
        panic!("{:?}", lines.events)
    };
    assert_eq!((gone["missing"].as_bool(), &gone["payload"]), (Some(true), &Value::Null));
    assert_eq!(text(gone, "hash").len(), 64);
    assert_eq!(whole.get("missing"), None);
    assert_eq!(text(changed, "payload"), r#"{"number": 1.5}"#);
    assert_eq!(text(changed, "stored_org_id"), zen.to_string());
    assert_eq!(stranded["without_seal"].as_bool(), Some(true));
    assert_eq!(text(stranded, "org_id"), zen.to_string());
    assert_eq!((lines.told.missing, lines.told.without_seal), (1, 1));
    assert_eq!(lines.header["furthest_known"].as_i64(), Some(6));
}

#[tokio::test]
async fn a_file_is_the_log_at_one_instant_however_much_is_written_meanwhile() {
    let log = TestLog::create().await;
    let root = supervise([store::sealer::child(&log.log)]).await;
    let is_done = AtomicBool::new(false);

    let writes = async {
        let org_id = OrgId::new();
        for number in 1..=200 {
            log.record(&opened(org_id, number)).await;
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let exports = async {
        while !is_done.load(Ordering::Relaxed) {
            let lines = exported(&log, &Selection::default()).await;
            let head = lines.header["head"].as_u64().expect("a number");
            assert_eq!(lines.events.len() as u64, head, "no more and no fewer than the head");
            assert_eq!((lines.told.missing, lines.told.without_seal), (0, 0));
        }
    };
    tokio::join!(writes, exports);

    root.stop().await;
}
