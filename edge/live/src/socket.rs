//! The transport: one WebSocket, one task, one view.
//!
//! Whatever happens on the platform, a viewer receives at most [`FRAMES_PER_SECOND_MAX`] frames a
//! second, because a change only marks the page as outdated and the frame is rendered when it is
//! due. Nothing queues for a viewer who does not read: the write buffer is small and a full one
//! blocks this task alone, and after [`SILENCE_MAX`] without a heartbeat the connection ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use tokio::time::Instant;

use crate::FRAMES_PER_SECOND_MAX;
use crate::channel::{Channel, MountView};
use crate::frame::Frame;
use crate::session::Signer;

/// The default of 128 KiB is zeroed, hence resident, for every idle viewer.
const READ_BUFFER_BYTES: usize = 4_096;

/// Without a limit a viewer who stops reading would grow this without end.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// No event of a page is larger.
const MESSAGE_BYTES_MAX: usize = 64 * 1_024;

/// The client beats every 30 s.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// A person cannot do more; a script that tries is cut off.
const MESSAGES_PER_SECOND_MAX: u32 = 50;

const FRAME_INTERVAL: Duration = Duration::from_millis(1_000 / FRAMES_PER_SECOND_MAX as u64);

/// Close code for a client that breaks a rule; anything but 1000 makes it connect again.
const POLICY_VIOLATION: u16 = 1_008;

/// Where pages connect.
pub struct Endpoint<C> {
    signer: Signer,
    mount: MountView<C>,
    now: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl<C> Clone for Endpoint<C> {
    fn clone(&self) -> Self {
        Self {
            signer: self.signer.clone(),
            mount: Arc::clone(&self.mount),
            now: Arc::clone(&self.now),
        }
    }
}

impl<C> fmt::Debug for Endpoint<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Endpoint")
    }
}

impl<C: Clone + Send + 'static> Endpoint<C> {
    /// An endpoint; `now` tells the seconds since 1970.
    pub fn new(
        signer: Signer,
        mount: MountView<C>,
        now: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Self {
        Self { signer, mount, now: Arc::new(now) }
    }

    /// Accepts a connection of a viewer, of whom the caller knows `context`.
    pub fn upgrade(self, upgrade: WebSocketUpgrade, context: C) -> Response {
        upgrade
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(MESSAGE_BYTES_MAX)
            .max_frame_size(MESSAGE_BYTES_MAX)
            .on_upgrade(move |socket| async move {
                let channel = Channel::new(context, self.signer, self.mount);
                if let Err(error) = converse(socket, channel, self.now.as_ref()).await {
                    tracing::debug!(%error, "a viewer's connection broke");
                }
            })
    }
}

/// Whether the request comes from a page of this host. Browsers let any page open a WebSocket
/// and send cookies along, so this check is what keeps strangers' pages out.
#[must_use]
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, authority)| authority == host)
        }
        (Some(_), None) => false,
    }
}

async fn converse<C: Clone + Send>(
    mut socket: WebSocket,
    mut channel: Channel<C>,
    now: &(dyn Fn() -> i64 + Send + Sync),
) -> Result<(), axum::Error> {
    let mut is_outdated = false;
    let mut frame_due = Instant::now();
    let mut silence_ends = Instant::now() + SILENCE_MAX;
    let mut allowance = Allowance::new(Instant::now());
    loop {
        tokio::select! {
            message = socket.recv() => {
                let Some(message) = message.transpose()? else { return Ok(()) };
                silence_ends = Instant::now() + SILENCE_MAX;
                if !allowance.take(Instant::now()) {
                    return close(socket, "too many messages").await;
                }
                let Message::Text(text) = message else { continue };
                let Ok(frame) = Frame::parse(text.as_str()) else {
                    return close(socket, "malformed frame").await;
                };
                for answer in channel.handle(frame, now()).await {
                    socket.send(Message::Text(answer.encode().into())).await?;
                }
            }
            () = channel.changed(), if !is_outdated => is_outdated = true,
            () = tokio::time::sleep_until(frame_due), if is_outdated => {
                is_outdated = false;
                frame_due = Instant::now() + FRAME_INTERVAL;
                if let Some(frame) = channel.refresh() {
                    socket.send(Message::Text(frame.encode().into())).await?;
                }
            }
            () = tokio::time::sleep_until(silence_ends) => return Ok(()),
        }
    }
}

async fn close(mut socket: WebSocket, reason: &'static str) -> Result<(), axum::Error> {
    let frame = CloseFrame { code: POLICY_VIOLATION, reason: reason.into() };
    socket.send(Message::Close(Some(frame))).await
}

/// How many messages a viewer may still send in the current second.
#[derive(Debug)]
struct Allowance {
    second_began: Instant,
    left: u32,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { second_began: now, left: MESSAGES_PER_SECOND_MAX }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second_began) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_pages_of_this_host_may_connect() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("console.test:4000"));
        assert!(is_same_origin(&headers));

        for (origin, expected) in [
            ("http://console.test:4000", true),
            ("http://console.test", false),
            ("http://evil.test", false),
            ("null", false),
        ] {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));

            assert_eq!(is_same_origin(&headers), expected, "{origin}");
        }
    }

    #[test]
    fn a_flood_of_messages_runs_out_of_allowance_until_the_next_second() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);

        let taken = (0..100).filter(|_| allowance.take(start)).count();

        assert_eq!(taken, 49);
        assert!(allowance.take(start + Duration::from_secs(1)));
    }
}
