//! Adding a passkey: what its keeper is asked for, and what is kept of the answer.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use contracts::accounts::PasskeyAdded;
use platform::{Access, Action, Command, Result, SecondFactor, Spec, System, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attempt::{self, NotYours};
use crate::authenticator::{Asked, ClientData, PasskeyRefused, Said, Why, said_at_making};
use crate::guess::Guess;
use crate::me::user_of;
use crate::my_sessions::SessionRefusal;
use crate::passkey::{self, PasskeyRefusal};
use crate::passkey_challenge::{self, Purpose, Returned, party};
use crate::passkey_options::{PasskeyToMake, Person};
use crate::password::Password;
use crate::{second_factor, session};

/// Begin to add a passkey: what to ask a device or a key ring for.
///
/// It is there once `add_passkey` is given the answer, within five minutes. Whoever has a second
/// factor must have shown it in the last ten minutes; whoever has none shows their password.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginPasskey {
    /// My password. Not needed after a second factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
}

impl Action for BeginPasskey {
    const SPEC: Spec = Spec::invoke("begin_passkey", "/me/passkeys/begin")
        .needs(Access::Member)
        .destroys()
        .confidential();
    type Output = PasskeyToMake;

    async fn act(self, system: &System) -> Result<PasskeyToMake> {
        let scope = system.caller()?;
        let guess = match (scope.authority.second_factor, self.password) {
            (SecondFactor::Shown { .. }, _) => None,
            (_, Some(password)) => Some(attempt::must_be_own(system, password).await?.1),
            (_, None) => return Err(NotYours.into()),
        };
        system.run(scope, BeginAdding { guess }).await
    }
}

/// Makes what to ask the keeper of a passkey for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BeginAdding {
    guess: Option<Guess>,
}

impl Command for BeginAdding {
    const SPEC: Spec = Spec::internal("begin_adding_passkey");
    type Output = PasskeyToMake;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<PasskeyToMake> {
        let (user_id, party) = (user_of(tx.scope())?, party(tx)?);
        if let Some(guess) = self.guess {
            guess.was_right(tx).await?;
        }
        // A program has nobody beside it who could touch a device, and asks nobody for a factor.
        let credential_id = tx.scope().authority.credential_id;
        session::behind(tx.connection(), credential_id).await?.ok_or(SessionRefusal::NoSession)?;
        let (email, name): (String, String) =
            sqlx::query_as("select email, name from platform.users where id = $1")
                .bind(user_id)
                .fetch_one(tx.connection())
                .await?;
        let known = passkey::credentials_of(tx, user_id).await?;
        let challenge = passkey_challenge::make(tx, Purpose::Adding, Some(user_id)).await?;
        let person = Person { org_id: tx.org_id(), user_id, email, name };
        Ok(PasskeyToMake::of(party, challenge, &person, &known))
    }
}

/// Add the passkey that a device or a key ring has made.
///
/// It is a second factor from now on, and signs in alone where its keeper checks who is there. The
/// first second factor comes with recovery codes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPasskey {
    /// What to call it, as its user recognises it: a device, a key ring.
    #[schemars(length(min = 1, max = 100))]
    pub label: String,
    /// What `navigator.credentials.create()` answered, as its `toJSON()` tells it.
    pub credential: MadeCredential,
}

/// `RegistrationResponseJSON` of Web Authentication. What else browsers say is not looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MadeCredential {
    /// What was made.
    pub response: MadeResponse,
}

/// What the browser and the authenticator say of what was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MadeResponse {
    /// What the browser says, in base64url.
    #[serde(rename = "clientDataJSON")]
    #[schemars(length(min = 1, max = 8192))]
    pub client_data: String,
    /// What the authenticator says, in base64url.
    #[serde(rename = "attestationObject")]
    #[schemars(length(min = 1, max = 32768))]
    pub attestation: String,
}

/// A passkey was added.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AddedPasskey {
    /// The passkey.
    pub passkey_id: Uuid,
    /// Each is good once in place of the second factor. Told once, with the first second factor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery_codes: Vec<String>,
}

impl Action for AddPasskey {
    const SPEC: Spec =
        Spec::create("add_passkey", "/me/passkeys").needs(Access::Member).confidential();
    type Output = AddedPasskey;

    async fn act(self, system: &System) -> Result<AddedPasskey> {
        let keep = KeepPasskey { label: self.label, credential: self.credential };
        let kept = system.run(system.caller()?, keep).await?;
        kept.map_err(|why| PasskeyRefused { why, is_sign_in: false }.into())
    }
}

/// Keeps what verifies a passkey. What is refused has used its challenge up all the same.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KeepPasskey {
    label: String,
    credential: MadeCredential,
}

impl Command for KeepPasskey {
    const SPEC: Spec = Spec::internal("keep_passkey");
    type Output = Result<AddedPasskey, Why>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Result<AddedPasskey, Why>> {
        let (user_id, party) = (user_of(tx.scope())?, party(tx)?);
        let Self { label, credential: MadeCredential { response } } = self;
        let read = |text: &str| BASE64.decode(text).map_err(|_| Why::Unreadable);
        let checked = async {
            let (client, attestation) =
                (read(&response.client_data)?, read(&response.attestation)?);
            Ok::<_, Why>((ClientData::read(&client)?, attestation))
        };
        let (client, attestation) = match checked.await {
            Ok(checked) => checked,
            Err(why) => return Ok(Err(why)),
        };
        let digest = Returned::read(&client.challenge).map(|returned| returned.digest);
        let digest = digest.unwrap_or_default();
        if !passkey_challenge::use_up(tx, &digest, Purpose::Adding, Some(user_id)).await? {
            return Ok(Err(Why::Challenge));
        }
        let said = client
            .must_be(Asked::Create, party)
            .and_then(|()| said_at_making(&attestation))
            .and_then(|said| Said::read(said, party));
        match said {
            Ok(said) => keep(tx, user_id, label, &said).await,
            Err(why) => Ok(Err(why)),
        }
    }
}

/// Keeps a passkey, which is a second factor that was shown just now.
async fn keep(
    tx: &mut Tx<'_>,
    user_id: UserId,
    label: String,
    said: &Said<'_>,
) -> Result<Result<AddedPasskey, Why>> {
    let Some(made) = said.made.as_ref() else { return Ok(Err(Why::Unreadable)) };
    if let Err(why) = made.must_be_usable() {
        return Ok(Err(why));
    }
    second_factor::lock(tx, user_id).await?;
    if passkey::credentials_of(tx, user_id).await?.len() >= passkey::COUNT_MAX {
        return Err(PasskeyRefusal::TooMany.into());
    }
    let (org_id, now, passkey_id) = (tx.org_id(), tx.now(), Uuid::now_v7());
    let kept = sqlx::query(
        "insert into accounts.passkeys
             (passkey_id, org_id, user_id, credential_id, public_key, sign_count, is_synced, label,
              created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (org_id, credential_id) do nothing",
    )
    .bind(passkey_id)
    .bind(org_id)
    .bind(user_id)
    .bind(made.credential_id)
    .bind(made.public_key)
    .bind(i64::from(said.sign_count))
    .bind(said.is_synced)
    .bind(label)
    .bind(now)
    .execute(tx.connection())
    .await?;
    if kept.rows_affected() == 0 {
        return Err(PasskeyRefusal::Known.into());
    }
    let is_first = !second_factor::is_there(tx, user_id).await?;
    second_factor::settle(tx, user_id).await?;
    tx.append(&PasskeyAdded { user_id, passkey_id }).await?;
    second_factor::was_shown(tx).await?;
    let mut recovery_codes = Vec::new();
    if is_first {
        recovery_codes = second_factor::renew_codes(tx, user_id).await?.recovery_codes;
    }
    Ok(Ok(AddedPasskey { passkey_id, recovery_codes }))
}
