//! The story of service tokens: short, signed, within what they were made from, and gone with it.

use std::time::Duration;

use accounts::IssuedServiceToken;
use platform::{CredentialKind, Identity, Kind, Role, ServiceToken, UserId};
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX};
use uuid::Uuid;

use crate::door::{Door, Session};

async fn issued(door: &Door, with: &str, input: Value) -> IssuedServiceToken {
    let answer = door.call(with, "issue_service_token", input).await.expect("it is issued");
    serde_json::from_value(answer).expect("it is a token")
}

async fn known(door: &Door, token: &str) -> Option<Identity> {
    door.system().authenticate(token).await.expect("the database answers")
}

/// A token that this installation signed, whatever it says.
fn signed(door: &Door, user_id: UserId, parent_id: Uuid, scopes: &[&str]) -> String {
    let (token_id, issued_at) = (Uuid::now_v7(), door.clock.now());
    let expires_at = issued_at + Duration::from_mins(5);
    let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
    let token = ServiceToken { token_id, parent_id, user_id, scopes, issued_at, expires_at };
    token.sign(door.system().secret())
}

fn user_of(door: &Door, org_id: platform::OrgId, role: Role) -> UserId {
    door.test.member(org_id, role).scope().user_id().expect("a member is a user")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_program_acts_within_the_scopes_of_its_short_token() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let input = json!({ "scopes": ["mcp:accounts:write"], "expires_in_seconds": 60 });

    let token = issued(&door, &session.token, input).await;

    let part = known(&door, &token.token).await.expect("it is good");
    assert_eq!(part.org_id, ACME);
    assert_eq!(part.user_id, user_of(&door, ACME, Role::Staff));
    assert_eq!(part.credential.kind, CredentialKind::Service);
    assert_eq!(part.credential.id, token.service_token_id);
    let refused = door.refuse(&token.token, "rename_me", json!({ "name": "Eve" })).await;
    assert_eq!((refused.kind(), refused.code()), (Kind::Forbidden, "scope_missing"));
    door.clock.advance(Duration::from_secs(60 + 29));
    assert!(known(&door, &token.token).await.is_some(), "the clocks may be half a minute apart");
    door.clock.advance(Duration::from_secs(1));
    assert!(known(&door, &token.token).await.is_none());
    door.test.settle().await;
    assert_eq!(door.told("service_token_issued").await, 1);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_token_ends_with_what_it_was_made_from() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let of_app = door.access_token_of(&session).await;
    let scopes = json!({ "scopes": ["accounts:write"] });
    let tokens = [
        issued(&door, &session.token, scopes.clone()).await.token,
        issued(&door, &of_app, scopes).await.token,
    ];
    for token in &tokens {
        assert!(known(&door, token).await.is_some());
    }

    door.revoke(session.id).await;

    for token in &tokens {
        assert!(known(&door, token).await.is_none());
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_from_a_short_token() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let scopes = json!({ "scopes": ["accounts:write"] });
    let token = issued(&door, &session.token, scopes.clone()).await.token;

    for (operation, input) in [
        ("issue_service_token", scopes),
        ("create_token", json!({ "label": "for ever" })),
        ("create_ticket", json!({})),
    ] {
        let refused = door.refuse(&token, operation, input).await;
        assert_eq!(refused.code(), "no_lasting_credential", "{operation}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_token_is_not_issued_for_more_or_for_longer() {
    let door = Door::open().await;
    let narrow = door.session(Role::Staff, Some(vec!["accounts:write"])).await;
    let cases = [
        (json!({ "scopes": ["*:write"] }), "scope_not_carried"),
        (json!({ "scopes": ["operator:operate"] }), "scope_beyond_role"),
        (json!({ "scopes": [] }), "malformed_input"),
        (json!({}), "malformed_input"),
        (json!({ "scopes": ["accounts:read"], "expires_in_seconds": 901 }), "malformed_input"),
        (json!({ "scopes": ["accounts:read"], "expires_in_seconds": 0 }), "malformed_input"),
    ];

    for (input, code) in cases {
        let refused = door.refuse(&narrow.token, "issue_service_token", input.clone()).await;
        assert_eq!((refused.kind(), refused.code()), (Kind::Invalid, code), "{input}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn even_what_we_signed_says_neither_whose_it_is_nor_how_much_it_may() {
    let door = Door::open().await;
    let Session { id, .. } = door.session(Role::Staff, Some(vec!["accounts:read"])).await;
    let staff = user_of(&door, ACME, Role::Staff);
    let cases = [
        ("it is as it should be", staff, id, "accounts:read", true),
        (
            "another user of the organisation",
            user_of(&door, ACME, Role::Director),
            id,
            "accounts:read",
            false,
        ),
        (
            "a user of another organisation",
            user_of(&door, GLOBEX, Role::Staff),
            id,
            "accounts:read",
            false,
        ),
        ("more than it was made from", staff, id, "accounts:write", false),
        ("everything", staff, id, "*:write", false),
        ("made from nothing", staff, Uuid::now_v7(), "accounts:read", false),
    ];

    for (what, user_id, parent_id, scope, is_good) in cases {
        let token = signed(&door, user_id, parent_id, &[scope]);
        let known = known(&door, &token).await;
        assert_eq!(known.is_some(), is_good, "{what}");
        assert!(known.is_none_or(|known| known.org_id == ACME), "{what}");
    }
    door.close().await;
}
