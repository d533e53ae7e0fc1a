//! The secret of an installation, and the keys derived from it.
//!
//! All nodes of an installation share it. Each purpose has a key of its own, so that what is signed
//! for one can never be taken for another.

use std::fmt;

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
}

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
}
