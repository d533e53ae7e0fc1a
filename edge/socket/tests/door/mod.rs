//! The door: who may come in with what, and who has to go when that ends.

use std::time::Duration;

use platform::otp::Clock;
use platform::{Digest, Role, UserId, new_secret};
use serde_json::{Value, json};
use socket::{Draining, Patience, Sockets};
use sqlx::PgConnection;
use testkit::ACME;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use uuid::Uuid;

use crate::{Client, Edge, topic};

/// A credential of a member of staff, as the database keeps it.
struct Kept {
    id: Uuid,
    secret: String,
}

/// Makes a credential that ends after so many seconds.
async fn keep(edge: &Edge, kind: &str, parent_id: Option<Uuid>, seconds: i32) -> Kept {
    let (id, secret) = (Uuid::now_v7(), new_secret(if kind == "ticket" { "tkt" } else { "ses" }));
    sqlx::query(
        "insert into platform.tokens
             (id, token_hash, user_id, org_id, label, created_at, kind, expires_at, parent_id)
         values ($1, $2, $3, $4, 'test', $5, $6, $5 + $7 * interval '1 second', $8)",
    )
    .bind(id)
    .bind(Digest::of(secret.as_bytes()).as_bytes().as_slice())
    .bind(staff(edge))
    .bind(ACME)
    .bind(edge.system.system().now())
    .bind(kind)
    .bind(seconds)
    .bind(parent_id)
    .execute(&mut runtime(edge).await)
    .await
    .expect("a credential is kept");
    Kept { id, secret }
}

fn staff(edge: &Edge) -> UserId {
    edge.system.member(ACME, Role::Staff).scope().user_id().expect("a user")
}

/// A connection that sees what the platform sees.
async fn runtime(edge: &Edge) -> PgConnection {
    let mut owner = edge.system.owner().await;
    sqlx::query("set role finnest_runtime").execute(&mut owner).await.expect("the owner may");
    owner
}

async fn change(edge: &Edge, statement: &'static str, id: Uuid) {
    let changed = sqlx::query(statement).bind(id).execute(&mut runtime(edge).await).await;
    assert_eq!(changed.expect("the statement is right").rows_affected(), 1);
}

/// Lets the accounts domain tell that something happened to the member of staff.
async fn concern(edge: &Edge) {
    let member = edge.system.member(ACME, Role::Staff);
    member.run(crate::fixture::ConcernMe {}).await.expect("it may be told");
}

async fn code(client: &mut Client) -> u16 {
    client.closed().await.map(|frame| u16::from(frame.code)).expect("it says why")
}

#[tokio::test]
async fn a_ticket_opens_one_connection_once() {
    let edge = Edge::start().await;
    let session = keep(&edge, "session", None, 3_600).await;
    let ticket = keep(&edge, "ticket", Some(session.id), 60).await;
    let parameters = format!("vsn=2.0.0&ticket={}", ticket.secret);

    let mut client = edge.connect_with(&format!("ticket={}", ticket.secret)).await;
    let replayed = edge.refusal(&parameters).await;
    let lasting = edge.refusal(&format!("vsn=2.0.0&ticket={}", session.secret)).await;
    let (joined, _) = client.join(&topic(), json!({})).await;

    assert_eq!((replayed, lasting), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
    assert_eq!(joined, "ok");
    edge.system.stop().await;
}

#[tokio::test]
async fn of_many_who_show_one_ticket_at_once_one_comes_in() {
    let edge = Edge::start().await;
    let session = keep(&edge, "session", None, 3_600).await;
    let ticket = keep(&edge, "ticket", Some(session.id), 60).await;
    let url = edge.url(&format!("vsn=2.0.0&ticket={}", ticket.secret));

    let attempts = (0..8).map(|_| connect_async(&url));
    let connected = futures_util::future::join_all(attempts).await;

    assert_eq!(connected.iter().filter(|connected| connected.is_ok()).count(), 1);
    edge.system.stop().await;
}

#[tokio::test]
async fn a_ticket_that_is_too_old_opens_nothing() {
    let clock = Clock::manual(Clock::system().now());
    let edge = Edge::start_through(Sockets::new(), clock.clone()).await;
    let session = keep(&edge, "session", None, 3_600).await;
    let ticket = keep(&edge, "ticket", Some(session.id), 60).await;

    clock.advance(Duration::from_secs(61));
    let refused = edge.refusal(&format!("vsn=2.0.0&ticket={}", ticket.secret)).await;

    assert_eq!(refused, StatusCode::FORBIDDEN);
    edge.system.stop().await;
}

#[tokio::test]
async fn whoever_is_signed_out_elsewhere_is_sent_away_and_not_let_in_again() {
    let edge = Edge::start().await;
    let session = keep(&edge, "session", None, 3_600).await;
    let ticket = keep(&edge, "ticket", Some(session.id), 60).await;
    let mut by_session = edge.connect_with(&format!("token={}", session.secret)).await;
    let mut by_ticket = edge.connect_with(&format!("ticket={}", ticket.secret)).await;
    let mut other = edge.connect(Role::Staff).await;

    change(&edge, "update platform.tokens set revoked_at = now() where id = $1", session.id).await;
    concern(&edge).await;

    assert_eq!((code(&mut by_session).await, code(&mut by_ticket).await), (4001, 4001));
    let again = edge.refusal(&format!("vsn=2.0.0&token={}", session.secret)).await;
    assert_eq!(again, StatusCode::FORBIDDEN);
    other.send(json!([null, "7", "phoenix", "heartbeat", {}])).await;
    assert_eq!(other.frame().await[1], "7");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_user_who_is_removed_is_sent_away() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    let user_id = staff(&edge).uuid();

    change(&edge, "update platform.users set deleted_at = now() where id = $1", user_id).await;
    // The process that listens makes up for what it missed while it was down.
    edge.system.system().tree().kill("root/edge/standing").expect("it is there");

    assert_eq!(code(&mut client).await, 4001);
    edge.system.stop().await;
}

#[tokio::test]
async fn a_connection_ends_with_the_time_of_its_credential_and_not_of_its_ticket() {
    let clock = Clock::manual(Clock::system().now());
    let patience = Patience { unread: Duration::from_millis(60), ..Patience::default() };
    let edge = Edge::start_through(Sockets::new().patience(patience), clock.clone()).await;
    let session = keep(&edge, "session", None, 3_600).await;
    let ticket = keep(&edge, "ticket", Some(session.id), 60).await;
    let mut client = edge.connect_with(&format!("ticket={}", ticket.secret)).await;

    clock.advance(Duration::from_mins(10));
    client.join(&topic(), json!({})).await;
    client.send(json!([null, "7", "phoenix", "heartbeat", {}])).await;
    assert_eq!(client.frame().await[1], "7");
    clock.advance(Duration::from_hours(1));

    assert_eq!(code(&mut client).await, 4001);
    edge.system.stop().await;
}

#[tokio::test]
async fn whoever_may_do_less_from_now_on_loses_the_channels_that_need_more() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    let own = format!("user:{}", staff(&edge));
    client.join(&topic(), json!({})).await;
    client.join(&own, json!({})).await;

    let statement = "update platform.users set role = 'worker' where id = $1";
    change(&edge, statement, staff(&edge).uuid()).await;
    concern(&edge).await;
    let mut frames = [client.frame().await, client.frame().await];
    frames.sort_by_key(|frame| frame[3].to_string());

    assert_eq!(frames[0], json!(["1", "1", topic(), "phx_close", {}]));
    assert_eq!((&frames[1][2], &frames[1][3]), (&json!(own), &json!("user_concerned")));
    let (_, refused) = client.join(&topic(), json!({})).await;
    assert_eq!(refused["reason"], "forbidden");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_destructive_operation_wants_a_second_factor_here_too() {
    let edge = Edge::start().await;
    let user_id = staff(&edge).uuid();
    let statement = "update platform.users set has_second_factor = true where id = $1";
    change(&edge, statement, user_id).await;
    let session = keep(&edge, "session", None, 3_600).await;
    let mut client = edge.connect_with(&format!("token={}", session.secret)).await;
    client.join(&topic(), json!({})).await;

    let (_, refused) = client.call(&topic(), "burn_crates", json!({})).await;

    let told = (&refused["reason"], &refused["code"]);
    assert_eq!(told, (&json!("forbidden"), &json!("step_up_required")), "{refused}");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_credential_that_may_not_read_a_domain_may_not_listen_to_it() {
    let edge = Edge::start().await;
    let session = keep(&edge, "session", None, 3_600).await;
    let statement = "update platform.tokens set scopes = '{other:write}' where id = $1";
    change(&edge, statement, session.id).await;
    let mut client = edge.connect_with(&format!("token={}", session.secret)).await;

    let (status, refused) = client.join(&topic(), json!({})).await;

    assert_eq!((status, &refused["reason"]), (json!("error"), &json!("forbidden")));
    edge.system.stop().await;
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_connect() {
    let sockets = Sockets::new().origins(["https://app.example".to_owned()]);
    let edge = Edge::start_through(sockets, Clock::system()).await;
    let token = edge.system.member(ACME, Role::Staff).token().to_owned();
    let from = |origin: &'static str| {
        let url = edge.url(&format!("vsn=2.0.0&token={token}"));
        let mut request = url.into_client_request().expect("the address is valid");
        request.headers_mut().insert("origin", HeaderValue::from_static(origin));
        connect_async(request)
    };

    assert!(from("https://app.example").await.is_ok());
    for other in ["https://app.example.evil", "http://app.example", "https://app.example:444"] {
        assert!(from(other).await.is_err(), "{other}");
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_empties_itself_in_batches() {
    let draining = Draining { batch: 2, every: Duration::from_millis(20) };
    let edge =
        Edge::start_through(Sockets::new().draining(move || draining), Clock::system()).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(edge.connect(Role::Staff).await);
    }

    let codes = futures_util::future::join_all(clients.iter_mut().map(code));
    let (_, codes): (_, Vec<u16>) = tokio::join!(edge.system.system().stop(), codes);

    assert_eq!(codes, [1012; 5]);
    assert_eq!(edge.sockets.open_count(), 0);
    edge.system.stop().await;
}

#[tokio::test]
async fn thousands_of_replayed_tickets_are_refused_and_harm_nobody() {
    let edge = Edge::start().await;
    let mut bystander = edge.connect(Role::Staff).await;

    for _ in 0..20 {
        let attempts =
            (0..50).map(|number| edge.refusal_of(format!("vsn=2.0.0&ticket=fin_tkt_{number}")));
        let refused: Vec<StatusCode> = futures_util::future::join_all(attempts).await;
        assert!(refused.iter().all(|status| *status == StatusCode::FORBIDDEN));
    }
    let (status, response): (Value, Value) = bystander.join(&topic(), json!({})).await;

    assert_eq!(status, "ok", "{response}");
    edge.system.stop().await;
}
