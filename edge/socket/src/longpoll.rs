//! Long-poll: the socket for clients whose network lets no WebSocket through.
//!
//! Every answer has the HTTP status 200; what it means stands in its body, as the client expects. A
//! session is a process under a supervisor of its own and lives on between requests. Its token is a
//! secret that no request can guess, and signed, so that a token of ours whose session is gone (it
//! was not polled in time, or lived on a server that has stopped) is told from one that nobody
//! made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::extract::ws::Message;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use platform::otp::{ChildSpec, DynamicSupervisor, SupervisorSpec};
use platform::{Identity, System, new_secret};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::door::{Door, MESSAGE_BYTES_MAX, parameters};
use crate::polled::{Asked, BATCH_MAX, Polled};
use crate::socket::{Client, serve};
use crate::sockets::Open;
use crate::transport::Transport;

/// The largest body of one request, in bytes: a message of the largest size, as text in base64.
pub(crate) const BODY_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// The most sessions of one server.
const SESSIONS_MAX: usize = 5_000;
/// How long a session may take to take messages over before its client is told to try again.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// The supervisor of the sessions.
const SESSIONS: &str = "polls";
/// Where it lives.
const PLACE: &str = "root/edge/polls";
/// The header in which a client may show the token of its session.
const TOKEN: &str = "x-phoenix-longpoll-token";

/// The supervisor of the sessions.
pub(crate) fn sessions() -> ChildSpec {
    let spec = SupervisorSpec::dynamic().max_children(SESSIONS_MAX);
    ChildSpec::supervisor(SESSIONS, spec).label("sessions of clients that poll")
}

/// The sessions of this server. Clones are the same.
#[derive(Clone)]
pub(crate) struct Polls {
    sessions: Arc<Mutex<Sessions>>,
    supervisor: DynamicSupervisor,
    system: System,
    /// Which server this is, as long as it lives.
    server: Uuid,
}

/// Where requests are handed in, by the token of the session.
type Sessions = HashMap<String, mpsc::Sender<Asked>>;

/// What a token stands for.
enum Found {
    /// A session that lives.
    Session(mpsc::Sender<Asked>),
    /// One that has ended, or lives elsewhere.
    Gone,
    /// Nothing: there is no token, or nobody made it.
    Nothing,
}

/// Forgets a session when dropped.
struct Registered {
    polls: Polls,
    token: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.polls.locked().remove(&self.token);
    }
}

impl Polls {
    pub(crate) fn new(system: &System) -> Self {
        Self {
            sessions: Arc::default(),
            supervisor: DynamicSupervisor::at(system.tree().clone(), PLACE),
            system: system.clone(),
            server: Uuid::now_v7(),
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().expect("no holder of this lock panics")
    }

    fn find(&self, token: Option<&str>) -> Found {
        let Some(token) = token else { return Found::Nothing };
        match self.locked().get(token) {
            Some(hand_in) => Found::Session(hand_in.clone()),
            None if self.is_ours(token) => Found::Gone,
            None => Found::Nothing,
        }
    }

    /// A new token: which server, the secret, and the signature of both.
    fn token(&self) -> String {
        let said = format!("{}.{}", self.server.simple(), new_secret("poll"));
        format!("{said}.{}", self.signature(&said))
    }

    /// Whether one of the servers of this installation made it.
    fn is_ours(&self, token: &str) -> bool {
        token.rsplit_once('.').is_some_and(|(said, signature)| {
            let expected = self.signature(said);
            let differs = expected.bytes().zip(signature.bytes()).map(|(a, b)| a ^ b);
            expected.len() == signature.len() && differs.fold(0, |all, one| all | one) == 0
        })
    }

    fn signature(&self, said: &str) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in self.system.secret().derive(&format!("long-poll session {said}")) {
            write!(text, "{byte:02x}").expect("writing to a string succeeds");
        }
        text
    }

    /// Opens a session, and gives its token.
    async fn open(&self, identity: Identity, open: Open) -> Result<String, StatusCode> {
        let (polled, hand_in) = Polled::new();
        let token = self.token();
        let registered = Registered { polls: self.clone(), token: token.clone() };
        self.locked().insert(token.clone(), hand_in);
        let client = Client { system: self.system.clone(), identity };
        let session = ChildSpec::task("poll", move |context| async move {
            let _registered = registered;
            tokio::select! {
                () = serve(Transport::LongPoll(polled), client, open) => {}
                () = context.stopping() => {}
            }
            Ok(())
        });
        match self.supervisor.start_numbered(session).await {
            Ok(_) => Ok(token),
            Err(error) => {
                tracing::warn!(%error, "no session for a client that polls");
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// What a client asks that wants to send headers of its own from another origin.
pub(crate) async fn options(headers: HeaderMap) -> Response {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut answer = StatusCode::OK.into_response();
    let said = answer.headers_mut();
    said.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    said.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("get, post, options"),
    );
    said.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    if let Some(asked) = asked {
        said.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
    }
    answer
}

/// Waits for something to say to the client, or opens a session for it.
pub(crate) async fn poll(State(door): State<Door>, uri: Uri, headers: HeaderMap) -> Response {
    if !door.may_come_from(&headers) {
        return said(json!({ "status": 403 }));
    }
    let token = token(&uri, &headers);
    let hand_in = match door.polls.find(token.as_deref()) {
        Found::Session(hand_in) => hand_in,
        // The client comes again without a token, with a credential as fresh as it can get.
        Found::Gone => return said(json!({ "status": 410, "token": null, "messages": [] })),
        Found::Nothing => return enter(&door, &uri, &headers).await,
    };
    let wait = door.sockets.patience_of_all().poll;
    match wait_for_messages(&hand_in, wait).await {
        Some(messages) if messages.is_empty() => {
            said(json!({ "status": 204, "token": token, "messages": [] }))
        }
        Some(messages) => said(json!({ "status": 200, "token": token, "messages": messages })),
        None => said(json!({ "status": 410, "token": null, "messages": [] })),
    }
}

async fn enter(door: &Door, uri: &Uri, headers: &HeaderMap) -> Response {
    let entered = match door.admit(uri, headers).await {
        Ok(identity) => {
            let open = door.sockets.enter(identity.user_id, identity.org_id);
            door.polls.open(identity, open).await
        }
        Err(refused) => Err(refused),
    };
    match entered {
        Ok(token) => said(json!({ "status": 410, "token": token, "messages": [] })),
        Err(StatusCode::FORBIDDEN) => said(json!({ "status": 403 })),
        // The only other status that the client knows; it comes back with back-off.
        Err(_) => said(json!({ "status": 500 })),
    }
}

/// What there is to say, nothing when the time is over, and `None` when the session has ended.
async fn wait_for_messages(hand_in: &mpsc::Sender<Asked>, wait: Duration) -> Option<Vec<String>> {
    let (back, mut answer) = oneshot::channel();
    hand_in.send(Asked::Poll(back)).await.ok()?;
    if let Ok(answered) = tokio::time::timeout(wait, &mut answer).await {
        return match answered {
            Ok(messages) => Some(messages),
            // Another poll of the same client took its place, or the session ended.
            Err(_) => (!hand_in.is_closed()).then(Vec::new),
        };
    }
    // What was handed over at this very moment is not to be lost.
    answer.close();
    Some(answer.try_recv().unwrap_or_default())
}

/// Takes the messages of a client over.
pub(crate) async fn post(
    State(door): State<Door>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if !door.may_come_from(&headers) {
        return said(json!({ "status": 403 }));
    }
    let Found::Session(hand_in) = door.polls.find(token(&uri, &headers).as_deref()) else {
        return said(json!({ "status": 410 }));
    };
    let messages = match body.map(|body| messages(&body)) {
        Ok(Some(messages)) => messages,
        Ok(None) => return said(json!({ "status": 400 })),
        Err(rejection) => return said(json!({ "status": rejection.status().as_u16() })),
    };
    let (back, taken) = oneshot::channel();
    let taken = async {
        hand_in.send(Asked::Post(messages, back)).await.ok()?;
        taken.await.ok()
    };
    match tokio::time::timeout(TAKEN_WITHIN, taken).await {
        Ok(Some(())) => said(json!({ "status": 200 })),
        Ok(None) if hand_in.is_closed() => said(json!({ "status": 410 })),
        Ok(None) | Err(_) => said(json!({ "status": 429 })),
    }
}

/// The token of the session that a request belongs to.
fn token(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let header = headers.get(TOKEN).and_then(|token| token.to_str().ok()).map(str::to_owned);
    header.or_else(|| {
        parameters(uri).into_iter().find(|(name, _)| name == "token").map(|(_, token)| token)
    })
}

/// The messages of a body, one in each line: an array of JSON, or the bytes of a binary push in
/// base64. `None` if it is something else, or too many.
fn messages(body: &[u8]) -> Option<Vec<Message>> {
    let body = std::str::from_utf8(body).ok()?;
    let lines = body.lines().filter(|line| !line.is_empty());
    let messages: Vec<Message> = lines.take(BATCH_MAX + 1).map(message).collect::<Option<_>>()?;
    (!messages.is_empty() && messages.len() <= BATCH_MAX).then_some(messages)
}

fn message(line: &str) -> Option<Message> {
    if line.starts_with('[') {
        return Some(Message::text(line));
    }
    STANDARD.decode(line).ok().map(Message::binary)
}

fn said(body: Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (StatusCode::OK, headers, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_message_in_each_line() {
        let body = "[\"1\",\"1\",\"t\",\"phx_join\",{}]\nAAEB\n";

        let read = messages(body.as_bytes());

        let text = Message::text(r#"["1","1","t","phx_join",{}]"#);
        assert_eq!(read, Some(vec![text, Message::binary(vec![0, 1, 1])]));
    }

    #[test]
    fn a_body_that_is_none_is_refused() {
        let many = "[]\n".repeat(BATCH_MAX + 1);
        for body in ["".as_bytes(), b"\n", b"\xff", b"not base64!", b"{}", many.as_bytes()] {
            assert_eq!(messages(body), None, "{}", String::from_utf8_lossy(body));
        }
    }
}
