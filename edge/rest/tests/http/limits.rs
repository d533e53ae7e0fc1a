//! How often a caller may ask over HTTP.

use axum::http::{HeaderMap, StatusCode, header};
use platform::{Peer, Role};
use testkit::{ACME, GLOBEX};

use crate::edge::Edge;

const CRATES: &str = "/api/v1/fixture/crates";
/// So slow that nothing comes back while a test runs.
const FEW: &str = "[edge]\ncredential_per_second = 1\ncredential_burst = 120\n\
                   organisation_per_second = 1\norganisation_burst = 200\n\
                   address_per_second = 1\naddress_burst = 60\n";

fn said<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("nothing")
}

#[tokio::test]
async fn every_answer_tells_what_may_still_be_asked() {
    let edge = Edge::start().await;

    let (listed, _) = edge.call("GET", CRATES, "").await;
    let (refused, _) = edge.call("POST", CRATES, "{}").await;
    let (health, _) = edge.call("GET", "/health", "").await;

    for answer in [&listed, &refused] {
        assert_eq!(said(answer.headers(), "ratelimit-policy"), r#""credential";q=1200;w=2"#);
        let left = said(answer.headers(), "ratelimit");
        assert!(left.starts_with(r#""credential";r=119"#), "{left}");
    }
    assert!(!health.headers().contains_key("ratelimit"));
    edge.system.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_learns_when_to_come_again_and_others_are_served() {
    let mut edge = Edge::start_with(FEW).await;

    let mut refused = None;
    for _ in 0..=130 {
        let (answer, problem) = edge.call("GET", CRATES, "").await;
        if answer.status() != StatusCode::OK {
            refused = Some((answer, problem));
            break;
        }
    }
    let (answer, problem) = refused.expect("121 at once are too many");
    edge.token = edge.system.member(ACME, Role::Admin).token().to_owned();
    let (colleague, _) = edge.call("GET", CRATES, "").await;

    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(said(answer.headers(), header::RETRY_AFTER.as_str()), "1");
    assert_eq!(problem["code"], "limited", "{problem}");
    assert_eq!(colleague.status(), StatusCode::OK);
    assert!(said(colleague.headers(), "ratelimit-policy").starts_with(r#""organisation""#));
    edge.system.stop().await;
}

#[tokio::test]
async fn one_organisation_cannot_use_up_what_another_may_ask() {
    let mut edge = Edge::start_with(FEW).await;
    for role in [Role::Staff, Role::Admin, Role::Director] {
        edge.token = edge.system.member(ACME, role).token().to_owned();
        for _ in 0..100 {
            edge.call("GET", CRATES, "").await;
        }
    }

    let (acme, _) = edge.call("GET", CRATES, "").await;
    edge.token = edge.system.member(GLOBEX, Role::Staff).token().to_owned();
    let (globex, _) = edge.call("GET", CRATES, "").await;

    assert_eq!(acme.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(globex.status(), StatusCode::OK);
    edge.system.stop().await;
}

#[tokio::test]
async fn tokens_are_not_guessed_without_end_and_only_the_guesser_waits() {
    let mut edge = Edge::start_with(FEW).await;
    let known = std::mem::replace(&mut edge.token, "a-guess".to_owned());
    let ask = async |edge: &Edge, address: [u8; 4]| {
        let mut request = edge.request("GET", CRATES, "");
        let peer = Peer { address: address.into(), is_encrypted: false };
        request.extensions_mut().insert(peer);
        edge.send(request).await.0.status()
    };

    let mut statuses = Vec::new();
    for _ in 0..=70 {
        statuses.push(ask(&edge, [192, 0, 2, 1]).await);
    }
    let elsewhere = ask(&edge, [192, 0, 2, 2]).await;
    edge.token = known;
    let with_a_token = ask(&edge, [192, 0, 2, 1]).await;

    assert_eq!(statuses.first(), Some(&StatusCode::UNAUTHORIZED));
    assert_eq!(statuses.last(), Some(&StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(elsewhere, StatusCode::UNAUTHORIZED);
    assert_eq!(with_a_token, StatusCode::OK);
    edge.system.stop().await;
}
