//! Passkeys: keys that a device or a key ring keeps for a user. One takes the place of the second
//! factor, and one whose keeper has checked who is there stands for the password too.

use contracts::accounts::{PasskeyRemoved, PasskeyRenamed, SecondFactorDisabled};
use platform::{
    Access, Command, Query, Reason, Refusal, Result, Snapshot, Spec, Timestamp, Tx, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::me::user_of;
use crate::{recovery, second_factor};

/// The most passkeys that a user has.
pub(crate) const COUNT_MAX: usize = 20;

/// A passkey of mine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Passkey {
    /// The passkey.
    pub passkey_id: Uuid,
    /// What I call it.
    pub label: String,
    /// Whether its keeper may keep copies of it on other devices.
    pub is_synced: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last shown, if it was since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

/// Passkeys, all of them: nobody has many.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Passkeys {
    /// The passkeys, the oldest first.
    pub items: Vec<Passkey>,
}

/// List my passkeys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMyPasskeys {}

impl Query for ListMyPasskeys {
    const SPEC: Spec = Spec::read("list_my_passkeys", "/me/passkeys").needs(Access::Member);
    type Output = Passkeys;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Passkeys> {
        let user_id = user_of(db.scope())?;
        let rows: Vec<(Uuid, String, bool, Timestamp, Option<Timestamp>)> = sqlx::query_as(
            "select passkey_id, label, is_synced, created_at, last_used_at
             from accounts.passkeys where user_id = $1 order by passkey_id",
        )
        .bind(user_id)
        .fetch_all(db.connection())
        .await?;
        let passkey = |(passkey_id, label, is_synced, created_at, last_used_at)| Passkey {
            passkey_id,
            label,
            is_synced,
            created_at,
            last_used_at,
        };
        Ok(Passkeys { items: rows.into_iter().map(passkey).collect() })
    }
}

/// What the rules of passkeys say no to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasskeyRefusal {
    #[error("there is no passkey {0}")]
    NotFound(Uuid),
    #[error("there is no passkey to be shown")]
    None,
    #[error("this passkey is there already")]
    Known,
    #[error("nobody has more than {COUNT_MAX} passkeys; remove one that is not used")]
    TooMany,
}

impl Refusal for PasskeyRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => Reason::not_found("passkey_not_found").at("/passkey_id"),
            Self::None => Reason::conflict("no_passkey"),
            Self::Known => Reason::conflict("passkey_known"),
            Self::TooMany => Reason::conflict("too_many_passkeys"),
        }
    }
}

/// Call a passkey of mine something else.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenamePasskey {
    /// The passkey.
    pub passkey_id: Uuid,
    /// What to call it, as its user recognises it: a device, a key ring.
    #[schemars(length(min = 1, max = 100))]
    pub label: String,
}

impl Command for RenamePasskey {
    const SPEC: Spec =
        Spec::invoke("rename_passkey", "/me/passkeys/{passkey_id}/label").needs(Access::Member);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let (user_id, passkey_id) = (user_of(tx.scope())?, self.passkey_id);
        let renamed = sqlx::query(
            "update accounts.passkeys set label = $3 where passkey_id = $1 and user_id = $2",
        )
        .bind(passkey_id)
        .bind(user_id)
        .bind(&self.label)
        .execute(tx.connection())
        .await?;
        if renamed.rows_affected() == 0 {
            return Err(PasskeyRefusal::NotFound(passkey_id).into());
        }
        tx.append(&PasskeyRenamed { user_id, passkey_id }).await?;
        Ok(())
    }
}

/// Remove a passkey of mine: it is good for nothing from now on.
///
/// Without another one, and without a device that makes codes, there is no second factor any more,
/// and the recovery codes go with it. Where nobody may be without one, the last stays.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovePasskey {
    /// The passkey.
    pub passkey_id: Uuid,
}

impl Command for RemovePasskey {
    const SPEC: Spec = Spec::remove("remove_passkey", "/me/passkeys/{passkey_id}")
        .needs(Access::Member)
        .destroys();
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let (user_id, passkey_id) = (user_of(tx.scope())?, self.passkey_id);
        // Of two that are removed at once, one is the last.
        second_factor::lock(tx, user_id).await?;
        let removed =
            sqlx::query("delete from accounts.passkeys where passkey_id = $1 and user_id = $2")
                .bind(passkey_id)
                .bind(user_id)
                .execute(tx.connection())
                .await?;
        if removed.rows_affected() == 0 {
            return Err(PasskeyRefusal::NotFound(passkey_id).into());
        }
        tx.append(&PasskeyRemoved { user_id, passkey_id }).await?;
        if second_factor::settle(tx, user_id).await? {
            return Ok(());
        }
        if tx.profile()?.demands_second_factor() {
            return Err(second_factor::Refusal::Demanded.into());
        }
        recovery::forget(tx, user_id).await?;
        tx.append(&SecondFactorDisabled { user_id }).await?;
        Ok(())
    }
}

/// The names by which the keepers of a user's passkeys know them.
pub(crate) async fn credentials_of(tx: &mut Tx<'_>, user_id: UserId) -> Result<Vec<Vec<u8>>> {
    let sql = "select credential_id from accounts.passkeys where user_id = $1 order by passkey_id";
    Ok(sqlx::query_scalar(sql).bind(user_id).fetch_all(tx.connection()).await?)
}
