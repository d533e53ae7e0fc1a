//! The door: who may connect, decided before there is a connection.

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{DefaultBodyLimit, Query, State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use platform::otp::ChildSpec;
use platform::{Identity, System};

use crate::credential::{PROTOCOL, Shown, is_same_origin, speaks_v2, token_of_protocols};
use crate::longpoll::{self, BODY_BYTES_MAX, Polls};
use crate::socket::{Client, serve};
use crate::sockets::Sockets;
use crate::transport::Transport;
use crate::wire::Wire;
use crate::{farewells, standing};

/// The largest message of a client, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The largest message that is read to its end, to be refused in words; a larger one is cut off.
const READ_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;
/// The read buffer of a connection. The usual 128 KiB are filled with zeros and so cost real
/// memory, twenty times as much as all the rest of an idle connection.
const READ_BUFFER_BYTES: usize = 4096;
/// Frames that wait are written together, up to so much at once. The memory is taken only by who
/// has them.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// Bounds what one connection can hold of written but unsent bytes.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// The header in which whoever polls shows a credential.
const POLLED_CREDENTIAL: &str = "x-phoenix-authtoken";

#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) system: System,
    pub(crate) sockets: Sockets,
    pub(crate) polls: Polls,
}

/// The routes of the socket, `/socket/websocket` and `/socket/longpoll`. Its connections are
/// counted among `sockets`, whose [child](Sockets::child) tells them when the server stops.
pub fn router(system: System, sockets: &Sockets) -> Router {
    let polls = Polls::new(&system);
    let door = Door { system, sockets: sockets.clone(), polls };
    let polling = get(longpoll::poll).post(longpoll::post).options(longpoll::options);
    Router::new()
        .route("/socket/websocket", get(connect))
        .route("/socket/longpoll", polling.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)))
        .with_state(door)
}

/// The processes of the sockets, to be stopped after whoever accepts connections and before the
/// connections.
#[must_use]
pub fn children(system: &System, sockets: &Sockets) -> Vec<ChildSpec> {
    let standing = standing::child(system, sockets);
    let farewells = farewells::child(system, sockets);
    let told = standing.into_iter().chain([farewells, sockets.child()]);
    [longpoll::sessions()].into_iter().chain(told).collect()
}

async fn connect(
    State(door): State<Door>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let identity = match door.admit(&uri, &headers).await {
        Ok(identity) => identity,
        Err(status) => return status.into_response(),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let open = door.sockets.enter(identity.user_id, identity.org_id);
    let client = Client { system: door.system, identity };
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(READ_BYTES_MAX)
        .max_frame_size(READ_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .on_upgrade(move |socket| serve(Transport::WebSocket(Wire::new(socket)), client, open))
}

impl Door {
    /// Who comes. Clients retry a refused connection for ever, with back-off; so every refusal is
    /// the same short one.
    pub(crate) async fn admit(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Identity, StatusCode> {
        if !self.may_come_from(headers) {
            return Err(StatusCode::FORBIDDEN);
        }
        let parameters = parameters(uri);
        if !speaks_v2(&parameters) {
            return Err(StatusCode::FORBIDDEN);
        }
        let shown = text(headers, header::SEC_WEBSOCKET_PROTOCOL)
            .and_then(token_of_protocols)
            .or_else(|| text(headers, POLLED_CREDENTIAL).map(str::to_owned))
            .and_then(Shown::in_header)
            .or_else(|| Shown::in_parameters(&parameters))
            .ok_or(StatusCode::FORBIDDEN)?;
        let identity = match &shown {
            Shown::Token(token) => self.system.authenticate(token).await,
            Shown::Ticket(ticket) => self.system.redeem_ticket(ticket).await,
        };
        match identity {
            Ok(Some(identity)) => Ok(identity),
            Ok(None) => Err(StatusCode::FORBIDDEN),
            Err(error) => {
                tracing::warn!(%error, "a socket could not be admitted");
                Err(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    /// Whether the page that connects, if it is one, may.
    pub(crate) fn may_come_from(&self, headers: &HeaderMap) -> bool {
        let origin = text(headers, header::ORIGIN);
        is_same_origin(origin, text(headers, header::HOST))
            || origin.is_some_and(|origin| self.sockets.may_come_from(origin))
    }
}

/// The parameters of an address; none when they cannot be read.
pub(crate) fn parameters(uri: &Uri) -> Vec<(String, String)> {
    Query::try_from_uri(uri).map(|Query(parameters)| parameters).unwrap_or_default()
}

fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
