//! The key that signs checkpoints: 32 random bytes in a file only its owner may read.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Body, Signed, hex};

/// Read and write for the owner, nothing for anybody else.
const OWNER_ONLY: u32 = 0o600;

/// Signs checkpoints. Never printed.
#[derive(Clone)]
pub struct Key(SigningKey);

/// There is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("the key of checkpoints in {file} cannot be read or made")]
    File {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{file} is no key of checkpoints: it has {bytes} bytes, but a key has 32")]
    Length {
        /// Which file.
        file: PathBuf,
        /// How many bytes it has.
        bytes: usize,
    },
    /// Others may read the file.
    #[error(
        "{file} may be read by others than its owner, so that anybody could sign; after `chmod \
         600` make a new key, unless you know that nobody has read it"
    )]
    Readable {
        /// Which file.
        file: PathBuf,
    },
}

impl Key {
    /// The key whose seed is `seed`.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads the key in `file`, or makes a new one there if there is no such file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_make(file: &Path) -> Result<Self, KeyError> {
        let fail = |source| KeyError::File { file: file.to_owned(), source };
        match fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(file).map_err(fail),
            Err(error) => Err(fail(error)),
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                Err(KeyError::Readable { file: file.to_owned() })
            }
            Ok(_) => {
                let bytes = fs::read(file).map_err(fail)?;
                let seed = bytes
                    .as_slice()
                    .try_into()
                    .map_err(|_| KeyError::Length { file: file.to_owned(), bytes: bytes.len() })?;
                Ok(Self::from_seed(seed))
            }
        }
    }

    fn make(file: &Path) -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let mut made =
            OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(file)?;
        made.write_all(&seed)?;
        made.sync_all()?;
        Ok(Self::from_seed(&seed))
    }

    /// The key others check signatures with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, body: &Body) -> Signed {
        let body = body.text();
        let signature = hex::encode(&self.0.sign(body.as_bytes()).to_bytes());
        Signed { body, public_key: self.public(), signature }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Key").field(&self.public()).finish()
    }
}

/// Checks signatures; printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Text is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no public key: 64 hexadecimal digits are expected")]
pub struct ParsePublicKeyError(String);

impl FromStr for PublicKey {
    type Err = ParsePublicKeyError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self).ok_or_else(|| ParsePublicKeyError(text.to_owned()))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
