//! An authenticator made of software, with a browser around it: makes passkeys and shows them, as
//! well or as badly as a test wants.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use platform::Digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use uuid::Uuid;

use super::text;

/// Where the platform is, as the browser sees it.
pub(super) const ORIGIN: &str = "https://finnest.test";

/// A passkey, and how it behaves.
#[derive(Clone)]
pub(super) struct Authenticator {
    pkcs8: Vec<u8>,
    credential_id: Vec<u8>,
    /// Whose it is, once it was made.
    pub(super) user_handle: Option<String>,
    /// How often it has signed; it does not count while that is 0.
    pub(super) sign_count: u32,
    pub(super) checks_who_is_there: bool,
    pub(super) is_touched: bool,
    pub(super) origin: String,
    pub(super) rp_id: String,
}

impl Authenticator {
    pub(super) fn new() -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .expect("there are random bytes");
        Self {
            pkcs8: document.as_ref().to_vec(),
            credential_id: Uuid::now_v7().as_bytes().to_vec(),
            user_handle: None,
            sign_count: 0,
            checks_who_is_there: true,
            is_touched: true,
            origin: ORIGIN.to_owned(),
            rp_id: "finnest.test".to_owned(),
        }
    }

    /// The same, saying that it is somebody else's.
    pub(super) fn of(&self, user_handle: Option<String>) -> Self {
        Self { user_handle, ..self.clone() }
    }

    /// What `navigator.credentials.create()` answers.
    pub(super) fn make(&mut self, begun: &Value) -> Value {
        let options = &begun["options"];
        self.user_handle = Some(text(&options["user"], "id").to_owned());
        let client = self.client_data("webauthn.create", text(options, "challenge"));
        let said = self.said(true);
        let attestation = [
            b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".as_slice(),
            &length(&said),
            &said,
        ];
        json!({
            "id": BASE64.encode(&self.credential_id),
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": BASE64.encode(client),
                "attestationObject": BASE64.encode(attestation.concat()),
                "transports": ["internal"],
            },
        })
    }

    /// What `navigator.credentials.get()` answers.
    pub(super) fn show(&mut self, begun: &Value) -> Value {
        if self.sign_count > 0 {
            self.sign_count += 1;
        }
        let client = self.client_data("webauthn.get", text(&begun["options"], "challenge"));
        let said = self.said(false);
        let message = [said.as_slice(), Digest::of(&client).as_bytes()].concat();
        let signature = self.pair().sign(&SystemRandom::new(), &message).expect("it signs");
        json!({
            "id": BASE64.encode(&self.credential_id),
            "type": "public-key",
            "response": {
                "clientDataJSON": BASE64.encode(client),
                "authenticatorData": BASE64.encode(said),
                "signature": BASE64.encode(signature.as_ref()),
                "userHandle": self.user_handle,
            },
        })
    }

    fn client_data(&self, kind: &str, challenge: &str) -> Vec<u8> {
        let origin = &self.origin;
        json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false })
            .to_string()
            .into_bytes()
    }

    fn said(&self, is_made: bool) -> Vec<u8> {
        let flags = u8::from(self.is_touched)
            | u8::from(self.checks_who_is_there) << 2
            | u8::from(is_made) << 6;
        let mut said = Digest::of(self.rp_id.as_bytes()).as_bytes().to_vec();
        said.push(flags);
        said.extend(self.sign_count.to_be_bytes());
        if is_made {
            said.extend([0; 16]);
            said.extend(length(&self.credential_id));
            said.extend(&self.credential_id);
            let pair = self.pair();
            let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
            said.extend(b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20");
            said.extend(x);
            said.extend(b"\x22\x58\x20");
            said.extend(y);
        }
        said
    }

    fn pair(&self) -> EcdsaKeyPair {
        let random = SystemRandom::new();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.pkcs8, &random)
            .expect("it was made so")
    }
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).expect("it is short").to_be_bytes()
}
