//! The words between the platform and a cell, and how they are written: a length of four bytes, the
//! most significant first, and so many bytes of JSON.

use std::io;

use kernel::Scope;
use otp::Node;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::answer::Answered;
use crate::profile::Profile;
use crate::public_url::PublicUrl;
use crate::relying_party::RelyingParty;

/// A longer word is a mistake of one of us, and is not read into memory.
const WORD_BYTES_MAX: usize = 64 << 20;

/// What the platform says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToCell {
    /// First of all.
    Hello(Hello),
    /// Somebody calls an operation.
    Call(Call),
    /// The log is sealed up to here.
    Head(i64),
    /// The domain's queue may have work.
    Work,
    /// An operator kills the process at this path.
    Kill(String),
}

/// What a cell must know before it can begin. It holds a password, so it is said on the socket and
/// stands in no environment and on no command line.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Connects as the application.
    pub(crate) database_url: String,
    /// The name of the platform's node.
    pub(crate) node: String,
    /// The most database connections the cell opens.
    pub(crate) connections_max: u32,
    /// Which rules of security hold.
    pub(crate) profile: Profile,
    /// The secret that all nodes share.
    pub(crate) secret: [u8; 32],
    /// Where the installation is reached.
    pub(crate) address: PublicUrl,
    /// Whom passkeys are made for.
    pub(crate) passkeys: Option<RelyingParty>,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hello").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A call of one of the domain's operations.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    /// By which the answer is known.
    pub(super) id: u64,
    pub(super) scope: Scope,
    pub(super) operation: String,
    pub(super) input: Value,
    pub(super) key: Option<String>,
}

/// What a cell says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromCell {
    /// The domain is up.
    Ready,
    /// What came of a call.
    Answer(u64, Answered),
    /// Events were committed; the sealer is to look.
    Committed,
    /// What the domain's subtree looks like now.
    Tree(Box<Node>),
}

/// Writes one word.
pub(super) async fn say<W: AsyncWrite + Unpin>(
    writer: &mut W,
    word: &impl Serialize,
) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, word)?;
    let length = bytes.len() - 4;
    if length > WORD_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a word is too long to be said"));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    writer.write_all(&bytes).await?;
    writer.flush().await
}

/// Reads one word; `None` when the other side has ended between two.
pub(super) async fn hear<T: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    };
    let length = u32::from_be_bytes(length) as usize;
    if length > WORD_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a word is too long to be heard"));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    serde_json::from_slice(&bytes).map(Some).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_is_heard_word_by_word_until_the_end() {
        let (mut ours, mut theirs) = tokio::io::duplex(16);
        let saying = async move {
            for position in [1, i64::MAX] {
                say(&mut ours, &ToCell::Head(position)).await.expect("somebody listens");
            }
        };
        let hearing = async move {
            let mut heard = Vec::new();
            while let Some(word) = hear(&mut theirs).await.expect("these are words") {
                let ToCell::Head(position) = word else { panic!("{word:?}") };
                heard.push(position);
            }
            heard
        };

        let ((), heard) = tokio::join!(saying, hearing);

        assert_eq!(heard, [1, i64::MAX]);
    }

    #[tokio::test]
    async fn a_word_of_absurd_length_is_refused_before_it_is_read() {
        let mut absurd = &[0xff_u8; 8][..];

        let error = hear::<ToCell>(&mut absurd).await.expect_err("it is too long");

        assert_eq!(error.to_string(), "a word is too long to be heard");
    }
}
