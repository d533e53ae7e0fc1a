//! Checkpoints: what was signed stays provable, whatever becomes of the database.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kernel::merkle::{self, Frontier};
use kernel::{Digest, EventId, OrgId, Position, SealedFacts, event_digest, next_link};
use serde_json::Value;
use sqlx::Row as _;
use store::checkpoint::keeper::{self, Options};
use store::checkpoint::{
    self, Checkpoint, CheckpointError, CheckpointStore, Directory, Key, KeyError, Proof,
    ProofError, Untrusted,
};
use uuid::Uuid;

use crate::database::{TestLog, supervise, within};

fn key() -> Key {
    Key::from_seed(&[7; 32])
}

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("finnest-checkpoints-{}", Uuid::now_v7()));
        std::fs::create_dir(&path).expect("there is room for a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is cleared away with the system's other temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn made_after(log: &TestLog, org_id: OrgId) -> Checkpoint {
    log.seal_some(org_id, 1).await;
    made(log).await
}

async fn made(log: &TestLog) -> Checkpoint {
    let made = checkpoint::make(&log.log, &key()).await.expect("the log is as it should be");
    made.expect("there is something new")
}

async fn event_at(log: &TestLog, position: i64) -> EventId {
    sqlx::query_scalar("select event_id from events.seals where position = $1")
        .bind(position)
        .fetch_one(&log.owner)
        .await
        .expect("the position is sealed")
}

async fn proof(log: &TestLog, event_id: EventId) -> Result<Proof, ProofError> {
    let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
    checkpoint::prove(&mut reading, event_id).await
}

/// Changes the payload at `position` and computes every later link of its chain anew, as somebody
/// would who owns the database.
pub(crate) async fn rewrite(log: &TestLog, org_id: OrgId, position: i64) {
    log.tamper(&format!(
        "update events.domain_events set payload = '{{\"number\":666}}'
         where id = (select event_id from events.seals where position = {position})"
    ))
    .await;
    let rows = sqlx::query(
        "select seal.position, event.* from events.seals as seal
         join events.domain_events as event on event.id = seal.event_id
         where seal.org_id = $1 order by seal.position",
    )
    .bind(org_id)
    .fetch_all(&log.owner)
    .await
    .expect("the owner may look at everything");
    let mut link = Digest::GENESIS;
    for row in &rows {
        let version: i32 = row.get("version");
        let event = event_digest(&SealedFacts {
            event_id: row.get("id"),
            org_id,
            domain: row.get("domain"),
            event_type: row.get("event_type"),
            version: u16::try_from(version).expect("it fits"),
            aggregate_id: row.get("aggregate_id"),
            payload: row.get("payload"),
            metadata: row.get("metadata"),
            recorded_at: row.get("inserted_at"),
        });
        let previous = link;
        link = next_link(&previous, &event);
        let position: i64 = row.get("position");
        log.tamper(&format!(
            "update events.seals set previous_hash = '\\x{previous}', hash = '\\x{link}'
             where position = {position}"
        ))
        .await;
    }
}

#[tokio::test]
async fn a_checkpoint_covers_everything_and_continues_the_one_before() {
    let log = TestLog::create().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    log.seal_some(acme, 5).await;
    let first = made(&log).await;
    log.seal_some(zen, 3).await;
    log.seal_some(acme, 2).await;

    let second = made(&log).await;

    let public = key().public();
    let (one, two) = (first.body(&public).expect("signed"), second.body(&public).expect("signed"));
    assert_eq!((one.number, one.position, one.organisations), (1, Position(5), 1));
    assert_eq!((two.number, two.position, two.organisations), (2, Position(10), 2));
    assert_eq!(one.previous, Digest::GENESIS);
    assert_eq!(two.previous, Digest::of(first.signed.body.as_bytes()));
    let sequences: Vec<i64> = second.heads.iter().map(|head| head.org_sequence).collect();
    assert_eq!(sequences, if acme < zen { [7, 3] } else { [3, 7] });
    let nothing = checkpoint::make(&log.log, &key()).await.expect("the log is as it should be");
    assert_eq!(nothing, None, "nothing is new");
}

#[tokio::test]
async fn a_tree_that_grew_by_checkpoints_is_the_tree_made_at_once() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    for count in [1, 2, 3, 7] {
        log.seal_some(org_id, count).await;
        made(&log).await;
    }

    let last = made_after(&log, org_id).await;

    let links: Vec<Vec<u8>> = sqlx::query_scalar("select hash from events.seals order by position")
        .fetch_all(&log.owner)
        .await
        .expect("the owner may look at everything");
    let mut tree = Frontier::default();
    for link in &links {
        tree.push(merkle::leaf(link));
    }
    assert_eq!(last.heads.len(), 1);
    assert_eq!((last.heads[0].org_sequence, last.heads[0].root), (14, tree.root()));
}

#[tokio::test]
async fn what_was_changed_in_a_checkpoint_is_found_out() {
    let log = TestLog::create().await;
    log.seal_some(OrgId::new(), 3).await;
    let checkpoint = made(&log).await;
    let public = key().public();

    let mut forged = checkpoint.clone();
    forged.heads[0].org_sequence = 2;
    let mut moved = checkpoint.clone();
    moved.signed.body = moved.signed.body.replace("\"position\":3", "\"position\":2");
    let stranger = Key::from_seed(&[8; 32]).public();

    assert!(checkpoint.body(&public).is_ok());
    assert_eq!(forged.body(&public), Err(Untrusted::Heads));
    assert!(matches!(moved.body(&public), Err(Untrusted::Signature { .. })));
    assert!(matches!(checkpoint.body(&stranger), Err(Untrusted::Signature { .. })));
}

#[tokio::test]
async fn a_log_that_was_rewritten_as_a_whole_is_never_signed_over() {
    let log = TestLog::create().await;
    let org_id = OrgId::new();
    log.seal_some(org_id, 4).await;
    made(&log).await;

    rewrite(&log, org_id, 2).await;
    log.seal_some(org_id, 1).await;
    log.assert_holds().await;
    let refused = checkpoint::make(&log.log, &key()).await;

    let Err(CheckpointError::Discontinued { number: 1, position, org_id: found, .. }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!((position, found), (Position(5), org_id));
}

#[tokio::test]
async fn nothing_is_signed_over_a_tail_that_was_cut_off_or_heads_that_were_changed() {
    let log = TestLog::create().await;
    log.seal_some(OrgId::new(), 4).await;
    made(&log).await;
    log.seal_some(OrgId::new(), 1).await;

    log.tamper("update events.checkpoint_heads set root = sha256('x')").await;
    let damaged = checkpoint::make(&log.log, &key()).await;
    log.tamper("delete from events.seals where position > 3").await;
    let cut_off = checkpoint::make(&log.log, &key()).await;

    assert!(matches!(damaged, Err(CheckpointError::Damaged { number: 1 })), "{damaged:?}");
    assert!(matches!(cut_off, Err(CheckpointError::CutOff { head: Position(3), .. })));
}

#[tokio::test]
async fn an_event_is_proven_to_somebody_who_sees_no_other() {
    let log = TestLog::create().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    for _ in 0..5 {
        log.seal_some(acme, 1).await;
        log.seal_some(zen, 2).await;
    }
    made(&log).await;
    let public = key().public();

    for position in 1..=15 {
        let event_id = event_at(&log, position).await;
        let proof = proof(&log, event_id).await.expect("a checkpoint covers it");

        assert_eq!(proof.check(&public).expect("it is proven").position, Position(15));
        assert_eq!((proof.event.event_id, proof.event.position), (event_id, Position(position)));
        assert!(proof.event_path.len() <= 4 && proof.head_path.len() == 1, "{proof:?}");
        let mut forged = proof.clone();
        forged.event.payload = r#"{"number":666}"#.into();
        assert!(matches!(forged.check(&public), Err(ProofError::Event)));
        let mut moved = proof.clone();
        moved.event.org_sequence = moved.event.org_sequence % 5 + 1;
        assert!(matches!(moved.check(&public), Err(ProofError::NotInOrganisation)));
        let mut renamed = proof.clone();
        renamed.head.root = Digest::GENESIS;
        assert!(renamed.check(&public).is_err());
        let mut other = proof;
        other.head_index = 1 - other.head_index;
        assert!(matches!(other.check(&public), Err(ProofError::NotInCheckpoint)));
    }
}

#[tokio::test]
async fn an_independent_program_follows_the_proof() {
    let log = TestLog::create().await;
    log.seal_some(OrgId::new(), 6).await;
    made(&log).await;
    let proof = proof(&log, event_at(&log, 3).await).await.expect("a checkpoint covers it");
    let folder = Folder::new();
    let file = folder.0.join("proof.json");
    std::fs::write(&file, serde_json::to_vec(&proof).expect("JSON")).expect("there is room");

    let judge = |key: String| {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/auditor/proof.py");
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(program).arg(&file).arg(key);
        let output = command.output().expect("python3 is installed");
        String::from_utf8(output.stdout).expect("text")
    };

    assert_eq!(judge(key().public().to_string()), "proven\n");
    assert_eq!(
        judge(Key::from_seed(&[8; 32]).public().to_string()),
        "the checkpoint is not signed with this key\n"
    );
}

#[tokio::test]
async fn an_event_that_cannot_be_proven_is_said_to_be_so() {
    let log = TestLog::create().await;
    log.seal_some(OrgId::new(), 2).await;
    let event_id = event_at(&log, 1).await;

    let early = proof(&log, event_id).await;
    let unknown = proof(&log, EventId::new()).await;
    made(&log).await;
    log.tamper("update events.domain_events set payload = '{}'").await;
    let changed = proof(&log, event_id).await;

    assert!(matches!(early, Err(ProofError::NotCovered(Position(1)))));
    assert!(matches!(unknown, Err(ProofError::Unknown(_))));
    assert!(matches!(changed, Err(ProofError::Event)));
}

#[tokio::test]
async fn checkpoints_are_made_and_exported_by_themselves_even_after_a_place_was_away() {
    let log = TestLog::create().await;
    log.seal_some(OrgId::new(), 3).await;
    let folder = Folder::new();
    let place = folder.0.join("worm");
    // Where a file is, no directory can be made.
    std::fs::write(&place, "in the way").expect("there is room");
    let options = Options {
        key: key(),
        interval: Duration::from_millis(20),
        places: vec![Arc::new(Directory::new(place.clone()))],
    };

    let root = supervise([store::sealer::child(&log.log), keeper::child(&log.log, &options)]).await;
    let failing = within(state_of_exports(&log, |failures, _| failures > 0)).await;
    std::fs::remove_file(&place).expect("it is ours");
    within(state_of_exports(&log, |failures, number| failures == 0 && number == 1)).await;
    log.seal_some(OrgId::new(), 1).await;
    within(state_of_exports(&log, |_, number| number == 2)).await;
    root.stop().await;

    assert!(failing.contains("checkpoint-000000000001.json could not be kept: "), "{failing}");
    for number in [1, 2] {
        let file = place.join(Checkpoint::file_name(number));
        let bytes = std::fs::read(file).expect("the place keeps it");
        let checkpoint: Checkpoint = serde_json::from_slice(&bytes).expect("a checkpoint");
        assert_eq!(checkpoint.body(&key().public()).expect("signed").number, number);
    }
}

/// Waits until the only place is as wanted; answers its last error.
async fn state_of_exports(log: &TestLog, is_wanted: impl Fn(i32, i64) -> bool) -> String {
    loop {
        let mut reading = store::begin_reading(log.log.pool()).await.expect("the runtime may read");
        let places = checkpoint::export::exported(&mut reading).await.expect("it may look");
        if let Some(place) = places.iter().find(|place| is_wanted(place.failures, place.number)) {
            return place.last_error.clone().unwrap_or_default();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_directory_never_overwrites_a_checkpoint() {
    let folder = Folder::new();
    let place = Directory::new(folder.0.join("a/b"));
    let keep = |bytes: &str| place.keep("checkpoint-1.json".into(), bytes.into());

    let first = keep("one").await;
    let again = keep("one").await;
    let other = keep("two").await;

    assert!(first.is_ok() && again.is_ok());
    assert!(other.expect_err("the name is taken").to_string().contains("is there already"));
    let files: Vec<_> = std::fs::read_dir(folder.0.join("a/b")).expect("it is there").collect();
    assert_eq!(files.len(), 1, "{files:?}");
}

#[test]
fn a_key_is_made_once_and_only_its_owner_may_read_it() {
    let folder = Folder::new();
    let file = folder.0.join("checkpoint.key");

    let made = Key::load_or_make(&file).expect("there is room for a key");
    let permissions = std::fs::metadata(&file).expect("it was made").permissions().mode();
    let loaded = Key::load_or_make(&file).expect("it is a key");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("it is ours");
    let readable = Key::load_or_make(&file);

    assert_eq!(permissions & 0o777, 0o600);
    assert_eq!(made.public(), loaded.public());
    assert!(matches!(readable, Err(KeyError::Readable { .. })));
}

#[test]
fn checkpoints_and_proofs_are_as_written_down() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/event-format.vectors.json");
    let text = std::fs::read_to_string(file).expect("the examples are in the repository");
    let vectors: Value = serde_json::from_str(&text).expect("the examples are JSON");
    let seed: Digest = vectors["seed_of_the_test_key"]
        .as_str()
        .and_then(|digits| digits.parse().ok())
        .expect("32 bytes");
    let public = Key::from_seed(seed.as_bytes()).public();

    let checkpoint: Checkpoint =
        serde_json::from_value(vectors["checkpoint"].clone()).expect("a checkpoint");
    let proof: Proof = serde_json::from_value(vectors["proof"].clone()).expect("a proof");

    assert_eq!(checkpoint.signed.public_key, public);
    assert_eq!(checkpoint.body(&public).expect("signed").position, Position(6));
    assert_eq!(proof.check(&public).expect("proven").number, 1);
    assert_eq!(serde_json::to_value(&checkpoint).expect("JSON"), vectors["checkpoint"]);
}
