//! The secret of an installation, and the keys derived from it.
//!
//! All nodes of an installation share it. Each purpose has a key of its own, so that what is signed
//! for one can never be taken for another.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// 32 bytes that nobody else knows. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterSecret([u8; 32]);

impl MasterSecret {
    /// The secret with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new one, as good as the operating system's random bytes.
    ///
    /// # Panics
    /// When the operating system has none, in which case nothing is safe.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system has random bytes");
        Self(bytes)
    }

    /// The bytes, for whoever keeps them in a file or passes them to a process of ours.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one purpose, for example `rest cursors`. The same purpose has the same key on
    /// every node and after every restart.
    ///
    /// # Panics
    /// Never: a key of 32 bytes fits.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length fits");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Encrypts `plain` so that only this installation reads it, for the same purpose, and only as
    /// what belongs to `about`, for example the id of a user: what is sealed for one is no good for
    /// another. Two sealings of the same text differ.
    ///
    /// # Panics
    /// When the operating system has no random bytes, in which case nothing is safe.
    #[must_use]
    pub fn seal(&self, purpose: &str, about: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the operating system has random bytes");
        let payload = Payload { msg: plain, aad: about };
        let sealed = self
            .cipher(purpose)
            .encrypt(&XNonce::from(nonce), payload)
            .expect("what fits into memory is shorter than the cipher's limit");
        [&[SEALED_AS], nonce.as_slice(), &sealed].concat()
    }

    /// Decrypts what [`MasterSecret::seal`] made for the same purpose and about the same.
    ///
    /// # Errors
    /// [`NotSealedHere`] for anything else.
    pub fn open(
        &self,
        purpose: &str,
        about: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, NotSealedHere> {
        let sealed = sealed.strip_prefix(&[SEALED_AS]).ok_or(NotSealedHere)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(NotSealedHere)?;
        let payload = Payload { msg: sealed, aad: about };
        let cipher = self.cipher(purpose);
        cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| NotSealedHere)
    }

    fn cipher(&self, purpose: &str) -> XChaCha20Poly1305 {
        use chacha20poly1305::KeyInit as _;
        let key = self.derive(&format!("sealed: {purpose}"));
        XChaCha20Poly1305::new(&Key::from(key))
    }
}

/// The first byte of everything sealed, so that another cipher can follow this one.
const SEALED_AS: u8 = 1;
/// The random bytes of each sealing; so many that two never meet by chance.
const NONCE_BYTES: usize = 24;

/// The bytes were sealed by another installation, for another purpose or about something else, or
/// have been changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this was not sealed here, or not for this, or it has been changed")]
pub struct NotSealedHere;

impl fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_has_a_key_of_its_own_and_keeps_it() {
        let secret = MasterSecret::new([7; 32]);

        assert_eq!(secret.derive("cursors"), MasterSecret::new([7; 32]).derive("cursors"));
        assert_ne!(secret.derive("cursors"), secret.derive("sessions"));
        assert_ne!(secret.derive("cursors"), MasterSecret::new([8; 32]).derive("cursors"));
        assert_eq!(format!("{secret:?}"), "MasterSecret(…)");
    }

    #[test]
    fn what_is_sealed_opens_here_for_the_same_purpose_and_about_the_same_only() {
        let secret = MasterSecret::new([7; 32]);
        let sealed = secret.seal("factors", b"mia", b"plain");

        let other = MasterSecret::new([8; 32]);
        let mut changed = sealed.clone();
        changed[30] ^= 1;

        assert_eq!(secret.open("factors", b"mia", &sealed), Ok(b"plain".to_vec()));
        assert_eq!(other.open("factors", b"mia", &sealed), Err(NotSealedHere));
        assert_eq!(secret.open("letters", b"mia", &sealed), Err(NotSealedHere));
        assert_eq!(secret.open("factors", b"tom", &sealed), Err(NotSealedHere));
        assert_eq!(secret.open("factors", b"mia", &changed), Err(NotSealedHere));
        assert_eq!(secret.open("factors", b"mia", &sealed[..9]), Err(NotSealedHere));
        assert_ne!(secret.seal("factors", b"mia", b"plain"), sealed);
    }
}
