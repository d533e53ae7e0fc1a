//! What a browser is asked: the options of Web Authentication as JSON, which every browser and the
//! kits of both kinds of phones take as they are.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use platform::{OrgId, RelyingParty, Timestamp, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::passkey_challenge::{Challenge, GOOD_FOR};
use crate::public_key::ALGORITHMS;

/// What to ask for a passkey to be made, and until when.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyToMake {
    /// For `PublicKeyCredential.parseCreationOptionsFromJSON()`, or for the kit of an app.
    pub options: CreationOptions,
    /// Until when the passkey may be added.
    pub expires_at: Timestamp,
}

/// What to ask for a passkey to be shown, and until when.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyToShow {
    /// For `PublicKeyCredential.parseRequestOptionsFromJSON()`, or for the kit of an app.
    pub options: RequestOptions,
    /// Until when the passkey may be shown.
    pub expires_at: Timestamp,
}

/// `PublicKeyCredentialCreationOptionsJSON` of Web Authentication.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreationOptions {
    /// Whom the passkey is for.
    pub rp: Site,
    /// Whose it is.
    pub user: Keeper,
    /// What is to be signed, in base64url.
    pub challenge: String,
    /// The kinds of keys that will do, the best first.
    pub pub_key_cred_params: Vec<KeyKind>,
    /// How long there is to make it, in milliseconds.
    pub timeout: u64,
    /// The passkeys that are there already.
    pub exclude_credentials: Vec<KnownPasskey>,
    /// What is wished for.
    pub authenticator_selection: Wishes,
    /// Whether to tell who built the authenticator: `none`.
    pub attestation: String,
}

/// `PublicKeyCredentialRequestOptionsJSON` of Web Authentication.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestOptions {
    /// What is to be signed, in base64url.
    pub challenge: String,
    /// How long there is to sign it, in milliseconds.
    pub timeout: u64,
    /// Whom the passkey is for.
    pub rp_id: String,
    /// The passkeys that will do; any of this site if there are none.
    pub allow_credentials: Vec<KnownPasskey>,
    /// Whether to check who is there: `required` or `preferred`.
    pub user_verification: String,
}

/// Whom a passkey is for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    /// A host.
    pub id: String,
    /// What people read.
    pub name: String,
}

/// Whose a passkey is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Keeper {
    /// Organisation and user, in base64url.
    pub id: String,
    /// The address they sign in with.
    pub name: String,
    /// What they are called.
    pub display_name: String,
}

/// A kind of key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KeyKind {
    /// `public-key`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The number of the algorithm, as COSE counts them.
    pub alg: i64,
}

/// A passkey that is there.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KnownPasskey {
    /// `public-key`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name its keeper knows it by, in base64url.
    pub id: String,
}

/// What is wished for of an authenticator.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wishes {
    /// Whether it keeps whose the passkey is: `preferred`.
    pub resident_key: String,
    /// Whether it checks who is there: `preferred`.
    pub user_verification: String,
}

const KIND: &str = "public-key";

/// Whose passkeys are asked for: the name and the address that people are shown.
pub(crate) struct Person {
    pub(crate) org_id: OrgId,
    pub(crate) user_id: UserId,
    pub(crate) email: String,
    pub(crate) name: String,
}

impl PasskeyToMake {
    pub(crate) fn of(
        party: &RelyingParty,
        challenge: Challenge,
        person: &Person,
        known: &[Vec<u8>],
    ) -> Self {
        let options = CreationOptions {
            rp: Site { id: party.id().to_owned(), name: party.name().to_owned() },
            user: Keeper {
                id: handle(person.org_id, person.user_id),
                name: person.email.clone(),
                display_name: person.name.clone(),
            },
            challenge: challenge.text,
            pub_key_cred_params: ALGORITHMS
                .map(|alg| KeyKind { kind: KIND.to_owned(), alg })
                .to_vec(),
            timeout: milliseconds(),
            exclude_credentials: known_passkeys(known),
            authenticator_selection: Wishes {
                resident_key: "preferred".to_owned(),
                user_verification: "preferred".to_owned(),
            },
            attestation: "none".to_owned(),
        };
        Self { options, expires_at: challenge.expires_at }
    }
}

impl PasskeyToShow {
    pub(crate) fn of(
        party: &RelyingParty,
        challenge: Challenge,
        known: &[Vec<u8>],
        must_verify: bool,
    ) -> Self {
        let options = RequestOptions {
            challenge: challenge.text,
            timeout: milliseconds(),
            rp_id: party.id().to_owned(),
            allow_credentials: known_passkeys(known),
            user_verification: if must_verify { "required" } else { "preferred" }.to_owned(),
        };
        Self { options, expires_at: challenge.expires_at }
    }
}

/// Whose a passkey is, as its keeper keeps it: ids, and nothing that tells a person.
fn handle(org_id: OrgId, user_id: UserId) -> String {
    BASE64.encode([*org_id.uuid().as_bytes(), *user_id.uuid().as_bytes()].concat())
}

/// The organisation and the user of a handle.
pub(crate) fn read_handle(handle: &str) -> Option<(OrgId, UserId)> {
    let bytes = BASE64.decode(handle).ok()?;
    let (org_id, user_id) = bytes.split_at_checked(16)?;
    let id = |bytes: &[u8]| Uuid::from_slice(bytes).ok();
    Some((OrgId::from_uuid(id(org_id)?), UserId::from_uuid(id(user_id)?)))
}

fn known_passkeys(known: &[Vec<u8>]) -> Vec<KnownPasskey> {
    let passkey = |id: &Vec<u8>| KnownPasskey { kind: KIND.to_owned(), id: BASE64.encode(id) };
    known.iter().map(passkey).collect()
}

fn milliseconds() -> u64 {
    u64::try_from(GOOD_FOR.as_millis()).unwrap_or(u64::MAX)
}
