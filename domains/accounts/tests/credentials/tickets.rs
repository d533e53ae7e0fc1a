//! The story of tickets: one connection each, for a minute, and only while their origin is good.

use std::time::Duration;

use crate::door::Door;
use accounts::CreatedTicket;
use platform::{CredentialKind, Kind, Role};
use serde_json::json;

async fn ticket(door: &Door, token: &str) -> String {
    let answer = door.call(token, "create_ticket", json!({})).await.expect("a ticket is given");
    serde_json::from_value::<CreatedTicket>(answer).expect("it is a ticket").ticket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_socket_with_all_that_it_was_taken_with() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, Some(vec!["recruit:read", "accounts:read"])).await;
    let ticket = ticket(&door, &session.token).await;

    let opened = door.redeem(&ticket).await.expect("it is good");
    let replayed = door.redeem(&ticket).await;

    assert_eq!(opened.credential.kind, CredentialKind::Ticket);
    assert_eq!(opened.credential.parent_id, Some(session.id));
    let scopes = opened.credential.scopes.expect("it carries scopes");
    assert_eq!(scopes, ["recruit:read", "accounts:read"]);
    assert_eq!(opened.role, Role::Staff);
    assert!(replayed.is_none(), "a used ticket opens nothing");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_ticket_has_opened_lasts_as_long_as_the_session() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let ticket = ticket(&door, &session.token).await;

    let opened = door.redeem(&ticket).await.expect("it is good");

    assert_eq!(opened.credential.valid_until, Some(session.expires_at));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_show_a_ticket_at_once_one_comes_in() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;

    for _ in 0..10 {
        let ticket = ticket(&door, &session.token).await;
        let (one, other) = tokio::join!(door.redeem(&ticket), door.redeem(&ticket));
        assert_eq!(usize::from(one.is_some()) + usize::from(other.is_some()), 1);
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_waits_a_minute_and_no_longer() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let (in_time, too_late) =
        (ticket(&door, &session.token).await, ticket(&door, &session.token).await);

    door.clock.advance(Duration::from_secs(59));
    let in_time = door.redeem(&in_time).await;
    door.clock.advance(Duration::from_secs(1));
    let too_late = door.redeem(&too_late).await;

    assert!(in_time.is_some());
    assert!(too_late.is_none());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_ends_with_the_session_that_it_was_taken_from() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let direct = ticket(&door, &session.token).await;
    let access = door.access_token_of(&session).await;
    let of_the_app = ticket(&door, &access).await;

    door.revoke(session.id).await;

    assert!(door.redeem(&direct).await.is_none());
    assert!(door.redeem(&of_the_app).await.is_none(), "it stands two steps from the session");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_no_bearer_token() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let ticket = ticket(&door, &session.token).await;

    let known = door.system().authenticate(&ticket).await.expect("the database answers");

    assert!(known.is_none());
    assert!(door.redeem(&ticket).await.is_some(), "the attempt has not used it up");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_socket_takes_the_ticket_for_the_next_one() {
    let door = Door::open().await;
    let session = door.session(Role::Staff, None).await;
    let first = ticket(&door, &session.token).await;
    let opened = door.redeem(&first).await.expect("it is good");

    let answer = door.call_as(&opened, "create_ticket", json!({})).await.expect("it is given");

    let next: CreatedTicket = serde_json::from_value(answer).expect("it is a ticket");
    let reopened = door.redeem(&next.ticket).await.expect("it is good");
    assert_eq!(reopened.credential.parent_id, Some(session.id));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_credential_is_given_no_ticket() {
    let door = Door::open().await;
    let staff = door.test.member(testkit::ACME, Role::Staff);

    let refused = staff.refuse("accounts", "create_ticket", json!({})).await;

    assert_eq!((refused.kind(), refused.code()), (Kind::Forbidden, "no_lasting_credential"));
    door.close().await;
}
