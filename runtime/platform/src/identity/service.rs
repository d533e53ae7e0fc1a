//! Tokens of services: short JSON Web Tokens that this installation signs for itself.
//!
//! One algorithm, one key, one form: what a token says of how it wants to be checked is compared
//! and never followed. Whose it is, and for which organisation, is looked up; the token only says
//! which user and which credential it was made from, and both must still be good.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use kernel::{Digest, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::secret::MasterSecret;

/// The longest life of a token of a service.
pub const SERVICE_TOKEN_LASTS_MAX: Duration = Duration::from_mins(15);
/// How far the clocks of our nodes may be apart.
const LEEWAY_SECONDS: i64 = 30;
/// A longer text is no token of ours, and is not looked at.
const TOKEN_BYTES_MAX: usize = 8_192;
const ISSUER: &str = "finnest";
const AUDIENCE: &str = "finnest";
const ALGORITHM: &str = "EdDSA";
const TYPE: &str = "at+jwt";

/// What the token of a service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceToken {
    /// By which it is found in the log.
    pub token_id: Uuid,
    /// The credential that it was made from, and with which it ends.
    pub parent_id: Uuid,
    /// The user it acts as.
    pub user_id: UserId,
    /// What it carries.
    pub scopes: Vec<String>,
    /// When it was made.
    pub issued_at: Timestamp,
    /// When it ends; whole seconds count.
    pub expires_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    jti: Uuid,
    /// What it was made from.
    parent: Uuid,
    scope: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl ServiceToken {
    /// The token itself, signed with the key of this installation.
    ///
    /// # Panics
    /// Never: ids, numbers and text are JSON.
    #[must_use]
    pub fn sign(&self, secret: &MasterSecret) -> String {
        let key = signing_key(secret);
        let header = Header {
            alg: ALGORITHM.to_owned(),
            typ: TYPE.to_owned(),
            kid: key_id(&key.verifying_key()),
        };
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: self.user_id,
            jti: self.token_id,
            parent: self.parent_id,
            scope: self.scopes.join(" "),
            iat: self.issued_at.timestamp(),
            nbf: self.issued_at.timestamp(),
            exp: self.expires_at.timestamp(),
        };
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = key.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature.to_bytes()))
    }

    /// What a text says, if it is a token that this installation signed and that is good at `now`.
    pub(super) fn verify(secret: &MasterSecret, text: &str, now: Timestamp) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let key = signing_key(secret).verifying_key();
        let header: Header = read(header)?;
        let ours = [(&*header.alg, ALGORITHM), (&*header.typ, TYPE), (&*header.kid, &key_id(&key))];
        if ours.iter().any(|(said, expected)| said != expected) {
            return None;
        }
        let signature: [u8; 64] = BASE64.decode(signature).ok()?.try_into().ok()?;
        key.verify_strict(signed.as_bytes(), &Signature::from_bytes(&signature)).ok()?;
        let claims: Claims = read(claims)?;
        claims.are_good(now.timestamp()).then_some(())?;
        Some(Self {
            token_id: claims.jti,
            parent_id: claims.parent,
            user_id: claims.sub,
            scopes: claims.scope.split(' ').map(str::to_owned).collect(),
            issued_at: Timestamp::from_timestamp(claims.iat, 0)?,
            expires_at: Timestamp::from_timestamp(claims.exp, 0)?,
        })
    }

    /// Until when it is let in, with the leeway for clocks that are apart.
    pub(super) fn valid_until(&self) -> Timestamp {
        self.expires_at + Duration::from_secs(LEEWAY_SECONDS.unsigned_abs())
    }
}

impl Claims {
    fn are_good(&self, now: i64) -> bool {
        let lasts_max = i64::try_from(SERVICE_TOKEN_LASTS_MAX.as_secs()).unwrap_or(0);
        let lasts = self.exp.checked_sub(self.iat);
        self.iss == ISSUER
            && self.aud == AUDIENCE
            && self.nbf.saturating_sub(LEEWAY_SECONDS) <= now
            && now < self.exp.saturating_add(LEEWAY_SECONDS)
            && lasts.is_some_and(|lasts| (0..=lasts_max).contains(&lasts))
    }
}

/// Whether a text has the form of a token of a service. No other credential has two full stops.
pub(super) fn has_form(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn signing_key(secret: &MasterSecret) -> SigningKey {
    SigningKey::from_bytes(&secret.derive("service tokens"))
}

/// The name of a key: the beginning of its digest.
fn key_id(key: &VerifyingKey) -> String {
    Digest::of(key.as_bytes()).to_string().chars().take(16).collect()
}

fn part(value: &impl Serialize) -> String {
    BASE64.encode(serde_json::to_vec(value).expect("ids, numbers and text are JSON"))
}

fn read<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use serde_json::{Value, json};
    use sha2::Sha256;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn secret() -> MasterSecret {
        MasterSecret::new([7; 32])
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).expect("it is an instant")
    }

    fn token() -> ServiceToken {
        ServiceToken {
            token_id: Uuid::now_v7(),
            parent_id: Uuid::now_v7(),
            user_id: UserId::new(),
            scopes: vec!["recruit:read".to_owned(), "payroll:write".to_owned()],
            issued_at: at(NOW),
            expires_at: at(NOW + 900),
        }
    }

    fn verified(text: &str, now: i64) -> Option<ServiceToken> {
        ServiceToken::verify(&secret(), text, at(now))
    }

    fn header() -> Value {
        let kid = key_id(&signing_key(&secret()).verifying_key());
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid })
    }

    fn claims() -> Value {
        json!({
            "iss": "finnest", "aud": "finnest", "sub": UserId::new(), "jti": Uuid::now_v7(),
            "parent": Uuid::now_v7(), "scope": "recruit:read", "iat": NOW, "nbf": NOW,
            "exp": NOW + 300,
        })
    }

    /// The value with one field changed, added, or taken away.
    fn with(mut value: Value, field: &str, new: Value) -> Value {
        let fields = value.as_object_mut().expect("it is an object");
        match new {
            Value::Null => drop(fields.remove(field)),
            new => drop(fields.insert(field.to_owned(), new)),
        }
        value
    }

    /// A token that was signed with the right key, whatever it says.
    fn signed(header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", part(header), part(claims));
        let signature = signing_key(&secret()).sign(text.as_bytes());
        format!("{text}.{}", BASE64.encode(signature.to_bytes()))
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let token = token();

        let text = token.sign(&secret());

        assert_eq!(verified(&text, NOW), Some(token));
        assert!(has_form(&text));
        assert!(verified(&signed(&header(), &claims()), NOW).is_some());
    }

    #[test]
    fn a_token_is_good_in_its_time_with_half_a_minute_for_the_clocks() {
        let text = token().sign(&secret());
        let cases = [(-31, false), (-30, true), (0, true), (900, true), (929, true), (930, false)];

        for (after, is_good) in cases {
            assert_eq!(verified(&text, NOW + after).is_some(), is_good, "{after} seconds after");
        }
    }

    #[test]
    fn another_installation_signs_for_itself() {
        let text = token().sign(&MasterSecret::new([8; 32]));

        assert_eq!(verified(&text, NOW), None);
    }

    #[test]
    fn what_a_token_says_of_how_to_check_it_is_not_followed() {
        let cases = [
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("alg", json!("eddsa")),
            ("alg", Value::Null),
            ("kid", json!("0000000000000000")),
            ("kid", Value::Null),
            ("typ", json!("JWT")),
            ("jwk", json!({ "kty": "OKP" })),
            ("jku", json!("https://evil.example/keys")),
            ("crit", json!(["exp"])),
        ];

        for (field, value) in cases {
            let text = signed(&with(header(), field, value.clone()), &claims());
            assert_eq!(verified(&text, NOW), None, "{field}: {value}");
        }
    }

    #[test]
    fn a_token_without_a_signature_is_nothing() {
        let none = with(header(), "alg", json!("none"));
        for header in [none, header()] {
            let text = format!("{}.{}", part(&header), part(&claims()));
            assert_eq!(verified(&format!("{text}."), NOW), None);
            assert_eq!(verified(&text, NOW), None);
        }
    }

    #[test]
    fn the_public_key_is_no_secret_to_sign_with() {
        let public = signing_key(&secret()).verifying_key();
        for alg in ["HS256", "EdDSA"] {
            let text = format!("{}.{}", part(&with(header(), "alg", json!(alg))), part(&claims()));
            let mut mac = Hmac::<Sha256>::new_from_slice(public.as_bytes()).expect("it fits");
            mac.update(text.as_bytes());
            let forged = BASE64.encode(mac.finalize().into_bytes());
            assert_eq!(verified(&format!("{text}.{forged}"), NOW), None, "{alg}");
        }
    }

    #[test]
    fn claims_that_are_not_ours_are_refused_although_the_signature_is() {
        let cases = [
            ("iss", json!("evil")),
            ("aud", json!("billing")),
            ("aud", json!(["finnest", "billing"])),
            ("exp", json!(NOW - 31)),
            ("exp", json!(NOW + 901)),
            ("exp", json!(i64::MAX)),
            ("exp", Value::Null),
            ("nbf", json!(NOW + 31)),
            ("nbf", Value::Null),
            ("iat", json!(i64::MIN)),
            ("iat", json!(NOW + 400)),
            ("jti", Value::Null),
            ("sub", json!("root")),
            ("parent", Value::Null),
            ("org_id", json!(Uuid::now_v7())),
            ("role", json!("director")),
        ];

        for (field, value) in cases {
            let text = signed(&header(), &with(claims(), field, value.clone()));
            assert_eq!(verified(&text, NOW), None, "{field}: {value}");
        }
    }

    #[test]
    fn a_payload_changed_after_it_was_signed_is_refused() {
        let text = signed(&header(), &claims());
        let mut parts: Vec<&str> = text.split('.').collect();
        let more = part(&with(claims(), "scope", json!("*:write")));

        parts[1] = &more;

        assert_eq!(verified(&parts.join("."), NOW), None);
    }

    #[test]
    fn no_text_makes_the_check_stumble() {
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        let text = token().sign(&secret());
        let padded = format!("{text}=");
        let cut = &text[..text.len() - 4];
        for text in ["", ".", "..", "...", "a.b.c", "ä.ö.ü", &padded, cut, &long] {
            assert_eq!(verified(text, NOW), None, "{text}");
        }
    }
}
