//! The auditor's program and ours look at the same damage and must say the same.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use kernel::OrgId;
use serde_json::{Value, json};
use store::export::{Selection, export};
use store::verify::verify;

use crate::database::{TestLog, opened};

/// What `tests/auditor/verify.py` says of an export, finding by finding.
fn audited(lines: &[u8]) -> (Option<i32>, BTreeSet<String>) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/auditor/verify.py");
    let mut auditor = Command::new("python3")
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    auditor.stdin.take().expect("it is a pipe").write_all(lines).expect("it reads to the end");
    let output = auditor.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let findings = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each finding is JSON").to_string());
    (output.status.code(), findings.collect())
}

async fn exported(log: &TestLog, org_id: Option<OrgId>) -> Vec<u8> {
    let mut lines = Vec::new();
    let selection = Selection { org_id, ..Selection::default() };
    let now = log.log.clock().now();
    export(log.log.pool(), &selection, now, &mut lines, |_| {}).await.expect("it can be read");
    lines
}

/// Both verdicts on the log as it is, which must agree; how many findings there are.
async fn agreed(log: &TestLog, org_id: Option<OrgId>, damage: &str) -> usize {
    let verdict = verify(log.log.pool(), org_id, |_| {}).await.expect("the log can be read");
    let ours: BTreeSet<String> =
        verdict.broken.iter().map(|found| json!(found).to_string()).collect();

    let (code, theirs) = audited(&exported(log, org_id).await);

    assert_eq!(ours, theirs, "{damage}");
    assert_eq!(code, Some(i32::from(!ours.is_empty())), "{damage}");
    ours.len()
}

/// Two organisations with six events each, in turn: odd positions are the first one's.
async fn log() -> (TestLog, OrgId) {
    let log = TestLog::create().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    for number in 0..6 {
        log.record(&opened(acme, number)).await;
        log.record(&opened(zen, number)).await;
        if number == 3 || number == 5 {
            store::sealer::seal_all(&log.log).await.expect("nothing is in the way");
        }
    }
    (log, acme)
}

/// The event sealed at a position.
macro_rules! at {
    ($position:literal) => {
        concat!("(select event_id from events.seals where position = ", $position, ")")
    };
}

const DAMAGES: &[&str] = &[
    concat!("update events.domain_events set payload = '{\"number\":7}' where id = ", at!(5)),
    concat!(
        "update events.domain_events set metadata = convert_to(replace(convert_from(
             metadata, 'UTF8'), 'test', 'ghost'), 'UTF8') where id = ",
        at!(6)
    ),
    concat!("delete from events.domain_events where id = ", at!(7)),
    "delete from events.seals where position = 4",
    concat!(
        "delete from events.domain_events where id = ",
        at!(8),
        "; delete from events.seals where position = 8"
    ),
    // Inserted as if it had been recorded long ago, without a seal.
    "insert into events.domain_events (id, org_id, domain, event_type, version, payload, metadata,
         inserted_at, tx)
     select gen_random_uuid(), org_id, domain, event_type, version, payload, metadata,
         inserted_at, tx from events.domain_events order by arrival limit 1",
    // Inserted with a seal, for which those after it had to move.
    "update events.seals set position = position + 1000 where position >= 6;
     update events.seals set position = position - 999 where position >= 1006;
     insert into events.domain_events (id, org_id, domain, event_type, version, payload, metadata,
         inserted_at, tx)
     select '00000000-0000-7000-8000-00000000f00d', org_id, domain, event_type, version, payload,
         metadata, inserted_at, tx from events.domain_events order by arrival limit 1;
     insert into events.seals select (jsonb_populate_record(seal, jsonb_build_object(
             'position', 6, 'event_id', '00000000-0000-7000-8000-00000000f00d',
             'arrival', (select max(arrival) from events.domain_events),
             'org_sequence', 100, 'sealed_snapshot', null))).*
         from events.seals as seal where position = 1",
    // Two events swap their contents.
    "update events.domain_events as event
     set aggregate_id = other.aggregate_id, payload = other.payload
     from events.seals as seal, events.seals as other_seal, events.domain_events as other
     where event.id = seal.event_id and other.id = other_seal.event_id
         and (seal.position, other_seal.position) in ((3, 5), (5, 3))",
    // Two seals swap their places.
    "update events.seals set position = 100 where position = 3;
     update events.seals set position = 3 where position = 5;
     update events.seals set position = 5 where position = 100",
    concat!(
        "update events.domain_events set inserted_at = inserted_at + interval '1 second'
         where id = ",
        at!(9)
    ),
    "delete from events.domain_events
     where id in (select event_id from events.seals where position > 9);
     delete from events.seals where position > 9",
    // An event moves to the other organisation, then a seal does.
    concat!(
        "update events.domain_events
         set org_id = (select org_id from events.seals where position = 2)
         where id = ",
        at!(3)
    ),
    "update events.seals set org_id = gen_random_uuid() where position = 11",
    "update events.seals set hash = sha256('x') where position = 10",
    "update events.seals set previous_hash = sha256('x'), hash = sha256('y') where position = 5",
];

#[tokio::test]
async fn two_programs_agree_that_an_intact_log_holds() {
    let (log, acme) = log().await;

    assert_eq!(agreed(&log, None, "none").await, 0);
    assert_eq!(agreed(&log, Some(acme), "none").await, 0);
}

#[tokio::test]
async fn two_programs_agree_on_every_damage() {
    for damage in DAMAGES {
        let (log, acme) = log().await;

        log.tamper(damage).await;

        assert_ne!(agreed(&log, None, damage).await, 0, "{damage}");
        agreed(&log, Some(acme), damage).await;
    }
}

#[tokio::test]
async fn a_file_that_was_cut_or_changed_is_no_export() {
    let (log, _) = log().await;
    let lines = exported(&log, None).await;
    let text = String::from_utf8(lines).expect("text");

    let cut = text.split_inclusive('\n').take(5).collect::<String>();
    let changed = text.replacen("\"version\":1", "\"version\":2", 1);

    for damaged in [cut, changed, String::new(), "no JSON".into()] {
        assert_eq!(audited(damaged.as_bytes()), (Some(2), BTreeSet::new()));
    }
}
