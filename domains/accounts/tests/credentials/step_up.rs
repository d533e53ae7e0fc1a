//! The story of step-up: what destroys wants to see the second factor once more.

use std::time::Duration;

use accounts::{CreatedToken, Password};
use platform::{Kind, Profile, Result, Role};
use serde_json::{Value, json};
use testkit::ACME;
use totp_rs::{Builder, Secret};
use uuid::Uuid;

use crate::door::{Door, Session};

const PASSWORD: &str = "correct horse 7 staple";

/// The code that a device shows now.
fn code(door: &Door, device: &Value) -> String {
    let secret = device["secret"].as_str().expect("a device has a secret");
    let secret = Secret::try_from_base32(secret).expect("it is a secret");
    let device = Builder::new().with_secret(secret).with_account_name("olga").build();
    let seconds = u64::try_from(door.clock.now().timestamp()).expect("it is after 1970");
    device.expect("it is a device").generate(seconds).to_string()
}

/// An operator with a second factor, just enrolled, and the device.
async fn operator(door: &Door) -> (Session, Value) {
    let user_id = door.test.member(ACME, Role::Operator).scope().user_id();
    let user_id = user_id.expect("a member is a user");
    accounts::give_password(door.system(), ACME, user_id, Password::new(PASSWORD))
        .await
        .expect("an operator gets a password");
    // A new password ends every session so far.
    let session = door.session(Role::Operator, None).await;
    let enrol = json!({ "password": PASSWORD });
    let device =
        door.call(&session.token, "enrol_second_factor", enrol).await.expect("it is begun");
    let confirm = json!({ "code": code(door, &device) });
    door.call(&session.token, "confirm_second_factor", confirm).await.expect("it is enrolled");
    (session, device)
}

/// Asks for what destroys something, and is not there.
async fn kill(door: &Door, token: &str) -> Result<Value> {
    let scope = door.identity(token).await.scope(Uuid::now_v7());
    let input = json!({ "path": "root/nobody", "reason": "to see whether I may" });
    door.system().call(&scope, "operator", "kill_process", input).await
}

fn is_asked(answer: Result<Value>) -> bool {
    let refused = answer.expect_err("it is not there");
    let is_asked = refused.code() == "step_up_required";
    let kind = if is_asked { Kind::Forbidden } else { Kind::NotFound };
    assert_eq!(refused.kind(), kind, "{refused}");
    is_asked
}

async fn show(door: &Door, token: &str, code: &str) -> Result<Value> {
    door.call(token, "show_second_factor", json!({ "code": code })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_shows_the_second_factor_again_every_ten_minutes() {
    let door = Door::open().await;
    let (session, device) = operator(&door).await;
    assert!(!is_asked(kill(&door, &session.token).await), "just shown");

    for _ in 0..2 {
        door.clock.advance(Duration::from_secs(601));
        assert!(is_asked(kill(&door, &session.token).await));
        let wrong = show(&door, &session.token, "000000").await.expect_err("it is wrong");
        assert_eq!(wrong.code(), "code_refused");
        assert!(is_asked(kill(&door, &session.token).await));

        show(&door, &session.token, &code(&door, &device)).await.expect("it is right");
        assert!(!is_asked(kill(&door, &session.token).await));
    }
    door.test.settle().await;
    assert_eq!(door.told("second_factor_shown").await, 2);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_in_an_app_counts_for_the_whole_sign_in() {
    let door = Door::open().await;
    let (session, device) = operator(&door).await;
    let access = door.access_token_of(&session).await;
    door.clock.advance(Duration::from_secs(601));
    assert!(is_asked(kill(&door, &access).await));

    show(&door, &access, &code(&door, &device)).await.expect("it is right");

    for token in [&access, &session.token] {
        assert!(!is_asked(kill(&door, token).await));
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_an_operator_is_not_asked() {
    let door = Door::open().await;
    let (session, _) = operator(&door).await;
    let input = json!({ "label": "Chaos" });
    let token = door.call(&session.token, "create_token", input).await.expect("it is made");
    let token: CreatedToken = serde_json::from_value(token).expect("it is a token");

    door.clock.advance(Duration::from_secs(601));

    assert!(is_asked(kill(&door, &session.token).await));
    assert!(!is_asked(kill(&door, &token.token).await));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_second_factor_is_told_so() {
    let door = Door::open().await;
    let session = door.session(Role::Operator, None).await;

    let refused = show(&door, &session.token, "123456").await.expect_err("there is none");

    assert_eq!((refused.kind(), refused.code()), (Kind::Conflict, "no_second_factor"));
    assert!(!is_asked(kill(&door, &session.token).await), "nobody must have one here");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_irap_everybody_is_asked() {
    let door = Door::open_under(Profile::Irap).await;
    let without = door.session(Role::Operator, None).await;
    let program = door.test.member(ACME, Role::Operator);

    assert!(is_asked(kill(&door, &without.token).await));
    assert!(is_asked(kill(&door, program.token()).await));
    door.close().await;
}
