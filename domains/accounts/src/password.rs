//! Passwords: what makes a good one, how it is kept, how it is compared.
//!
//! Only an Argon2id hash is stored. Comparing costs the same whether there is a hash or not, so
//! that the time of an answer does not tell which addresses are known.

use std::borrow::Cow;
use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use platform::{Error, Reason, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A password as somebody typed it. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

/// The fewest characters of a password.
pub(crate) const LENGTH_MIN: usize = 12;
/// The most characters of a password; hashing more only costs time.
pub(crate) const LENGTH_MAX: usize = 128;

/// Passwords that are long enough and tried first by everybody.
const COMMON: &[&str] = &[
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456789012345",
    "1234567890123456",
    "password1234",
    "password12345",
    "password123456",
    "password123!",
    "password1234!",
    "passwordpassword",
    "passw0rd1234",
    "p@ssw0rd1234",
    "p@ssword1234",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiop[]",
    "qwerty123456",
    "qwerty1234567",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "q1w2e3r4t5y6",
    "zaq12wsxcde3",
    "abcdefghijkl",
    "abcdefghijklm",
    "abc123456789",
    "a12345678901",
    "iloveyou1234",
    "letmein12345",
    "welcome12345",
    "welcome123456",
    "administrator",
    "administrator1",
    "admin1234567",
    "admin12345678",
    "changeme1234",
    "changeme12345",
    "football1234",
    "baseball1234",
    "sunshine1234",
    "princess1234",
    "superman1234",
    "trustno11234",
    "correcthorsebatterystaple",
];

impl Password {
    /// The password of this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Refuses what is too easily guessed for a user of this address and name.
    pub(crate) fn check(&self, email: &str, name: &str) -> Result<(), Refusal> {
        let length = self.0.chars().count();
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
            return Err(Refusal::Length);
        }
        let plain = |text: &str| -> String {
            text.chars().filter(|each| !each.is_whitespace()).flat_map(char::to_lowercase).collect()
        };
        let password = plain(&self.0);
        let own = [email, email.split('@').next().unwrap_or_default(), name];
        if own.into_iter().any(|own| plain(own) == password) {
            return Err(Refusal::OwnName);
        }
        let first = password.chars().next();
        let is_one_character = password.chars().all(|each| Some(each) == first);
        if is_one_character || COMMON.contains(&password.as_str()) {
            return Err(Refusal::Common);
        }
        Ok(())
    }

    /// What is stored of it. Takes a core for tens of milliseconds.
    pub(crate) fn hash(&self) -> Result<String> {
        let hash = hasher()?.hash_password(self.0.as_bytes()).map_err(|error| failure(&error))?;
        Ok(hash.to_string())
    }

    /// Whether it is the one whose hash is stored. Takes as long when there is none.
    pub(crate) fn is_behind(&self, hash: Option<&str>) -> Result<bool> {
        let hasher = hasher()?;
        let Some(hash) = hash else {
            let salt = [0; 16];
            let made: Result<PasswordHash, _> =
                hasher.hash_password_with_salt(self.0.as_bytes(), &salt);
            made.map_err(|error| failure(&error))?;
            return Ok(false);
        };
        let hash = PasswordHash::new(hash)
            .map_err(|_| Error::failure("a stored password hash cannot be read"))?;
        // No password of ours is longer, so comparing a longer one says nothing but no.
        let is_short_enough = self.0.chars().count() <= LENGTH_MAX;
        Ok(hasher.verify_password(self.0.as_bytes(), &hash).is_ok() && is_short_enough)
    }
}

/// Argon2id as OWASP asks for it: 19 MiB, two passes, one lane.
fn hasher() -> Result<Argon2<'static>> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|error| failure(&error))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn failure(error: &dyn fmt::Display) -> Error {
    Error::failure(format!("a password cannot be hashed: {error}"))
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl JsonSchema for Password {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Password".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "format": "password", "writeOnly": true,
            "minLength": 1, "maxLength": 1024, "examples": ["correct horse 7 staple"],
        })
    }
}

/// What makes a new password a bad one. None of it repeats the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a password has {LENGTH_MIN} to {LENGTH_MAX} characters")]
    Length,
    #[error("a password is not the name or the address of its user")]
    OwnName,
    #[error("this password is one of the first that everybody tries")]
    Common,
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::Length => Reason::invalid("password_length"),
            Self::OwnName => Reason::invalid("password_is_own_name"),
            Self::Common => Reason::invalid("password_too_common"),
        }
        .at("/new_password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_long_and_neither_common_nor_a_name() {
        let check =
            |text: &str| Password::new(text).check("mia.long@acme.example", "Mia Longworth Hill");

        assert_eq!(check("correct horse 7 staple"), Ok(()));
        assert_eq!(check("Grüße aus Köln"), Ok(()));
        assert_eq!(check("elevenchars"), Err(Refusal::Length));
        assert_eq!(check(&"x1".repeat(65)), Err(Refusal::Length));
        assert_eq!(check("Mia.Long@Acme.example"), Err(Refusal::OwnName));
        assert_eq!(check("mia longworth hill"), Err(Refusal::OwnName));
        assert_eq!(check("Password1234"), Err(Refusal::Common));
        assert_eq!(check("aaaaaaaaaaaaaaa"), Err(Refusal::Common));
    }

    #[test]
    fn a_hash_is_of_one_password_and_shows_its_cost() {
        let password = Password::new("correct horse 7 staple");

        let hash = password.hash().expect("it is hashed");

        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(password.is_behind(Some(&hash)).expect("it is compared"));
        assert!(!Password::new("correct horse 7 stapl").is_behind(Some(&hash)).expect("compared"));
        assert!(!password.is_behind(None).expect("it is compared with nothing"));
        assert_eq!(format!("{password:?}"), "Password(…)");
    }
}
