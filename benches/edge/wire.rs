//! A WebSocket client that does no more than it must: the load must not be the bottleneck.

use std::io;
use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Text, of which nothing is read but its length.
    Text,
    /// The code of a close.
    Close(u16),
    /// Something else.
    Other,
}

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    begin: usize,
}

impl Wire {
    /// Connects and upgrades.
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /socket/websocket?vsn=2.0.0&token={token} HTTP/1.1\r\nhost: {address}\r\n\
             connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut wire = Self { stream, buffer: Vec::new(), begin: 0 };
        loop {
            if let Some(end) = find(&wire.buffer, b"\r\n\r\n") {
                if !wire.buffer.starts_with(b"HTTP/1.1 101") {
                    return Err(io::Error::other("the server refuses to upgrade"));
                }
                wire.begin = end + 4;
                return Ok(wire);
            }
            wire.fill().await?;
        }
    }

    /// Joins a topic, and waits for the answer.
    pub(crate) async fn join(&mut self, topic: &str) -> io::Result<()> {
        self.send(&json!(["1", "1", topic, "phx_join", {}]).to_string()).await?;
        while self.next().await? != Frame::Text {}
        Ok(())
    }

    /// Sends text, masked with nothing.
    pub(crate) async fn send(&mut self, text: &str) -> io::Result<()> {
        let mut frame = vec![0x80 | TEXT];
        match u8::try_from(text.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 0x7e);
                let length = u16::try_from(text.len()).map_err(io::Error::other)?;
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.stream.write_all(&frame).await
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> io::Result<Frame> {
        loop {
            if let Some((opcode, payload, end)) = parse(&self.buffer[self.begin..]) {
                let code = &self.buffer[self.begin + payload..self.begin + end];
                let frame = match (opcode, code) {
                    (TEXT, _) => Frame::Text,
                    (CLOSE, [high, low, ..]) => Frame::Close(u16::from_be_bytes([*high, *low])),
                    _ => Frame::Other,
                };
                self.begin += end;
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        self.buffer.reserve(2_048);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// Operation, start of the payload and end of a frame, if all of it is there. Servers do not mask.
fn parse(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (payload, length) = match bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (10, usize::try_from(length).ok()?)
        }
        length => (2, usize::from(length)),
    };
    let end = payload + length;
    (bytes.len() >= end).then_some((bytes[0] & 0x0f, payload, end))
}

/// Where some bytes are.
pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
