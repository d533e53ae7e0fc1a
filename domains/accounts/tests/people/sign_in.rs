//! Passwords, guesses and locks.

use futures_util::future::join_all;
use platform::{Kind, Result};
use serde_json::json;
use testkit::TestSystem;

use super::*;

async fn guess(system: &TestSystem, email: &str, password: &str) -> Error {
    let input = credentials(email, password, "session");
    call(system, "sign_in", input).await.expect_err("the password is wrong")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_in_acts_as_themselves_until_they_sign_out() -> Result<()> {
    let (system, _) = start().await;

    let session = sign_in(&system, "session").await;
    let token = text(&session, "token");
    let me = call_as(&system, token, "get_me", json!({})).await?;
    call_as(&system, token, "sign_out", json!({})).await?;

    assert_eq!(session["state"], "signed_in");
    assert!(token.starts_with("fin_ses_") && session.get("refresh_token").is_none());
    assert_eq!(me["email"], "staff@acme.test");
    assert!(who(&system, token).await.is_none());
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_cannot_be_told_from_the_answer() {
    let (system, _) = start().await;
    let elsewhere = json!({"organisation": "nowhere", "email": "staff@acme.test",
        "password": PASSWORD, "kind": "session"});

    let wrong_password = guess(&system, "staff@acme.test", "not the password").await;
    let unknown = guess(&system, "nobody@acme.test", PASSWORD).await;
    let without_password = guess(&system, "worker@acme.test", PASSWORD).await;
    let of_others = guess(&system, "staff@globex.test", PASSWORD).await;
    let no_organisation = call(&system, "sign_in", elsewhere).await.expect_err("there is none");

    assert_eq!(wrong_password.kind(), Kind::Unauthenticated);
    for other in [unknown, without_password, of_others, no_organisation] {
        assert_eq!(told(&other), told(&wrong_password));
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_guesses_lock_an_account_whether_it_exists_or_not() {
    let (system, clock) = start().await;

    for email in ["staff@acme.test", "nobody@acme.test"] {
        for _ in 0..5 {
            assert_eq!(
                guess(&system, email, "not the password").await.kind(),
                Kind::Unauthenticated
            );
        }
    }
    let known = guess(&system, "staff@acme.test", PASSWORD).await;
    let unknown = guess(&system, "nobody@acme.test", PASSWORD).await;
    clock.advance(Duration::from_secs(29));
    let a_second_early = guess(&system, "staff@acme.test", PASSWORD).await;
    clock.advance(Duration::from_secs(1));
    let once_more = guess(&system, "staff@acme.test", "not the password").await;
    let for_longer = guess(&system, "staff@acme.test", PASSWORD).await;
    clock.advance(Duration::from_mins(1));
    let session = sign_in(&system, "session").await;

    assert_eq!(told(&known), told(&unknown));
    assert_eq!(known.retry_after(), Some(Duration::from_secs(30)));
    assert_eq!(a_second_early.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(once_more.kind(), Kind::Unauthenticated);
    assert_eq!(for_longer.retry_after(), Some(Duration::from_mins(1)));
    assert_eq!(session["state"], "signed_in");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_told_by_ids_alone_and_other_nodes_keep_them() {
    let (system, _) = start().await;
    for _ in 0..5 {
        guess(&system, "staff@acme.test", "not the password").await;
    }

    let node = system.another_node([accounts::domain()]).await;
    let input = credentials("staff@acme.test", PASSWORD, "session");
    let scope = Scope::anonymous(Uuid::now_v7());
    let there = node.call(&scope, "accounts", "sign_in", input).await;
    node.stop().await;
    system.settle().await;

    assert_eq!(there.expect_err("it is locked there too").kind(), Kind::Limited);
    let told = events(&system).await;
    let of = |name: &str| told.iter().filter(|(of, _)| of == name).count();
    assert_eq!((of("sign_in_failed"), of("sign_in_locked")), (5, 1));
    let user_id = user(&system, ACME, Role::Staff).to_string();
    for (name, payload) in told.iter().filter(|(name, _)| name.starts_with("sign_in_")) {
        assert!(payload.contains(&user_id) && !payload.contains("acme.test"), "{name}: {payload}");
    }
    system.stop().await;
}

/// The events of accounts so far: type and payload.
pub(super) async fn events(system: &TestSystem) -> Vec<(String, String)> {
    let mut owner = system.owner().await;
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "select event_type, payload from events.domain_events where domain = 'accounts'
         order by id",
    )
    .fetch_all(&mut owner)
    .await
    .expect("the log can be read");
    let text = |payload: Vec<u8>| String::from_utf8_lossy(&payload).into_owned();
    rows.into_iter().map(|(name, payload)| (name, text(payload))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_wrong_guesses_at_once_starve_nobody() -> Result<()> {
    let (system, _) = start().await;
    let session = sign_in(&system, "session").await;

    let guesses = (0..50).map(|number| {
        let email = format!("nobody{number}@acme.test");
        let system = &system;
        async move { guess(system, &email, "not the password").await.kind() }
    });
    let asking = call_as(&system, text(&session, "token"), "get_me", json!({}));
    let (kinds, me) = tokio::join!(join_all(guesses), asking);

    let (most, peak) = system.system().computing();
    assert!(peak <= most, "{peak} hashes at once");
    let is_expected = |kind: &Kind| matches!(kind, Kind::Unauthenticated | Kind::Unavailable);
    assert!(kinds.iter().all(is_expected), "{kinds:?}");
    assert_eq!(me?["email"], "staff@acme.test");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_one_account_made_at_once_are_each_counted() {
    let (system, _) = start().await;

    let guesses = (0..20)
        .map(|_| async { guess(&system, "staff@acme.test", "not the password").await.kind() });
    let kinds = join_all(guesses).await;

    let compared = kinds.iter().filter(|kind| **kind == Kind::Unauthenticated).count();
    let locked = kinds.iter().filter(|kind| **kind == Kind::Limited).count();
    assert_eq!((compared, locked), (5, 15));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_by_whoever_knows_it_and_ends_other_sessions() -> Result<()> {
    let (system, _) = start().await;
    let (here, there) = (sign_in(&system, "session").await, sign_in(&system, "app").await);
    let (here, there) = (text(&here, "token"), text(&there, "token"));
    let change = |old: &str, new: &str| json!({"password": old, "new_password": new});

    let wrong = call_as(&system, here, "set_password", change("not it", "a new password 8")).await;
    let weak = call_as(&system, here, "set_password", change(PASSWORD, "password1234")).await;
    call_as(&system, here, "set_password", change(PASSWORD, "a new password 8")).await?;

    assert_eq!(wrong.expect_err("it is wrong").code(), "password_wrong");
    assert_eq!(weak.expect_err("it is weak").code(), "password_too_common");
    assert!(who(&system, here).await.is_some() && who(&system, there).await.is_none());
    assert_eq!(guess(&system, "staff@acme.test", PASSWORD).await.kind(), Kind::Unauthenticated);
    let input = credentials("staff@acme.test", "a new password 8", "session");
    assert_eq!(call(&system, "sign_in", input).await?["state"], "signed_in");
    system.stop().await;
    Ok(())
}
