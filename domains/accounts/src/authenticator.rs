//! What a browser and an authenticator say when a passkey is made or shown, and the rules it must
//! keep (Web Authentication, level 3, §7).
//!
//! **Invariant:** pure; what is stored of a passkey is compared elsewhere.

use platform::{Digest, Reason, RelyingParty};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cbor::Item;
use crate::public_key::PublicKey;

/// Why a passkey was refused. Whether it is unknown, another's, or signed nothing is one answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
pub(crate) enum Why {
    #[error("the passkey's answer cannot be read")]
    Unreadable,
    #[error("the challenge is unknown, used or too old; begin again")]
    Challenge,
    #[error("passkeys are not shown at {0} here")]
    Origin(String),
    #[error("the passkey is of another site")]
    Elsewhere,
    #[error("nobody touched the authenticator")]
    NotPresent,
    #[error("the authenticator has not checked who is there, which stands for the password")]
    NotVerified,
    #[error("the key of this passkey is of a kind that was not asked for")]
    Algorithm,
    #[error("this passkey is not good here")]
    Unknown,
}

/// What signed in people are told, and those who are about to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct PasskeyRefused {
    pub(crate) why: Why,
    pub(crate) is_sign_in: bool,
}

impl platform::Refusal for PasskeyRefused {
    fn reason(&self) -> Reason {
        if self.is_sign_in {
            Reason::unauthenticated("passkey_refused")
        } else {
            Reason::forbidden("passkey_refused")
        }
    }
}

/// What is asked of the authenticator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To make a passkey.
    Create,
    /// To show one.
    Get,
}

/// What the browser says of what it was asked, and where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    /// The challenge, in base64url.
    pub(crate) challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    is_framed_elsewhere: bool,
}

impl ClientData {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Why> {
        serde_json::from_slice(bytes).map_err(|_| Why::Unreadable)
    }

    /// Refuses what was asked for something else, or elsewhere.
    pub(crate) fn must_be(&self, asked: Asked, party: &RelyingParty) -> Result<(), Why> {
        let kind = match asked {
            Asked::Create => "webauthn.create",
            Asked::Get => "webauthn.get",
        };
        if self.kind != kind {
            return Err(Why::Unreadable);
        }
        if self.is_framed_elsewhere || !party.allows(&self.origin) {
            let plain = self.origin.chars().filter(|each| !each.is_control());
            return Err(Why::Origin(plain.take(200).collect()));
        }
        Ok(())
    }
}

/// What the authenticator says, and signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said<'a> {
    pub(crate) is_verified: bool,
    /// Whether copies of the passkey may be kept elsewhere.
    pub(crate) is_synced: bool,
    /// How often it has signed, or 0 if it does not count.
    pub(crate) sign_count: u32,
    /// The passkey that was made, if one was.
    pub(crate) made: Option<Made<'a>>,
}

/// A passkey that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made<'a> {
    pub(crate) credential_id: &'a [u8],
    /// Its public key, as COSE.
    pub(crate) public_key: &'a [u8],
}

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const MADE: u8 = 1 << 6;
const EXTENDED: u8 = 1 << 7;
/// The longest name of a passkey that the standard allows.
const CREDENTIAL_BYTES_MAX: usize = 1023;

impl<'a> Said<'a> {
    /// What the bytes say, if somebody was present and they are about this relying party.
    pub(crate) fn read(bytes: &'a [u8], party: &RelyingParty) -> Result<Self, Why> {
        let (party_digest, rest) = bytes.split_first_chunk::<32>().ok_or(Why::Unreadable)?;
        let (&flags, rest) = rest.split_first().ok_or(Why::Unreadable)?;
        let (sign_count, rest) = rest.split_first_chunk::<4>().ok_or(Why::Unreadable)?;
        let (made, rest) = if flags & MADE == 0 {
            (None, rest)
        } else {
            Made::read(rest).map(|(made, rest)| (Some(made), rest)).ok_or(Why::Unreadable)?
        };
        let is_whole = match flags & EXTENDED {
            0 => rest.is_empty(),
            _ => matches!(Item::read_whole(rest), Some(Item::Map(_))),
        };
        if !is_whole {
            return Err(Why::Unreadable);
        }
        if party_digest != Digest::of(party.id().as_bytes()).as_bytes() {
            return Err(Why::Elsewhere);
        }
        if flags & PRESENT == 0 {
            return Err(Why::NotPresent);
        }
        Ok(Self {
            is_verified: flags & VERIFIED != 0,
            is_synced: flags & BACKUP_ELIGIBLE != 0,
            sign_count: u32::from_be_bytes(*sign_count),
            made,
        })
    }
}

impl<'a> Made<'a> {
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (_model, rest) = bytes.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if !(1..=CREDENTIAL_BYTES_MAX).contains(&length) {
            return None;
        }
        let (credential_id, rest) = rest.split_at_checked(length)?;
        let (_, after) = Item::read(rest)?;
        let public_key = rest.get(..rest.len() - after.len())?;
        Some((Self { credential_id, public_key }, after))
    }

    /// Refuses a key of a kind that was not asked for.
    pub(crate) fn must_be_usable(&self) -> Result<(), Why> {
        let cose = Item::read_whole(self.public_key).ok_or(Why::Unreadable)?;
        PublicKey::of(&cose).map(drop).ok_or(Why::Algorithm)
    }
}

/// The bytes that the authenticator said when it made a passkey. Who built the authenticator is not
/// asked for, and not believed if it is told.
pub(crate) fn said_at_making(attestation: &[u8]) -> Result<&[u8], Why> {
    let item = Item::read_whole(attestation).ok_or(Why::Unreadable)?;
    item.named("authData").and_then(Item::bytes).ok_or(Why::Unreadable)
}

/// Whether the key behind these bytes has signed what the browser and the authenticator said.
pub(crate) fn has_signed(public_key: &[u8], said: &[u8], client: &[u8], signature: &[u8]) -> bool {
    let message = [said, Digest::of(client).as_bytes().as_slice()].concat();
    let cose = Item::read_whole(public_key);
    let key = cose.as_ref().and_then(PublicKey::of);
    key.is_some_and(|key| key.has_signed(&message, signature))
}

/// Whether a passkey that had signed so often may now have signed so often. One that counts counts
/// upwards; another that signs with the same key does not know how far it was.
pub(crate) const fn counts_on(before: u32, now: u32) -> bool {
    (before == 0 && now == 0) || now > before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party() -> RelyingParty {
        RelyingParty::of(&["https://finnest.test".to_owned()]).expect("it is an origin")
    }

    fn said(flags: u8, rest: &[u8]) -> Vec<u8> {
        let digest = Digest::of(b"finnest.test");
        [digest.as_bytes().as_slice(), &[flags], &[0, 0, 0, 7], rest].concat()
    }

    #[test]
    fn a_counter_counts_upwards_or_not_at_all() {
        let cases =
            [(0, 0, true), (0, 1, true), (1, 2, true), (2, 2, false), (2, 1, false), (1, 0, false)];

        for (before, now, is_good) in cases {
            assert_eq!(counts_on(before, now), is_good, "{before} -> {now}");
        }
    }

    #[test]
    fn an_authenticator_says_who_was_there_for_which_site() {
        let plain = said(PRESENT | VERIFIED, &[]);
        let read = |bytes: &[u8]| Said::read(bytes, &party()).map(|said| said.sign_count);

        assert_eq!(read(&plain), Ok(7));
        assert_eq!(read(&said(PRESENT | EXTENDED, &[0xa0])), Ok(7));
        assert_eq!(read(&said(VERIFIED, &[])), Err(Why::NotPresent));
        assert_eq!(read(&[[0; 32].as_slice(), &plain[32..]].concat()), Err(Why::Elsewhere));
        for bytes in [&plain[..36], &[], &said(PRESENT, &[0]), &said(PRESENT | EXTENDED, &[])] {
            assert_eq!(read(bytes), Err(Why::Unreadable), "{bytes:?}");
        }
    }

    #[test]
    fn a_made_passkey_is_read_as_long_as_it_says_and_no_longer() {
        let made = |length: [u8; 2], rest: &[u8]| {
            said(PRESENT | MADE, &[[0; 16].as_slice(), &length, rest].concat())
        };
        let party = party();
        let whole = made([0, 2], &[9, 9, 0xa0]);

        let read = Said::read(&whole, &party).expect("it is whole").made.expect("one was made");
        assert_eq!(read, Made { credential_id: &[9, 9], public_key: &[0xa0] });
        assert_eq!(read.must_be_usable(), Err(Why::Algorithm));
        for bytes in [
            made([0, 0], &[0xa0]),
            made([0xff, 0xff], &[9, 9, 0xa0]),
            made([0, 2], &[9, 9]),
            made([0, 2], &[9, 9, 0xa0, 0]),
        ] {
            assert_eq!(Said::read(&bytes, &party), Err(Why::Unreadable), "{bytes:?}");
        }
    }

    #[test]
    fn what_was_shown_elsewhere_or_for_something_else_is_not_taken() {
        let data = |kind: &str, origin: &str, framed: bool| {
            let text = format!(
                r#"{{"type":"{kind}","challenge":"a","origin":"{origin}","crossOrigin":{framed}}}"#
            );
            let data = ClientData::read(text.as_bytes()).expect("it is readable");
            data.must_be(Asked::Get, &party())
        };

        assert_eq!(data("webauthn.get", "https://finnest.test", false), Ok(()));
        assert_eq!(data("webauthn.create", "https://finnest.test", false), Err(Why::Unreadable));
        for (origin, framed) in [
            ("https://finnest.test.evil.test", false),
            ("http://finnest.test", false),
            ("https://finnest.test", true),
        ] {
            assert!(matches!(data("webauthn.get", origin, framed), Err(Why::Origin(_))));
        }
        assert!(ClientData::read(b"[]").is_err() && ClientData::read(b"\xff").is_err());
    }
}
