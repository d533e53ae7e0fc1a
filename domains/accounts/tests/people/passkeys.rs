//! Passkeys: making them, showing them, and what keeps those out who have none.

use platform::{Kind, Profile, RelyingParty, Result, SecondFactor};
use serde_json::{Value, json};

use super::authenticator::{Authenticator, ORIGIN};
use super::second_factor::code;
use super::*;

/// A system with passkeys.
async fn start_with_passkeys(profile: Profile) -> (TestSystem, Clock) {
    let party = RelyingParty::of(&[ORIGIN.to_owned()]).expect("it is an origin");
    super::start_securely(move |security| {
        security.profile = profile;
        security.passkeys = Some(party);
    })
    .await
}

/// Adds a passkey to whoever has a session, after their password.
async fn add(system: &TestSystem, token: &str) -> (Authenticator, Value) {
    let mut keeper = Authenticator::new();
    let begun = call_as(system, token, "begin_passkey", json!({"password": PASSWORD})).await;
    let credential = keeper.make(&begun.expect("the password is right"));
    let input = json!({"label": "Mia's phone", "credential": credential});
    let added = call_as(system, token, "add_passkey", input).await.expect("it was made well");
    (keeper, added)
}

async fn begin(system: &TestSystem) -> Value {
    call(system, "begin_passkey_sign_in", json!({})).await.expect("anybody may")
}

async fn sign_in_with(system: &TestSystem, credential: Value) -> Result<Value> {
    let input = json!({"credential": credential, "kind": "session", "client": "Firefox"});
    call(system, "sign_in_with_passkey", input).await
}

fn is_refused(answer: Result<Value>) {
    let error = answer.expect_err("it is refused");
    assert_eq!((error.kind(), error.code()), (Kind::Unauthenticated, "passkey_refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_alone_signs_in_and_counts_as_both_factors() -> Result<()> {
    let (system, clock) = start_with_passkeys(Profile::Commercial).await;
    let first = sign_in(&system, "session").await;

    let (mut keeper, added) = add(&system, text(&first, "token")).await;
    clock.advance(Duration::from_hours(2));
    let session = sign_in_with(&system, keeper.show(&begin(&system).await)).await?;

    assert_eq!(session["state"], "signed_in");
    assert_eq!(added["recovery_codes"].as_array().map(Vec::len), Some(10));
    let identity = who(&system, text(&session, "token")).await.expect("there is a session");
    assert_eq!(identity.user_id, user(&system, ACME, Role::Staff));
    let at = clock.now();
    assert_eq!(identity.credential.second_factor, SecondFactor::Shown { at });
    let listed = call_as(&system, text(&session, "token"), "list_my_passkeys", json!({})).await?;
    assert_eq!(listed["items"][0]["label"], "Mia's phone");
    assert_eq!(listed["items"][0]["passkey_id"], added["passkey_id"]);
    assert!(listed["items"][0]["last_used_at"].is_string());
    system.settle().await;
    let told = super::sign_in::events(&system).await;
    for event in ["passkey_added", "signed_in"] {
        assert!(told.iter().any(|(name, _)| name == event), "{told:?}");
    }
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_password_a_passkey_stands_for_the_code() -> Result<()> {
    let (system, clock) = start_with_passkeys(Profile::Commercial).await;
    let first = sign_in(&system, "session").await;
    let (mut keeper, added) = add(&system, text(&first, "token")).await;
    keeper.checks_who_is_there = false;
    let ask = async || {
        let asked = sign_in(&system, "app").await;
        let challenge = json!({"challenge": text(&asked, "challenge")});
        let begun = call(&system, "begin_passkey_sign_in", challenge).await;
        (asked, begun.expect("there is a passkey"))
    };

    let (asked, begun) = ask().await;
    let input = json!({"challenge": asked["challenge"], "credential": keeper.show(&begun)});
    let answered = call(&system, "answer_with_passkey", input.clone()).await?;
    let replayed = call(&system, "answer_with_passkey", input).await;
    let (asked, _) = ask().await;
    let recovery = json!({"challenge": asked["challenge"], "code": added["recovery_codes"][0]});
    let recovered = call(&system, "answer_second_factor", recovery).await?;
    let (asked, begun) = ask().await;
    clock.advance(Duration::from_mins(5));
    let input = json!({"challenge": asked["challenge"], "credential": keeper.show(&begun)});
    let late = call(&system, "answer_with_passkey", input).await;

    assert_eq!(asked["state"], "second_factor_required");
    let named = begun["options"]["allowCredentials"].as_array().map(Vec::len);
    assert_eq!(named, Some(1));
    assert!(answered["refresh_token"].is_string() && recovered["token"].is_string());
    for refused in [replayed, late] {
        assert_eq!(refused.expect_err("it was used, or too late").code(), "challenge_refused");
    }
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_shown_badly_signs_nobody_in() -> Result<()> {
    let (system, clock) = start_with_passkeys(Profile::Commercial).await;
    let first = sign_in(&system, "session").await;
    let (good, _) = add(&system, text(&first, "token")).await;
    let spoilt: [fn(&mut Authenticator); 6] = [
        |keeper| keeper.origin = "https://finnest.test.evil.test".to_owned(),
        |keeper| keeper.rp_id = "evil.test".to_owned(),
        |keeper| keeper.checks_who_is_there = false,
        |keeper| keeper.is_touched = false,
        |keeper| keeper.user_handle = None,
        |keeper| {
            *keeper = Authenticator::new().of(keeper.user_handle.clone());
        },
    ];

    for spoil in spoilt {
        let mut keeper = good.clone();
        spoil(&mut keeper);
        is_refused(sign_in_with(&system, keeper.show(&begin(&system).await)).await);
    }
    let mut keeper = good;
    for field in ["signature", "authenticatorData", "clientDataJSON"] {
        let mut credential = keeper.show(&begin(&system).await);
        let changed = text(&credential["response"], field).replacen(['A', 'M', 'S'], "B", 1);
        credential["response"][field] = json!(changed + "AAAA");
        is_refused(sign_in_with(&system, credential).await);
    }
    let made_up = json!({"options": {"challenge": "c29tZXRoaW5n"}});
    is_refused(sign_in_with(&system, keeper.show(&made_up)).await);
    let begun = begin(&system).await;
    let shown = keeper.show(&begun);
    sign_in_with(&system, shown.clone()).await?;
    is_refused(sign_in_with(&system, shown).await);
    is_refused(sign_in_with(&system, keeper.show(&begun)).await);
    let begun = begin(&system).await;
    clock.advance(Duration::from_mins(5));
    is_refused(sign_in_with(&system, keeper.show(&begun)).await);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_its_users_and_nobody_elses() -> Result<()> {
    let (system, _) = start_with_passkeys(Profile::Commercial).await;
    let first = sign_in(&system, "session").await;
    let (mine, added) = add(&system, text(&first, "token")).await;
    let theirs = json!({"organisation": "globex", "email": "staff@globex.test",
        "password": PASSWORD, "kind": "session"});
    let theirs = call(&system, "sign_in", theirs).await?;
    let (stranger, _) = add(&system, text(&theirs, "token")).await;
    let director = json!({"organisation": "acme", "email": "director@acme.test",
        "password": PASSWORD, "kind": "session"});
    let director = call(&system, "sign_in", director).await?;
    let (colleague, _) = add(&system, text(&director, "token")).await;

    for other in [stranger, colleague] {
        let mut keeper = other.of(mine.user_handle.clone());
        is_refused(sign_in_with(&system, keeper.show(&begin(&system).await)).await);
        let asked = sign_in(&system, "session").await;
        let challenge = json!({"challenge": asked["challenge"]});
        let begun = call(&system, "begin_passkey_sign_in", challenge).await?;
        for user_handle in [mine.user_handle.clone(), other.user_handle.clone(), None] {
            let mut keeper = other.of(user_handle);
            let credential = keeper.show(&begun);
            let input = json!({"challenge": asked["challenge"], "credential": credential});
            is_refused(call(&system, "answer_with_passkey", input).await);
        }
    }
    let passkey = json!({"passkey_id": added["passkey_id"]});
    for token in [text(&theirs, "token"), text(&director, "token")] {
        let refused = call_as(&system, token, "remove_passkey", passkey.clone()).await;
        assert_eq!(refused.expect_err("it is not theirs").code(), "passkey_not_found");
        let rename = json!({"passkey_id": added["passkey_id"], "label": "Mine"});
        let refused = call_as(&system, token, "rename_passkey", rename).await;
        assert_eq!(refused.expect_err("it is not theirs").code(), "passkey_not_found");
    }
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_that_counts_backwards_is_refused_and_told_of() -> Result<()> {
    let (system, _) = start_with_passkeys(Profile::Commercial).await;
    let first = sign_in(&system, "session").await;
    let (mut keeper, _) = add(&system, text(&first, "token")).await;
    keeper.sign_count = 1;
    let mut copy = keeper.clone();

    for _ in 0..3 {
        sign_in_with(&system, keeper.show(&begin(&system).await)).await?;
    }
    is_refused(sign_in_with(&system, copy.show(&begin(&system).await)).await);
    let goes_on = sign_in_with(&system, keeper.show(&begin(&system).await)).await;

    assert!(goes_on.is_ok());
    system.settle().await;
    let told = super::sign_in::events(&system).await;
    assert_eq!(told.iter().filter(|(name, _)| name == "passkey_suspected").count(), 1);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_made_badly_is_not_kept_and_a_challenge_makes_one() -> Result<()> {
    let (system, _) = start_with_passkeys(Profile::Commercial).await;
    let first = sign_in(&system, "session").await;
    let token = text(&first, "token");
    let ask = async || {
        let begun = call_as(&system, token, "begin_passkey", json!({"password": PASSWORD})).await;
        begun.expect("the password is right")
    };
    let keep = async |credential: Value| {
        let input = json!({"label": "Phone", "credential": credential});
        call_as(&system, token, "add_passkey", input).await
    };
    let spoilt: [fn(&mut Authenticator); 3] = [
        |keeper| keeper.origin = "https://evil.test".to_owned(),
        |keeper| keeper.rp_id = "evil.test".to_owned(),
        |keeper| keeper.is_touched = false,
    ];

    for spoil in spoilt {
        let mut keeper = Authenticator::new();
        spoil(&mut keeper);
        let refused = keep(keeper.make(&ask().await)).await.expect_err("it was made badly");
        assert_eq!((refused.kind(), refused.code()), (Kind::Forbidden, "passkey_refused"));
    }
    let mut keeper = Authenticator::new();
    let begun = ask().await;
    let credential = keeper.make(&begun);
    keep(credential.clone()).await?;
    let replayed = keep(credential).await;
    let again = keep(keeper.make(&ask().await)).await;
    let without_password = call_as(&system, token, "begin_passkey", json!({})).await;

    assert_eq!(replayed.expect_err("the challenge was used").code(), "passkey_refused");
    assert_eq!(again.expect_err("it is there").code(), "passkey_known");
    assert!(without_password.is_ok(), "a second factor was shown just now");
    let listed = call_as(&system, token, "list_my_passkeys", json!({})).await?;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_removed_by_whoever_showed_one_of_late() -> Result<()> {
    let (system, clock) = start_with_passkeys(Profile::Commercial).await;
    let first = sign_in(&system, "session").await;
    let token = text(&first, "token");
    let (mut keeper, added) = add(&system, token).await;
    let passkey = json!({"passkey_id": added["passkey_id"]});
    clock.advance(Duration::from_mins(11));
    system.system().forget_credentials();

    let stale = call_as(&system, token, "remove_passkey", passkey.clone()).await;
    let another = call_as(&system, token, "begin_passkey", json!({"password": PASSWORD})).await;
    let begun = call_as(&system, token, "begin_passkey_step_up", json!({})).await?;
    let shown = json!({"credential": keeper.show(&begun)});
    call_as(&system, token, "show_passkey", shown.clone()).await?;
    let replayed = call_as(&system, token, "show_passkey", shown).await;
    system.settle().await;
    let rename = json!({"passkey_id": added["passkey_id"], "label": "Old phone"});
    call_as(&system, token, "rename_passkey", rename).await?;
    call_as(&system, token, "remove_passkey", passkey.clone()).await?;
    let gone = call_as(&system, token, "remove_passkey", passkey).await;

    for stale in [stale, another] {
        assert_eq!(stale.expect_err("ten minutes are over").code(), "step_up_required");
    }
    let replayed = replayed.expect_err("the challenge was used");
    assert_eq!((replayed.kind(), replayed.code()), (Kind::Forbidden, "passkey_refused"));
    assert_eq!(gone.expect_err("it is gone").code(), "passkey_not_found");
    assert_eq!(sign_in(&system, "session").await["state"], "signed_in");
    is_refused(sign_in_with(&system, keeper.show(&begin(&system).await)).await);
    system.settle().await;
    let told = super::sign_in::events(&system).await;
    for event in ["second_factor_shown", "passkey_renamed", "passkey_removed"] {
        assert!(told.iter().any(|(name, _)| name == event), "{event}: {told:?}");
    }
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_and_a_passkey_do_not_take_each_other_away() -> Result<()> {
    let (system, clock) = start_with_passkeys(Profile::Commercial).await;
    let first = sign_in(&system, "session").await;
    let token = text(&first, "token");
    let (mut keeper, added) = add(&system, token).await;

    let password = json!({"password": PASSWORD});
    let device = call_as(&system, token, "enrol_second_factor", password).await?;
    let confirm = json!({"code": code(&device, &clock)});
    call_as(&system, token, "confirm_second_factor", confirm).await?;
    clock.advance(Duration::from_secs(30));
    let disable = json!({"code": code(&device, &clock)});
    call_as(&system, token, "disable_second_factor", disable).await?;
    let asked = sign_in(&system, "session").await;
    let by_passkey = sign_in_with(&system, keeper.show(&begin(&system).await)).await;

    assert_eq!(added["recovery_codes"].as_array().map(Vec::len), Some(10));
    assert_eq!(asked["state"], "second_factor_required");
    assert!(by_passkey.is_ok());
    system.settle().await;
    let told = super::sign_in::events(&system).await;
    assert!(told.iter().any(|(name, _)| name == "code_device_removed"), "{told:?}");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_names_an_origin_there_are_no_passkeys() -> Result<()> {
    let (system, _) = start().await;
    let first = sign_in(&system, "session").await;
    let token = text(&first, "token");

    let begun = call_as(&system, token, "begin_passkey", json!({"password": PASSWORD})).await;
    let asked = call(&system, "begin_passkey_sign_in", json!({})).await;
    let listed = call_as(&system, token, "list_my_passkeys", json!({})).await?;

    for refused in [begun, asked] {
        let refused = refused.expect_err("there are none");
        assert_eq!((refused.kind(), refused.code()), (Kind::Conflict, "passkeys_off"));
    }
    assert_eq!(listed, json!({"items": []}));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_may_be_without_a_second_factor_it_is_enrolled_to_sign_in() -> Result<()> {
    let (system, clock) = start_with_passkeys(Profile::Irap).await;

    let asked = sign_in(&system, "app").await;
    let challenge = json!({"challenge": asked["challenge"]});
    let device = call(&system, "enrol_to_sign_in", challenge.clone()).await?;
    let wrong = json!({"challenge": asked["challenge"], "code": "000000"});
    let wrong = call(&system, "confirm_to_sign_in", wrong).await;
    let confirm = json!({"challenge": asked["challenge"], "code": code(&device, &clock)});
    let enrolled = call(&system, "confirm_to_sign_in", confirm.clone()).await?;
    let again = call(&system, "confirm_to_sign_in", confirm).await;
    let begun_again = call(&system, "enrol_to_sign_in", challenge).await;
    let next = sign_in(&system, "session").await;

    assert_eq!(asked["state"], "enrolment_required");
    assert!(asked.get("token").is_none());
    assert_eq!(wrong.expect_err("it is wrong").code(), "code_refused");
    for used in [again, begun_again] {
        assert_eq!(used.expect_err("it was answered").code(), "challenge_refused");
    }
    assert_eq!(enrolled["recovery_codes"].as_array().map(Vec::len), Some(10));
    let token = text(&enrolled["session"], "token");
    let identity = who(&system, token).await.expect("there is a session");
    let at = clock.now();
    assert_eq!(identity.credential.second_factor, SecondFactor::Shown { at });
    assert_eq!(next["state"], "second_factor_required");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_passkey_stays_where_nobody_may_be_without_a_second_factor() -> Result<()> {
    let (system, clock) = start_with_passkeys(Profile::Irap).await;
    let asked = sign_in(&system, "session").await;
    let challenge = json!({"challenge": asked["challenge"]});
    let device = call(&system, "enrol_to_sign_in", challenge).await?;
    let confirm = json!({"challenge": asked["challenge"], "code": code(&device, &clock)});
    let enrolled = call(&system, "confirm_to_sign_in", confirm).await?;
    let token = text(&enrolled["session"], "token");
    let (_, added) = add(&system, token).await;

    sqlx::query("delete from accounts.second_factors")
        .execute(&mut system.owner().await)
        .await
        .expect("the device is lost");
    let removed = json!({"passkey_id": added["passkey_id"]});
    let refused = call_as(&system, token, "remove_passkey", removed).await;
    let listed = call_as(&system, token, "list_my_passkeys", json!({})).await?;

    assert_eq!(refused.expect_err("it is the last").code(), "second_factor_demanded");
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert!(added.get("recovery_codes").is_none());
    system.stop().await;
    Ok(())
}
