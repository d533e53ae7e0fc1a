//! The signed session: what a page may say about its viewer when it connects.
//!
//! The page carries it as an attribute and sends it back on join. It holds nothing secret; the
//! signature makes sure that a viewer cannot join as somebody else, on another view, or after the
//! session has run out. The CSRF token in it must come back a second way, so that a foreign page
//! that somehow holds a session still cannot join with it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What a session claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The name of the view that may be joined.
    pub view: String,
    /// Who views.
    pub user: String,
    /// The organisation the viewer belongs to.
    pub org: String,
    /// The token that the client must send beside the session.
    pub csrf: String,
    /// When the session ends, in seconds since 1970.
    pub expires_at: i64,
}

/// Why a session is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The text was not signed by this platform.
    #[error("the session is not signed by this platform")]
    Forged,
    /// The session has run out.
    #[error("the session has run out")]
    Expired,
}

/// Signs and verifies small values; one key per platform.
#[derive(Clone)]
pub struct Signer {
    secret: [u8; 32],
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signer")
    }
}

impl Signer {
    /// A signer with the platform's key.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// Signs `value` for one `purpose`, so that what is signed for one is worthless for another.
    ///
    /// # Panics
    ///
    /// Never for values that serialise to JSON.
    pub fn sign(&self, purpose: &str, value: &impl Serialize) -> String {
        let json = serde_json::to_vec(value).expect("a signed value is plain data");
        let body = URL_SAFE_NO_PAD.encode(json);
        let tag = URL_SAFE_NO_PAD.encode(self.mac(purpose, &body).finalize().into_bytes());
        format!("{body}.{tag}")
    }

    /// Reads a value that was signed for `purpose`.
    pub fn verify<T: DeserializeOwned>(
        &self,
        purpose: &str,
        text: &str,
    ) -> Result<T, SessionError> {
        let (body, tag) = text.split_once('.').ok_or(SessionError::Forged)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| SessionError::Forged)?;
        self.mac(purpose, body).verify_slice(&tag).map_err(|_| SessionError::Forged)?;
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|_| SessionError::Forged)?;
        serde_json::from_slice(&json).map_err(|_| SessionError::Forged)
    }

    /// Signs the session of a page.
    #[must_use]
    pub fn sign_session(&self, claims: &Claims) -> String {
        self.sign("live session", claims)
    }

    /// Reads the session of a page at the instant `now`, in seconds since 1970.
    pub fn verify_session(&self, text: &str, now: i64) -> Result<Claims, SessionError> {
        let claims: Claims = self.verify("live session", text)?;
        if claims.expires_at <= now {
            return Err(SessionError::Expired);
        }
        Ok(claims)
    }

    fn mac(&self, purpose: &str, body: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(body.as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            view: "tree".to_owned(),
            user: "u1".to_owned(),
            org: "o1".to_owned(),
            csrf: "c".to_owned(),
            expires_at: 100,
        }
    }

    #[test]
    fn a_signed_session_is_read_back_until_it_runs_out() {
        let signer = Signer::new([7; 32]);

        let session = signer.sign_session(&claims());

        assert_eq!(signer.verify_session(&session, 99), Ok(claims()));
        assert_eq!(signer.verify_session(&session, 100), Err(SessionError::Expired));
    }

    #[test]
    fn a_changed_session_or_another_key_is_refused() {
        let signer = Signer::new([7; 32]);
        let session = signer.sign_session(&claims());
        let elevated = Claims { user: "root".to_owned(), ..claims() };
        let (_, tag) = session.split_once('.').unwrap();
        let forged = signer.sign_session(&elevated).split_once('.').unwrap().0.to_owned();

        for text in [format!("{forged}.{tag}"), "..".to_owned(), String::new()] {
            assert_eq!(signer.verify_session(&text, 0), Err(SessionError::Forged), "{text}");
        }
        let other = Signer::new([8; 32]);
        assert_eq!(other.verify_session(&session, 0), Err(SessionError::Forged));
    }

    #[test]
    fn what_is_signed_for_one_purpose_is_worthless_for_another() {
        let signer = Signer::new([7; 32]);

        let text = signer.sign("cookie", &claims());

        assert_eq!(signer.verify_session(&text, 0), Err(SessionError::Forged));
    }
}
