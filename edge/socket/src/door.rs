//! The door: who may connect, decided before the connection becomes a WebSocket.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use platform::{Identity, System};

use crate::credential::{
    PROTOCOL, is_same_origin, speaks_v2, token_of_parameters, token_of_protocols,
};
use crate::socket::{Client, serve};
use crate::sockets::Sockets;

/// The largest message of a client, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The largest message that is read to its end, to be refused in words; a larger one is cut off.
const READ_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;
/// The read buffer of a connection. The usual 128 KiB are filled with zeros and so cost real
/// memory, twenty times as much as all the rest of an idle connection.
const READ_BUFFER_BYTES: usize = 4096;
/// Bounds what one connection can hold of written but unsent bytes.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

#[derive(Clone)]
struct Door {
    system: System,
    sockets: Sockets,
}

/// The route of the socket, at `/socket/websocket`. Its connections are counted among `sockets`,
/// whose [child](Sockets::child) tells them when the server stops.
pub fn router(system: System, sockets: &Sockets) -> Router {
    let door = Door { system, sockets: sockets.clone() };
    Router::new().route("/socket/websocket", get(connect)).with_state(door)
}

async fn connect(
    State(door): State<Door>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let identity = match admit(&door.system, &uri, &headers).await {
        Ok(identity) => identity,
        Err(status) => return status.into_response(),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let client = Arc::new(Client { system: door.system, identity });
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(READ_BYTES_MAX)
        .max_frame_size(READ_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .on_upgrade(move |socket| serve(socket, client, door.sockets.enter()))
}

/// Clients retry a refused connection for ever, with back-off; so every refusal is the same short
/// one, before the upgrade.
async fn admit(system: &System, uri: &Uri, headers: &HeaderMap) -> Result<Identity, StatusCode> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !is_same_origin(text(header::ORIGIN), text(header::HOST)) {
        return Err(StatusCode::FORBIDDEN);
    }
    let parameters = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|Query(parameters)| parameters)
        .map_err(|_| StatusCode::FORBIDDEN)?;
    if !speaks_v2(&parameters) {
        return Err(StatusCode::FORBIDDEN);
    }
    let token = text(header::SEC_WEBSOCKET_PROTOCOL)
        .and_then(token_of_protocols)
        .or_else(|| token_of_parameters(&parameters).map(str::to_owned))
        .ok_or(StatusCode::FORBIDDEN)?;
    match system.authenticate(&token).await {
        Ok(Some(identity)) => Ok(identity),
        Ok(None) => Err(StatusCode::FORBIDDEN),
        Err(error) => {
            tracing::warn!(%error, "a socket could not be admitted");
            Err(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}
