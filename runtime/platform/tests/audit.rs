//! Auditing a running platform: verifications in the background, checkpoints and proofs.

use std::time::Duration;

use platform::store::checkpoint::{self, Key, Proof};
use platform::{Kind, Role};
use serde_json::{Value, json};
use testkit::{ACME, Member, TestSystem};
use uuid::Uuid;

async fn system() -> TestSystem {
    testkit::start([]).await
}

/// Asks until the verification has ended.
async fn ended(operator: &Member, started: &Value) -> Value {
    let id = json!({ "verification_id": started["verification_id"] });
    let ended = async {
        loop {
            let walk = operator.call("operator", "show_verification", id.clone()).await;
            let walk = walk.expect("an operator may ask");
            if walk["state"] != "running" {
                return walk;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the log is short")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_runs_in_the_background_and_names_what_it_finds() {
    let system = system().await;
    let operator = system.member(ACME, Role::Operator);
    // Each action is recorded twice, so there is something to verify.
    let first = operator.call("operator", "start_verification", json!({})).await;
    let held = ended(&operator, &first.expect("an operator may verify")).await;
    system.settle().await;
    let sql = "set session_replication_role = replica;
        update events.domain_events set event_type = 'forged'
        where id = (select event_id from events.seals where position = 2)";
    sqlx::raw_sql(sql).execute(&mut system.owner().await).await.expect("an owner can do harm");

    let second = operator.call("operator", "start_verification", json!({})).await;
    let broken = ended(&operator, &second.expect("an operator may verify")).await;
    let part = operator.call("operator", "start_verification", json!({"from": 3})).await;
    let part = ended(&operator, &part.expect("an operator may verify")).await;

    assert_eq!(held["report"]["holds"], true, "{held}");
    assert_eq!(part["report"]["holds"], true, "{part}");
    let finding = &broken["report"]["broken"][0];
    assert_eq!((&finding["position"], &finding["problem"]), (&json!(2), &json!("hash_mismatch")));
    assert!(finding["advice"].as_str().is_some_and(|advice| advice.contains("backup")));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_was_interrupted_goes_on_and_one_that_is_done_does_not() {
    let system = system().await;
    let operator = system.member(ACME, Role::Operator);
    let first = operator.call("operator", "start_verification", json!({})).await;
    let first = ended(&operator, &first.expect("an operator may verify")).await;
    let done = first["verification_id"].clone();
    let interrupted = Uuid::now_v7();
    sqlx::query(
        "insert into events.verifications (id, from_position, started_at, updated_at)
         values ($1, 1, now() - interval '1 hour', now() - interval '1 hour')",
    )
    .bind(interrupted)
    .execute(&mut system.owner().await)
    .await
    .expect("the owner may write");

    let shown = json!({ "verification_id": interrupted });
    let shown = operator.call("operator", "show_verification", shown).await;
    let resumed = json!({ "resume": interrupted });
    let resumed = operator.call("operator", "start_verification", resumed).await;
    let resumed = ended(&operator, &resumed.expect("it was interrupted")).await;
    let again = operator.refuse("operator", "start_verification", json!({ "resume": done })).await;
    let unknown = json!({ "verification_id": Uuid::now_v7() });
    let unknown = operator.refuse("operator", "show_verification", unknown).await;

    assert_eq!(shown.expect("an operator may ask")["state"], "interrupted");
    assert_eq!(resumed["report"]["holds"], true, "{resumed}");
    assert_eq!(again.kind(), Kind::Conflict);
    assert_eq!(unknown.kind(), Kind::NotFound);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_hands_out_checkpoints_and_proofs() {
    let system = system().await;
    let operator = system.member(ACME, Role::Operator);
    let nothing = operator.call("operator", "list_checkpoints", json!({})).await;
    // Recorded when it was asked for and when it ended, so there is something to sign.
    operator.call("operator", "verify_chain", json!({})).await.expect("an operator may verify");
    system.settle().await;
    let key = Key::from_seed(&[7; 32]);
    let made = checkpoint::make(&system.log(), &key).await.expect("the log is as it should be");
    let events = operator.call("operator", "list_events", json!({"after": 0, "limit": 1})).await;
    let event_id = events.expect("an operator may look")["items"][0]["event_id"].clone();

    let listed = operator.call("operator", "list_checkpoints", json!({})).await;
    let file = operator.call("operator", "get_checkpoint", json!({"number": 1})).await;
    let proof = operator.call("operator", "prove_event", json!({"event_id": event_id})).await;
    let unknown = json!({"event_id": Uuid::now_v7()});
    let unknown = operator.refuse("operator", "prove_event", unknown).await;
    let missing = operator.refuse("operator", "get_checkpoint", json!({"number": 9})).await;

    assert_eq!(nothing.expect("an operator may look")["items"], json!([]));
    let listed = listed.expect("an operator may look");
    assert_eq!(listed["items"][0]["public_key"], key.public().to_string());
    assert_eq!(file.expect("it is there"), json!(made.expect("there is something new")));
    let proof: Proof = serde_json::from_value(proof.expect("it is covered")).expect("a proof");
    assert_eq!(json!(proof.event.event_id), event_id);
    assert!(proof.check(&key.public()).is_ok());
    assert_eq!((unknown.kind(), missing.kind()), (Kind::NotFound, Kind::NotFound));
    system.stop().await;
}
