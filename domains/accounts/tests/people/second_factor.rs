//! The second factor: enrolling it, showing it, losing it.

use platform::{Kind, Result, SecondFactor};
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::*;

/// The code that a device shows now.
pub(super) fn code(enrolment: &Value, clock: &Clock) -> String {
    let secret = Secret::try_from_base32(text(enrolment, "secret")).expect("it is a secret");
    let device = Builder::new().with_secret(secret).with_account_name("mia").build();
    let seconds = u64::try_from(clock.now().timestamp()).expect("it is after 1970");
    device.expect("it is a device").generate(seconds).to_string()
}

/// Enrols a device for a session and answers it with its recovery codes.
async fn enrol(system: &TestSystem, clock: &Clock, token: &str) -> (Value, Vec<String>) {
    let enrolment = call_as(system, token, "enrol_second_factor", json!({"password": PASSWORD}))
        .await
        .expect("the password is right");
    let confirm = json!({"code": code(&enrolment, clock)});
    let codes =
        call_as(system, token, "confirm_second_factor", confirm).await.expect("it is right");
    let codes = serde_json::from_value(codes["recovery_codes"].clone()).expect("a list of codes");
    (enrolment, codes)
}

async fn answer(system: &TestSystem, challenge: &str, code: &str) -> Result<Value> {
    call(system, "answer_second_factor", json!({"challenge": challenge, "code": code})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_second_factor_a_password_alone_begins_no_session() -> Result<()> {
    let (system, clock) = start().await;
    let first = sign_in(&system, "session").await;
    let (device, recovery) = enrol(&system, &clock, text(&first, "token")).await;
    clock.advance(Duration::from_secs(30));

    let asked = sign_in(&system, "app").await;
    let challenge = text(&asked, "challenge");
    let wrong = answer(&system, challenge, "000000").await;
    let right = code(&device, &clock);
    let session = answer(&system, challenge, &right).await?;
    let again = answer(&system, challenge, &right).await;

    assert_eq!(asked["state"], "second_factor_required");
    assert!(asked.get("token").is_none() && recovery.len() == 10);
    assert_eq!(wrong.expect_err("it is wrong").code(), "code_refused");
    assert_eq!(again.expect_err("it was used").code(), "challenge_refused");
    let identity = who(&system, text(&session, "token")).await.expect("there is a session");
    assert!(matches!(identity.credential.second_factor, SecondFactor::Shown { .. }));
    let enrolled = who(&system, text(&first, "token")).await.expect("it goes on");
    assert!(matches!(enrolled.credential.second_factor, SecondFactor::Shown { .. }));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once_and_so_is_a_recovery_code() -> Result<()> {
    let (system, clock) = start().await;
    let first = sign_in(&system, "session").await;
    let (device, recovery) = enrol(&system, &clock, text(&first, "token")).await;
    let challenge = async || sign_in(&system, "session").await["challenge"].clone();
    let answer = async |code: &str| {
        let challenge = challenge().await;
        answer(&system, challenge.as_str().expect("it is a text"), code).await
    };

    let used_to_confirm = answer(&code(&device, &clock)).await;
    clock.advance(Duration::from_secs(30));
    let fresh = answer(&code(&device, &clock)).await;
    let used_to_sign_in = answer(&code(&device, &clock)).await;
    let recovered = answer(&recovery[3].to_uppercase()).await;
    let used_to_recover = answer(&recovery[3]).await;

    assert_eq!(used_to_confirm.expect_err("it was used").code(), "code_refused");
    assert!(fresh.is_ok() && recovered.is_ok());
    assert_eq!(used_to_sign_in.expect_err("it was used").code(), "code_refused");
    assert_eq!(used_to_recover.expect_err("it was used").code(), "code_refused");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_guessed_no_more_often_than_passwords() {
    let (system, clock) = start().await;
    let first = sign_in(&system, "session").await;
    let (device, _) = enrol(&system, &clock, text(&first, "token")).await;
    clock.advance(Duration::from_secs(30));

    for _ in 0..5 {
        let asked = sign_in(&system, "session").await;
        answer(&system, text(&asked, "challenge"), "000000").await.expect_err("it is wrong");
    }
    let asked = sign_in(&system, "session").await;
    let right = code(&device, &clock);
    let locked = answer(&system, text(&asked, "challenge"), &right).await;

    let locked = locked.expect_err("too many were wrong");
    assert_eq!(
        (locked.kind(), locked.retry_after()),
        (Kind::Limited, Some(Duration::from_secs(30)))
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_or_old_challenge_is_good_for_nothing() {
    let (system, clock) = start().await;
    let first = sign_in(&system, "session").await;
    let (device, _) = enrol(&system, &clock, text(&first, "token")).await;
    let asked = sign_in(&system, "session").await;
    let real = text(&asked, "challenge").to_owned();
    let elsewhere =
        real.replace(&ACME.uuid().simple().to_string(), &GLOBEX.uuid().simple().to_string());
    let mut changed = real.clone();
    changed.replace_range(real.len() - 1.., if real.ends_with('0') { "1" } else { "0" });
    clock.advance(Duration::from_secs(30));

    for forged in ["fin_cha_", "nonsense", &elsewhere, &changed, text(&first, "token")] {
        let refused = answer(&system, forged, &code(&device, &clock)).await;
        assert_eq!(refused.expect_err("it is forged").code(), "challenge_refused", "{forged}");
    }
    clock.advance(Duration::from_mins(5));
    let old = answer(&system, &real, &code(&device, &clock)).await;

    assert_eq!(old.expect_err("it is old").code(), "challenge_refused");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_replaced_and_disabled_by_showing_it() -> Result<()> {
    let (system, clock) = start().await;
    let first = sign_in(&system, "session").await;
    let token = text(&first, "token");
    let (device, recovery) = enrol(&system, &clock, token).await;
    let enrol = |code: Option<&str>| json!({"password": PASSWORD, "code": code});

    let without = call_as(&system, token, "enrol_second_factor", enrol(None)).await;
    let other = call_as(&system, token, "enrol_second_factor", enrol(Some(&recovery[0]))).await?;
    let confirm = json!({"code": code(&other, &clock)});
    call_as(&system, token, "confirm_second_factor", confirm).await?;
    clock.advance(Duration::from_secs(30));
    let lost = json!({"code": code(&device, &clock)});
    let lost = call_as(&system, token, "disable_second_factor", lost).await;
    let shown = json!({"code": code(&other, &clock)});
    call_as(&system, token, "disable_second_factor", shown).await?;

    assert_eq!(without.expect_err("a code is missing").code(), "code_refused");
    assert_eq!(lost.expect_err("it was replaced").code(), "code_refused");
    assert_eq!(sign_in(&system, "session").await["state"], "signed_in");
    assert_eq!(call_as(&system, token, "get_me", json!({})).await?["has_second_factor"], false);
    system.stop().await;
    Ok(())
}
