//! Users: coming in by invitation, rights, offices, leaving, and passwords that are forgotten.

use contracts::accounts::{Letter, SEALED_LETTERS};
use platform::{Kind, Result};
use serde_json::json;

use super::sign_in::events;
use super::*;

/// The token in the newest letter to a user that is told of by an event of this type.
async fn letter(system: &TestSystem, event_type: &str) -> (Letter, String) {
    let told = events(system).await;
    let (_, payload) = told.iter().rfind(|(name, _)| name == event_type).expect("it is told");
    let payload: Value = serde_json::from_str(payload).expect("an event is JSON");
    let user_id: Uuid = text(&payload, "user_id").parse().expect("it is an id");
    let digits = text(&payload, "letter").as_bytes();
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).expect("they are digits");
        u8::from_str_radix(digits, 16).expect("they are digits")
    };
    let sealed: Vec<u8> = digits.chunks(2).map(byte).collect();
    let secret = system.system().secret();
    let plain = secret.open(SEALED_LETTERS, user_id.as_bytes(), &sealed).expect("it is ours");
    let letter: Letter = serde_json::from_slice(&plain).expect("it is a letter");
    let token = letter.body.rsplit("token=").next().expect("it has a link").to_owned();
    (letter, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_comes_in_once_by_the_link() -> Result<()> {
    let (system, clock) = start().await;
    let director = system.member(ACME, Role::Director);
    let invite = json!({"email": "Mia@Acme.test", "name": "Mia Hill", "role": "staff"});

    let invited = director.call("accounts", "invite_user", invite.clone()).await?;
    let again = director.refuse("accounts", "invite_user", invite).await;
    let (sent, token) = letter(&system, "user_invited").await;
    let weak = json!({"token": token, "new_password": "mia hill"});
    let weak = call(&system, "accept_invitation", weak).await;
    let accept = json!({"token": token, "new_password": "a password of Mia's"});
    call(&system, "accept_invitation", accept.clone()).await?;
    let twice = call(&system, "accept_invitation", accept).await;
    let session = credentials("mia@acme.test", "a password of Mia's", "session");
    let session = call(&system, "sign_in", session).await?;

    assert_eq!(sent.recipient, "mia@acme.test");
    assert!(text(&invited, "link").ends_with(&token));
    assert_eq!(again.code(), "email_taken");
    assert_eq!(weak.expect_err("it is weak").kind(), Kind::Invalid);
    assert_eq!(twice.expect_err("it was used").code(), "link_refused");
    let me = call_as(&system, text(&session, "token"), "get_me", json!({})).await?;
    assert_eq!((text(&me, "role"), text(&me, "name")), ("staff", "Mia Hill"));
    let invite = json!({"email": "tom@acme.test", "name": "Tom", "role": "worker"});
    director.call("accounts", "invite_user", invite).await?;
    let (_, token) = letter(&system, "user_invited").await;
    clock.advance(Duration::from_hours(7 * 24));
    let late = json!({"token": token, "new_password": "a password of Tom's"});
    let late = call(&system, "accept_invitation", late).await;
    assert_eq!(late.expect_err("it is too old").code(), "link_refused");
    system.settle().await;
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_or_takes_more_than_they_have_and_somebody_administers() -> Result<()> {
    let (system, _) = start().await;
    let (director, admin) = (system.member(ACME, Role::Director), system.member(ACME, Role::Admin));
    let change = |role: Role, to: &str, version: i64| {
        let user_id = user(&system, ACME, role);
        json!({"user_id": user_id, "role": to, "expected_version": version})
    };

    let above = admin.refuse("accounts", "change_role", change(Role::Staff, "director", 1)).await;
    let of_above =
        admin.refuse("accounts", "change_role", change(Role::Director, "staff", 1)).await;
    let operator = json!({"email": "o@acme.test", "name": "O", "role": "operator"});
    let operator = director.refuse("accounts", "invite_user", operator).await;
    let staff = director.call("accounts", "change_role", change(Role::Staff, "admin", 1)).await?;
    let stale = director.refuse("accounts", "change_role", change(Role::Staff, "staff", 1)).await;
    director.call("accounts", "change_role", change(Role::Staff, "worker", 2)).await?;
    director.call("accounts", "change_role", change(Role::Admin, "worker", 1)).await?;
    let last = director.refuse("accounts", "change_role", change(Role::Director, "staff", 1)).await;
    let others = json!({"user_id": user(&system, GLOBEX, Role::Staff), "role": "staff",
        "expected_version": 1});
    let others = director.refuse("accounts", "change_role", others).await;

    assert_eq!((above.code(), of_above.code()), ("role_above_own", "role_above_own"));
    assert_eq!(operator.kind(), Kind::Invalid);
    assert_eq!((&staff["role"], &staff["version"]), (&json!("admin"), &json!(2)));
    assert_eq!(stale.kind(), Kind::Stale);
    assert_eq!(last.code(), "last_administrator");
    assert_eq!(others.kind(), Kind::NotFound);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_deactivated_is_out_at_once() -> Result<()> {
    let (system, _) = start().await;
    let director = system.member(ACME, Role::Director);
    let user_id = user(&system, ACME, Role::Staff);
    let (browser, app) = (sign_in(&system, "session").await, sign_in(&system, "app").await);
    let api = system.member(ACME, Role::Staff).token().to_owned();
    let tokens = [text(&browser, "token"), text(&app, "token"), &api];
    for token in tokens {
        assert!(who(&system, token).await.is_some());
    }

    let sessions = director.call("accounts", "list_sessions", json!({"user_id": user_id})).await?;
    let oneself = json!({"user_id": user(&system, ACME, Role::Director), "expected_version": 1});
    let oneself = director.refuse("accounts", "deactivate_user", oneself).await;
    let staff = json!({"user_id": user_id, "expected_version": 1});
    director.call("accounts", "deactivate_user", staff).await?;

    assert_eq!(sessions["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(oneself.code(), "oneself");
    for token in tokens {
        assert!(who(&system, token).await.is_none());
    }
    let input = credentials("staff@acme.test", PASSWORD, "session");
    assert_eq!(
        call(&system, "sign_in", input).await.expect_err("they are out").code(),
        "sign_in_refused"
    );
    let refresh = json!({"refresh_token": text(&app, "refresh_token")});
    assert!(call(&system, "refresh", refresh).await.is_err());
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_ends_a_session_of_another_user() -> Result<()> {
    let (system, _) = start().await;
    let session = sign_in(&system, "session").await;
    let (token, session_id) = (text(&session, "token"), text(&session, "session_id"));
    let revoke = |user_id| json!({"user_id": user_id, "session_id": session_id});

    let admin = system.member(ACME, Role::Admin);
    let wrong = revoke(user(&system, ACME, Role::Worker));
    let wrong = admin.refuse("accounts", "revoke_session", wrong).await;
    let right = revoke(user(&system, ACME, Role::Staff));
    admin.call("accounts", "revoke_session", right).await?;

    assert_eq!(wrong.kind(), Kind::NotFound);
    assert!(who(&system, token).await.is_none());
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_replaced_by_a_link_and_nobody_learns_who_exists() -> Result<()> {
    let (system, clock) = start().await;
    let session = sign_in(&system, "session").await;
    let request = |email: &str| json!({"organisation": "acme", "email": email});

    let known = call(&system, "request_password_reset", request("staff@acme.test")).await?;
    let unknown = call(&system, "request_password_reset", request("nobody@acme.test")).await?;
    system.settle().await;
    let (sent, first) = letter(&system, "password_reset_requested").await;
    call(&system, "request_password_reset", request("staff@acme.test")).await?;
    system.settle().await;
    let (_, token) = letter(&system, "password_reset_requested").await;
    let reset = |token: &str| json!({"token": token, "new_password": "a new password 9"});
    let earlier = call(&system, "reset_password", reset(&first)).await;
    call(&system, "reset_password", reset(&token)).await?;
    let twice = call(&system, "reset_password", reset(&token)).await;

    assert_eq!(known, unknown);
    assert_eq!(sent.recipient, "staff@acme.test");
    assert_eq!(earlier.expect_err("another was asked for").code(), "link_refused");
    assert_eq!(twice.expect_err("it was used").code(), "link_refused");
    assert!(who(&system, text(&session, "token")).await.is_none());
    let input = credentials("staff@acme.test", "a new password 9", "session");
    assert_eq!(call(&system, "sign_in", input).await?["state"], "signed_in");
    call(&system, "request_password_reset", request("staff@acme.test")).await?;
    system.settle().await;
    let (_, token) = letter(&system, "password_reset_requested").await;
    clock.advance(Duration::from_mins(30));
    let late = call(&system, "reset_password", reset(&token)).await;
    assert_eq!(late.expect_err("it is too old").code(), "link_refused");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_office_is_opened_amended_and_closed_with_its_members() -> Result<()> {
    let (system, _) = start().await;
    let admin = system.member(ACME, Role::Admin);
    let office = json!({"name": "Altona", "timezone": "Australia/Melbourne"});
    let user_id = user(&system, ACME, Role::Staff);

    let opened = admin.call("accounts", "open_office", office.clone()).await?;
    let taken = admin.refuse("accounts", "open_office", office).await;
    let second = json!({"name": "Dandenong", "timezone": "Australia/Melbourne"});
    let second = admin.call("accounts", "open_office", second).await?;
    for office in [&opened, &second] {
        let join =
            json!({"office_id": office["office_id"], "user_id": user_id, "is_primary": true});
        admin.call("accounts", "join_office", join).await?;
    }
    let members = json!({"office_id": opened["office_id"]});
    let members = admin.call("accounts", "list_office_members", members).await?;
    let nowhere = json!({"office_id": opened["office_id"], "name": "Altona",
        "timezone": "Mars/Base", "expected_version": 1});
    let nowhere = admin.refuse("accounts", "amend_office", nowhere).await;
    let amended = json!({"office_id": opened["office_id"], "name": "Altona North",
        "timezone": "Australia/Melbourne", "expected_version": 1});
    let amended = admin.call("accounts", "amend_office", amended).await?;
    let close =
        |version: i64| json!({"office_id": opened["office_id"], "expected_version": version});
    let stale = admin.refuse("accounts", "close_office", close(1)).await;
    admin.call("accounts", "close_office", close(2)).await?;
    let listed = admin.call("accounts", "list_offices", json!({})).await?;
    let of_others = system.member(GLOBEX, Role::Admin);
    let of_others =
        of_others.refuse("accounts", "get_office", json!({"office_id": second["office_id"]}));

    assert_eq!(taken.code(), "office_name_taken");
    assert_eq!(members["items"][0]["is_primary"], false);
    assert_eq!(nowhere.code(), "bad_timezone");
    assert_eq!(amended["version"], 2);
    assert_eq!(stale.kind(), Kind::Stale);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(of_others.await.kind(), Kind::NotFound);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_full_life_no_log_and_no_job_knows_a_secret() -> Result<()> {
    let (system, clock) = start().await;
    let director = system.member(ACME, Role::Director);
    let invite = json!({"email": "mia@acme.test", "name": "Mia Hill", "role": "staff"});
    director.call("accounts", "invite_user", invite).await?;
    let (_, invitation) = letter(&system, "user_invited").await;
    let accept = json!({"token": invitation, "new_password": "a password of Mia's"});
    call(&system, "accept_invitation", accept).await?;
    let app = credentials("mia@acme.test", "a password of Mia's", "app");
    let session = call(&system, "sign_in", app).await?;
    let refresh = json!({"refresh_token": text(&session, "refresh_token")});
    let refreshed = call(&system, "refresh", refresh).await?;
    let token = text(&refreshed, "token");
    let own = json!({"password": "a password of Mia's"});
    let device = call_as(&system, token, "enrol_second_factor", own).await?;
    let code = json!({"code": super::second_factor::code(&device, &clock)});
    let codes = call_as(&system, token, "confirm_second_factor", code).await?;
    let change = json!({"password": "a password of Mia's", "new_password": "another one of Mia's"});
    call_as(&system, token, "set_password", change).await?;
    let request = json!({"organisation": "acme", "email": "mia@acme.test"});
    call(&system, "request_password_reset", request).await?;
    system.settle().await;
    let (_, reset) = letter(&system, "password_reset_requested").await;

    let mut secrets = vec![
        "mia@acme.test".to_owned(),
        "a password of Mia's".to_owned(),
        "another one of Mia's".to_owned(),
        invitation,
        reset,
        token.to_owned(),
        text(&session, "token").to_owned(),
        text(&session, "refresh_token").to_owned(),
        text(&refreshed, "refresh_token").to_owned(),
        text(&device, "secret").to_owned(),
    ];
    let codes: Vec<String> =
        serde_json::from_value(codes["recovery_codes"].clone()).expect("a list of codes");
    secrets.extend(codes);
    let mut owner = system.owner().await;
    for table in ["events.domain_events", "jobs.jobs", "jobs.finished", "platform.idempotency"] {
        let bytes =
            if table == "events.domain_events" { "convert_from(payload, 'UTF8')" } else { "''" };
        let sql = format!("select row_::text || {bytes} from {table} as row_");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_all(&mut owner)
            .await
            .expect("the owner may look");
        for secret in &secrets {
            assert!(!rows.iter().any(|row| row.contains(secret)), "{secret} stands in {table}");
        }
    }
    system.stop().await;
    Ok(())
}
