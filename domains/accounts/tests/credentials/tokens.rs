//! The story of API tokens: made by a person for a program, listed, and revoked everywhere.

use std::time::Duration;

use accounts::{CreatedToken, TokenView};
use platform::{Kind, Listing, Role};
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX};
use uuid::Uuid;

use crate::door::Door;

async fn created(door: &Door, with: &str, input: Value) -> CreatedToken {
    let answer = door.call(with, "create_token", input).await.expect("a token is made");
    serde_json::from_value(answer).expect("it is a token")
}

async fn listed(door: &Door, with: &str, input: Value) -> Vec<TokenView> {
    let answer = door.call(with, "list_tokens", input).await.expect("tokens are listed");
    serde_json::from_value::<Listing<TokenView>>(answer).expect("it is a list").items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_acts_as_its_maker_within_the_scopes_of_its_token() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;

    let input = json!({ "label": " Rosters ", "scopes": ["accounts:write"] });
    let token = created(&door, &session.token, input).await;

    let program = door.identity(&token.token).await;
    assert_eq!(program.credential.id, token.token_id);
    assert_eq!(program.role, Role::Staff);
    assert_eq!(program.credential.scopes.as_deref(), Some(&["accounts:write".to_owned()][..]));
    let tokens = listed(&door, &session.token, json!({})).await;
    let of_list = tokens.iter().find(|listed| listed.token_id == token.token_id);
    let of_list = of_list.expect("it is in the list");
    assert_eq!(of_list.label, "Rosters");
    assert!(!serde_json::to_string(&tokens).expect("it is JSON").contains(&token.token));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_token_is_neither_stored_nor_told() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;

    let token = created(&door, &session.token, json!({ "label": "Rosters" })).await;
    door.test.settle().await;

    let secret = token.token.rsplit('_').next().expect("it has an ending").to_owned();
    for (table, column) in [
        ("events.domain_events", "convert_from(payload, 'UTF8')"),
        ("platform.tokens", "to_jsonb(tokens)::text"),
    ] {
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select count(*) from {table} where {column} like '%' || $1 || '%'"
        )))
        .bind(&secret)
        .fetch_one(&mut door.owner().await)
        .await
        .expect("the table can be read");
        assert_eq!(count, 0, "{table} has the secret");
    }
    let told: String = sqlx::query_scalar(
        "select convert_from(payload, 'UTF8') from events.domain_events
         where event_type = 'token_created'",
    )
    .fetch_one(&mut door.owner().await)
    .await
    .expect("it was told");
    assert!(told.contains("Rosters") && told.contains(&token.token_id.to_string()), "{told}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_learns_why_a_scope_will_not_do_and_what_would() {
    let door = Door::open().await;
    let staff = door.session(Role::Staff, None).await;
    let narrow = door.session(Role::Staff, Some(vec!["accounts:write"])).await;
    let cases: [(&str, Value, &str, &str); 7] = [
        (&staff.token, json!(["accounts"]), "bad_scope", "write <domain>:<right>"),
        (&staff.token, json!(["accounts:admin"]), "bad_scope", "read, write or operate"),
        (&staff.token, json!(["acounts:read"]), "unknown_scope", "the domains are accounts"),
        (&staff.token, json!(["operator:operate"]), "scope_beyond_role", "role staff"),
        (&staff.token, json!(["*:operate"]), "scope_beyond_role", "leave it out"),
        (&narrow.token, json!(["*:write"]), "scope_not_carried", "does not carry `*:write`"),
        (&staff.token, json!([]), "malformed_input", "/scopes"),
    ];

    for (with, scopes, code, says) in cases {
        let input = json!({ "label": "x", "scopes": scopes });
        let error = door.refuse(with, "create_token", input).await;
        assert_eq!((error.kind(), error.code()), (Kind::Invalid, code), "{scopes}");
        assert!(error.message().contains(says), "{scopes}: {}", error.message());
        assert_eq!(error.fields()[0].pointer, "/scopes");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_see_themselves_makes_a_token_that_sees_that_and_changes_nothing() {
    let door = Door::open().await;
    let worker = door.session(Role::Worker, None).await;

    let token =
        created(&door, &worker.token, json!({ "label": "x", "scopes": ["accounts:read"] })).await;
    let me = door.call(&token.token, "get_me", json!({})).await.expect("to read is allowed");
    let refused = door.refuse(&token.token, "rename_me", json!({ "name": "Rosa" })).await;

    assert_eq!(me["role"], "worker", "{me}");
    assert_eq!((refused.kind(), refused.code()), (Kind::Forbidden, "scope_missing"));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_scopes_carries_no_more_than_what_it_was_made_with() {
    let door = Door::open().await;
    let narrow = door.session(Role::Director, Some(vec!["accounts:write"])).await;

    let token = created(&door, &narrow.token, json!({ "label": "x" })).await;

    let program = door.identity(&token.token).await;
    assert_eq!(program.credential.scopes.as_deref(), Some(&["accounts:write".to_owned()][..]));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_on_its_day() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let input = json!({ "label": "A week", "expires_in_days": 7 });
    let token = created(&door, &session.token, input).await;
    let is_known = async || {
        let known = door.system().authenticate(&token.token).await;
        known.expect("the database answers").is_some()
    };

    door.clock.advance(Duration::from_hours(7 * 24 - 1));
    assert!(is_known().await);
    door.clock.advance(Duration::from_hours(1));
    assert!(!is_known().await);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_and_what_was_made_with_it_are_good_for_nothing_at_once() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let token = created(&door, &session.token, json!({ "label": "Program" })).await;
    let of_program = created(&door, &token.token, json!({ "label": "Its own" })).await;
    door.identity(&token.token).await;
    door.identity(&of_program.token).await;

    let revoke = json!({ "token_id": token.token_id });
    door.call(&session.token, "revoke_token", revoke.clone()).await.expect("it is revoked");

    for gone in [&token.token, &of_program.token] {
        let known = door.system().authenticate(gone).await.expect("the database answers");
        assert!(known.is_none());
    }
    door.call(&session.token, "revoke_token", revoke).await.expect("it is revoked already");
    door.test.settle().await;
    let told = door.told("token_revoked").await;
    assert_eq!(told, 1, "to revoke twice is to revoke once");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_on_when_its_maker_signs_out() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let token = created(&door, &session.token, json!({ "label": "Program" })).await;

    door.revoke(session.id).await;

    door.identity(&token.token).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_and_revoke_the_tokens_of_their_organisation_and_of_no_other() {
    let door = Door::open().await;
    let staff = door.session(Role::Staff, None).await;
    let token = created(&door, &staff.token, json!({ "label": "Program" })).await;
    let (admin, foreign) =
        (door.test.member(ACME, Role::Admin), door.test.member(GLOBEX, Role::Director));
    let colleague = door.test.member(ACME, Role::Payroll);
    let everybody = json!({ "of_everybody": true, "limit": 100 });
    let revoke = json!({ "token_id": token.token_id });

    let seen = listed(&door, admin.token(), everybody.clone()).await;
    assert!(seen.iter().any(|listed| listed.token_id == token.token_id));
    let seen = listed(&door, foreign.token(), everybody.clone()).await;
    assert!(seen.iter().all(|listed| listed.token_id != token.token_id) && !seen.is_empty());
    let error = door.refuse(colleague.token(), "list_tokens", everybody).await;
    assert_eq!((error.kind(), error.code()), (Kind::Forbidden, "access_denied"));
    for stranger in [foreign.token(), colleague.token()] {
        let error = door.refuse(stranger, "revoke_token", revoke.clone()).await;
        assert_eq!((error.kind(), error.code()), (Kind::NotFound, "unknown_token"));
    }
    door.identity(&token.token).await;
    door.call(admin.token(), "revoke_token", revoke).await.expect("an administrator may");
    let known = door.system().authenticate(&token.token).await.expect("the database answers");
    assert!(known.is_none());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_no_token_and_is_not_revoked_as_one() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;

    for token_id in [session.id, Uuid::now_v7()] {
        let input = json!({ "token_id": token_id });
        let error = door.refuse(&session.token, "revoke_token", input).await;
        assert_eq!(error.code(), "unknown_token");
    }
    door.identity(&session.token).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_at_one_node_is_forgotten_at_the_other() {
    let door = Door::open().await;
    let other = door.test.another_node([accounts::domain()]).await;
    let session = door.session(Role::Staff, None).await;
    let token = created(&door, &session.token, json!({ "label": "Program" })).await;
    door.test.settle().await;
    let known = other.authenticate(&token.token).await.expect("the database answers");
    assert!(known.is_some());
    let mut changes = other.credential_changes();
    changes.mark_unchanged();

    let revoke = json!({ "token_id": token.token_id });
    door.call(&session.token, "revoke_token", revoke).await.expect("it is revoked");

    tokio::time::timeout(Duration::from_secs(30), changes.changed())
        .await
        .expect("the other node hears of it")
        .expect("the other node lives");
    let known = other.authenticate(&token.token).await.expect("the database answers");
    assert!(known.is_none());
    other.stop().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_not_kept_to_be_answered_a_second_time() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let scope = door.identity(&session.token).await.scope(Uuid::now_v7());

    for (operation, input) in [
        ("create_token", json!({ "label": "x" })),
        ("issue_service_token", json!({ "scopes": ["accounts:write"] })),
        ("create_ticket", json!({})),
    ] {
        let answer = door.system().call_once(&scope, "accounts", operation, input, "once").await;
        let refused = answer.expect_err("a key would keep the answer");
        assert_eq!(refused.code(), "idempotency_key_not_accepted", "{operation}");
    }
    door.close().await;
}
