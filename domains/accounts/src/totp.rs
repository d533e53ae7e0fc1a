//! Time-based codes as authenticator apps make them: RFC 6238, six digits, half a minute.

use platform::{Error, MasterSecret, Result, Timestamp, UserId};
use totp_rs::{Builder, Secret, Totp};

/// What the secrets of second factors are sealed for.
const SEALED_FOR: &str = "accounts second factor";
/// 160 bits, as the RFC recommends.
const SECRET_BYTES: usize = 20;

/// A device's secret.
pub(crate) struct Device(Totp);

impl Device {
    /// A new one.
    ///
    /// # Panics
    /// When the operating system has no random bytes, in which case nothing is safe.
    pub(crate) fn new(email: &str, organisation: &str) -> Result<Self> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).expect("the operating system has random bytes");
        Self::of(secret, email, organisation)
    }

    fn of(secret: [u8; SECRET_BYTES], email: &str, organisation: &str) -> Result<Self> {
        // A colon divides the parts of the label that apps show.
        let plain = |text: &str| text.replace(':', " ");
        let builder = Builder::new()
            .with_secret(Secret::new_stack(secret))
            .with_account_name(plain(email))
            .with_issuer(Some(plain(organisation)));
        builder.build().map(Self).map_err(|error| Error::failure(error.to_string()))
    }

    /// The one that was sealed for this user.
    pub(crate) fn open(secret: &MasterSecret, user_id: UserId, sealed: &[u8]) -> Result<Self> {
        let bytes =
            secret.open(SEALED_FOR, user_id.uuid().as_bytes(), sealed).map_err(Error::failure)?;
        let bytes = <[u8; SECRET_BYTES]>::try_from(bytes)
            .map_err(|_| Error::failure("a sealed second factor has another length"))?;
        Self::of(bytes, "user", "organisation")
    }

    /// What is stored of it.
    pub(crate) fn sealed(&self, secret: &MasterSecret, user_id: UserId) -> Vec<u8> {
        secret.seal(SEALED_FOR, user_id.uuid().as_bytes(), self.0.secret().as_bytes())
    }

    /// The secret as people type it into an app.
    pub(crate) fn text(&self) -> String {
        self.0.secret().to_base32()
    }

    /// The secret as apps read it from a picture.
    pub(crate) fn uri(&self) -> Result<String> {
        self.0.to_url().map_err(|error| Error::failure(error.to_string()))
    }

    /// The half minute that `code` is of, this one or one beside it, if it is after `last_step`.
    pub(crate) fn step_of(&self, code: &str, now: Timestamp, last_step: i64) -> Option<i64> {
        let seconds = u64::try_from(now.timestamp()).ok()?;
        let step = i64::try_from(self.0.check(code, seconds)?).ok()?;
        (step > last_step).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc_and_none_is_good_twice() {
        let device = Device::of(*b"12345678901234567890", "mia@acme.example", "Acme")
            .expect("it is a secret");
        let at = |seconds| Timestamp::default() + Duration::from_secs(seconds);

        assert_eq!(device.step_of("287082", at(59), 0), Some(1));
        assert_eq!(device.step_of("287082", at(89), 0), Some(1));
        assert_eq!(device.step_of("287082", at(120), 0), None);
        assert_eq!(device.step_of("287082", at(59), 1), None);
        assert_eq!(device.step_of("287083", at(59), 0), None);
        assert!(device.uri().expect("it has one").starts_with("otpauth://totp/Acme:mia"));
    }

    #[test]
    fn a_secret_is_stored_sealed_for_its_user() {
        let (key, user_id) = (MasterSecret::new([7; 32]), UserId::new());
        let device = Device::new("mia@acme.example", "Acme").expect("it is a secret");

        let sealed = device.sealed(&key, user_id);

        let opened = Device::open(&key, user_id, &sealed).expect("it was sealed for them");
        assert_eq!(opened.text(), device.text());
        assert!(Device::open(&key, UserId::new(), &sealed).is_err());
    }
}
