//! Links that let somebody set a password, once: by invitation, or because it was forgotten.
//!
//! The link travels in a letter that reach sends. On its way it is sealed: neither the log nor a
//! job shows it. What is stored is its digest.

use std::fmt::Write as _;
use std::time::Duration;

use contracts::accounts::{Letter, SEALED_LETTERS};
use platform::{Result, Timestamp, Tx, UserId};
use uuid::Uuid;

use crate::{one_time, organisation};

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To come in for the first time.
    Invitation,
    /// To set another password.
    PasswordReset,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::PasswordReset => "password_reset",
        }
    }

    /// How its tokens begin.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Invitation => "inv",
            Self::PasswordReset => "rst",
        }
    }

    const fn good_for(self) -> Duration {
        match self {
            Self::Invitation => Duration::from_hours(7 * 24),
            Self::PasswordReset => Duration::from_mins(30),
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Invitation => "accept-invitation",
            Self::PasswordReset => "reset-password",
        }
    }

    fn says(self, organisation: &str) -> String {
        match self {
            Self::Invitation => {
                format!("You are invited to {organisation}. Choose a password within a week:")
            }
            Self::PasswordReset => format!(
                "Somebody asked for another password at {organisation}. If it was you, choose one \
                 within half an hour; if not, nothing has changed:"
            ),
        }
    }
}

/// A link that was made.
pub(crate) struct Made {
    pub(crate) link_id: Uuid,
    /// The link as a person opens it.
    pub(crate) address: String,
    pub(crate) expires_at: Timestamp,
    /// The letter with it, sealed.
    pub(crate) letter: String,
}

/// Makes a link for a user; earlier ones for the same are good for nothing.
pub(crate) async fn make(
    tx: &mut Tx<'_>,
    user_id: UserId,
    email: &str,
    purpose: Purpose,
) -> Result<Made> {
    let (org_id, now) = (tx.org_id(), tx.now());
    let organisation = organisation::find(tx.connection(), org_id).await?;
    withdraw(tx, user_id, Some(purpose)).await?;
    let (token, digest) = one_time::new(purpose.kind(), org_id);
    let (link_id, expires_at) = (Uuid::now_v7(), now + purpose.good_for());
    sqlx::query(
        "insert into accounts.links
             (link_id, org_id, user_id, purpose, digest, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(link_id)
    .bind(org_id)
    .bind(user_id)
    .bind(purpose.name())
    .bind(digest)
    .bind(now)
    .bind(expires_at)
    .execute(tx.connection())
    .await?;
    // Never the name a request came in under: whoever asks for a link would choose where it leads.
    let installation = tx.address()?.as_str();
    let base = organisation.address.as_deref().unwrap_or(installation);
    let address = format!("{base}/{}?token={token}", purpose.path());
    let body = format!("{}\n\n{address}", purpose.says(&organisation.name));
    let letter = Letter { recipient: email.to_owned(), body };
    let plain = serde_json::to_vec(&letter)?;
    let sealed = tx.secret()?.seal(SEALED_LETTERS, user_id.uuid().as_bytes(), &plain);
    Ok(Made { link_id, address, expires_at, letter: hex(&sealed) })
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string succeeds");
    }
    text
}

/// Makes links of a user good for nothing: those for one purpose, or all.
pub(crate) async fn withdraw(
    tx: &mut Tx<'_>,
    user_id: UserId,
    purpose: Option<Purpose>,
) -> Result<()> {
    let now = tx.now();
    sqlx::query(
        "update accounts.links set used_at = $2
         where user_id = $1 and used_at is null and ($3::text is null or purpose = $3)",
    )
    .bind(user_id)
    .bind(now)
    .bind(purpose.map(Purpose::name))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Whose link it is, with address and name, if it is good; it is used up if `is_used`.
pub(crate) async fn open(
    tx: &mut Tx<'_>,
    digest: &[u8],
    purpose: Purpose,
    is_used: bool,
) -> Result<Option<(UserId, String, String)>> {
    let now = tx.now();
    let found: Option<(Uuid, UserId, String, String)> = sqlx::query_as(
        "select links.link_id, users.id, users.email, users.name
         from accounts.links
         join platform.users on users.id = links.user_id and users.deleted_at is null
         where links.digest = $1 and links.purpose = $2
             and links.used_at is null and links.expires_at > $3
         for update of links",
    )
    .bind(digest)
    .bind(purpose.name())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    let Some((link_id, user_id, email, name)) = found else { return Ok(None) };
    if is_used {
        sqlx::query("update accounts.links set used_at = $2 where link_id = $1")
            .bind(link_id)
            .bind(now)
            .execute(tx.connection())
            .await?;
    }
    Ok(Some((user_id, email, name)))
}
