//! Checkpoints: what all chains were at one position, signed.
//!
//! Whoever owns the database can rewrite a chain from some event to its end, every link computed
//! anew, and the chain alone would hold. A checkpoint that was signed before, and lies where the
//! database's owner cannot reach it, says otherwise. From a checkpoint one event can also be proven
//! to somebody who may see nothing else.
//!
//! A [child](keeper::child) of the store makes one at intervals and [exports] it; the byte forms
//! are those of docs/event-format.md.
//!
//! **Invariant:** a checkpoint is never signed over a log that does not continue the one before.
//!
//! [exports]: export

mod directory;
pub mod export;
pub mod keeper;
mod key;
mod make;
mod proof;
mod table;

use ed25519_dalek::{Signature, VerifyingKey};
use kernel::merkle::{self, Frontier};
use kernel::{Digest, Link, OrgId, Position, canonical_bytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use directory::Directory;
pub use export::{CheckpointStore, ExportError};
pub use key::{Key, KeyError, PublicKey};
pub use make::{CheckpointError, make};
pub use proof::{Proof, ProofError, prove};
pub use table::{Listed, covering, file, list};

/// Names the form of the body, so that nothing else can be passed off as one.
const FORM: &str = "finnest.checkpoint.v1";

/// Where one organisation's chain ends, and the root over all its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// Whose chain.
    pub org_id: OrgId,
    /// The number of its last event.
    pub org_sequence: i64,
    /// The link of that event.
    #[serde(with = "hex")]
    #[schemars(with = "String")]
    pub link: Link,
    /// The root of the tree over all its links.
    #[serde(with = "hex")]
    #[schemars(with = "String")]
    pub root: Digest,
}

impl Head {
    /// The leaf of this head in the tree of heads.
    pub(crate) fn leaf(&self) -> Digest {
        let mut data = [0; 88];
        data[..16].copy_from_slice(self.org_id.uuid().as_bytes());
        data[16..24].copy_from_slice(&self.org_sequence.to_be_bytes());
        data[24..56].copy_from_slice(self.link.as_bytes());
        data[56..].copy_from_slice(self.root.as_bytes());
        merkle::leaf(&data)
    }
}

/// The root over `heads`, which are sorted by organisation.
pub(crate) fn root_of<'a>(heads: impl IntoIterator<Item = &'a Head>) -> Digest {
    let mut tree = Frontier::default();
    for head in heads {
        tree.push(head.leaf());
    }
    tree.root()
}

/// What a checkpoint states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// When it was made, in microseconds since 1970.
    pub created_at_us: i64,
    /// The name of this form.
    pub format: String,
    /// Its number, from 1.
    pub number: i64,
    /// How many organisations have events.
    pub organisations: u64,
    /// The last position covered.
    pub position: Position,
    /// The digest of the body before; zeros for the first.
    #[serde(with = "hex")]
    pub previous: Digest,
    /// The root over all heads.
    #[serde(with = "hex")]
    pub root: Digest,
}

impl Body {
    fn text(&self) -> String {
        let bytes = canonical_bytes(&json!(self)).expect("a body holds integers and text only");
        String::from_utf8(bytes).expect("canonical JSON is UTF-8")
    }
}

/// A body with its signature, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signed {
    /// What is stated, in canonical JSON: the bytes that are signed.
    pub body: String,
    /// Which key signed it. A hint: trust only a key that came another way.
    #[schemars(with = "String")]
    pub public_key: PublicKey,
    /// The signature, 128 hexadecimal digits.
    pub signature: String,
}

/// A checkpoint as it lies in a file: signed, with the heads it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checkpoint {
    /// The statement.
    #[serde(flatten)]
    pub signed: Signed,
    /// All heads, sorted by organisation.
    pub heads: Vec<Head>,
}

/// A checkpoint cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The signature is not one of the expected key.
    #[error("it is not signed with the key {expected}; the file names the key {named}")]
    Signature {
        /// The key that was to be used.
        expected: PublicKey,
        /// The key the file names.
        named: PublicKey,
    },
    /// What is signed is not of the form known here.
    #[error("what is signed is no checkpoint of the form {FORM}")]
    Form,
    /// The heads are not those that were signed.
    #[error("its heads are not those that were signed")]
    Heads,
}

impl Signed {
    /// What is stated, once the signature is found to be one of `key`.
    ///
    /// # Errors
    /// [`Untrusted`].
    pub fn body(&self, key: &PublicKey) -> Result<Body, Untrusted> {
        let refuse = || Untrusted::Signature { expected: *key, named: self.public_key };
        let bytes = hex::decode::<64>(&self.signature).ok_or_else(refuse)?;
        VerifyingKey::from_bytes(key.as_bytes())
            .and_then(|key| key.verify_strict(self.body.as_bytes(), &Signature::from_bytes(&bytes)))
            .map_err(|_| refuse())?;
        let body: Body = serde_json::from_str(&self.body).map_err(|_| Untrusted::Form)?;
        if body.format == FORM { Ok(body) } else { Err(Untrusted::Form) }
    }
}

impl Checkpoint {
    /// What is stated, once the signature and the heads are found to be as they should.
    ///
    /// # Errors
    /// [`Untrusted`].
    pub fn body(&self, key: &PublicKey) -> Result<Body, Untrusted> {
        let body = self.signed.body(key)?;
        let is_sorted = self.heads.is_sorted_by(|one, next| one.org_id < next.org_id);
        let is_signed =
            body.organisations == self.heads.len() as u64 && root_of(&self.heads) == body.root;
        if is_sorted && is_signed { Ok(body) } else { Err(Untrusted::Heads) }
    }

    /// The name of the file this checkpoint is kept in.
    #[must_use]
    pub fn file_name(number: i64) -> String {
        format!("checkpoint-{number:012}.json")
    }

    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{}\n", json!(self)).into_bytes()
    }
}

/// Digests and keys as hexadecimal digits.
pub(crate) mod hex {
    use kernel::Digest;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn encode(bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
    }

    pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
        let digits = text.as_bytes();
        if digits.len() != N * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; N];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(bytes)
    }

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
