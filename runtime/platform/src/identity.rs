//! Identity: from a credential to the person, the role and the organisation behind it.
//!
//! Only the SHA-256 digest of a credential is stored. Answers are kept for some seconds, so that a
//! busy client does not cost a query a request, and no longer than until the domain that keeps
//! credentials [tells](forget) of a change.

mod doors;
mod enrol;
mod find;
pub(crate) mod forget;
mod service;
mod stands;

use kernel::{Authority, Digest, OrgId, Role, Scope, SecondFactor, Timestamp, UserId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::config::Security;
use crate::profile::Profile;
use crate::refusal::Result;
use crate::remembered::{Recalled, Remembered};
use crate::scopes::are_carried;
pub use enrol::Enrolment;
pub(crate) use enrol::enrol;
pub use service::{SERVICE_TOKEN_LASTS_MAX, ServiceToken};

/// Who a credential belongs to, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user_id: UserId,
    /// The user's name, for greetings and audit trails.
    pub name: String,
    /// The user's address.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// The user's organisation.
    pub org_id: OrgId,
    /// The organisation's name.
    pub org_name: String,
    /// The credential shown.
    pub credential: Credential,
}

/// A credential, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// By which it is listed and revoked.
    pub id: Uuid,
    /// What it is for.
    pub kind: CredentialKind,
    /// The session that it was made from, if it was.
    pub parent_id: Option<Uuid>,
    /// The scopes it carries; none means all that the role allows. Those that begin with `mcp:`
    /// count at the MCP servers only, and there without that beginning.
    pub scopes: Option<Vec<String>>,
    /// Whether and when a second factor was shown.
    pub second_factor: SecondFactor,
    /// Until when it is good if nobody uses or revokes it; for ever if that is not said. For a
    /// ticket, until when that is good which it opened.
    pub valid_until: Option<Timestamp>,
}

/// What a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(schemars::JsonSchema)]
pub enum CredentialKind {
    /// A program's, made by a person.
    Api,
    /// A short one of a service, made from another credential.
    Service,
    /// A person's browser.
    Session,
    /// A short one of an app, renewed by its refresh token.
    Access,
    /// Opens one socket, once.
    Ticket,
}

impl CredentialKind {
    /// The name used in storage and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Service => "service",
            Self::Session => "session",
            Self::Access => "access",
            Self::Ticket => "ticket",
        }
    }

    /// The kind of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Api, Self::Service, Self::Session, Self::Access, Self::Ticket]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// Whether a person sits behind it, who can be asked for a second factor.
    #[must_use]
    pub const fn is_interactive(self) -> bool {
        matches!(self, Self::Session | Self::Access | Self::Ticket)
    }
}

/// Where a request came in, as far as scopes tell places apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Anywhere but at the MCP servers.
    Api,
    /// At an MCP server, where scopes that begin with `mcp:` count too.
    Mcp,
}

impl Identity {
    /// The scope of a request by this user, anywhere but at the MCP servers.
    #[must_use]
    pub fn scope(&self, correlation_id: Uuid) -> Scope {
        self.scope_at(Surface::Api, correlation_id)
    }

    /// The scope of a request by this user at a surface.
    #[must_use]
    pub fn scope_at(&self, surface: Surface, correlation_id: Uuid) -> Scope {
        let counts = |scope: &String| match (scope.strip_prefix("mcp:"), surface) {
            (None, _) => Some(scope.clone()),
            (Some(rest), Surface::Mcp) => Some(rest.to_owned()),
            (Some(_), Surface::Api) => None,
        };
        let scopes = self.credential.scopes.as_ref();
        let authority = Authority {
            credential_id: Some(self.credential.id),
            scopes: scopes.map(|scopes| scopes.iter().filter_map(counts).collect()),
            second_factor: self.credential.second_factor,
        };
        Scope::user(self.org_id, self.user_id, self.role, correlation_id).authorised(authority)
    }

    fn is_good(&self, now: Timestamp) -> bool {
        self.credential.valid_until.is_none_or(|until| now < until)
    }
}

/// A credential nobody has yet: `fin_<kind>_` and 256 random bits. Only its digest is ever stored.
///
/// # Panics
/// When the operating system has no random bytes, in which case nothing is safe.
#[must_use]
pub fn new_secret(kind: &str) -> String {
    use std::fmt::Write as _;
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    let mut text = format!("fin_{kind}_");
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string succeeds");
    }
    text
}

/// Known credentials.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    remembered: Remembered<Digest, Option<Identity>>,
}

impl Identities {
    /// Who shows `token`; nobody if it is a ticket, which opens sockets only.
    pub(crate) async fn of(
        &self,
        pool: &PgPool,
        token: &str,
        now: Timestamp,
        security: &Security,
    ) -> Result<Option<Identity>> {
        let digest = Digest::of(token.as_bytes());
        let asked = match self.remembered.recall(&digest) {
            Recalled::Answer(identity) => {
                return Ok(identity.filter(|identity| identity.is_good(now)));
            }
            Recalled::Nothing(asked) => asked,
        };
        let identity = if service::has_form(token) {
            // What is no token of ours costs no query, and nothing of it is remembered.
            let Some(token) = ServiceToken::verify(&security.secret, token, now) else {
                return Ok(None);
            };
            of_service(pool, token, now, security.profile).await?
        } else {
            find::find(pool, &digest, now, security.profile).await?
        };
        self.remembered.keep(asked, digest, identity.clone());
        Ok(identity)
    }

    /// Who shows a ticket, which is used up by that.
    pub(crate) async fn redeem(
        pool: &PgPool,
        ticket: &str,
        now: Timestamp,
        profile: Profile,
    ) -> Result<Option<Identity>> {
        find::redeem(pool, &Digest::of(ticket.as_bytes()), now, profile).await
    }

    /// Who an identity found earlier is now; nobody when what it showed has ended.
    pub(crate) async fn stands(
        pool: &PgPool,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Option<Identity>> {
        stands::stands(pool, identity, now).await
    }

    /// What is remembered, to be forgotten.
    pub(crate) const fn remembered(&self) -> &Remembered<Digest, Option<Identity>> {
        &self.remembered
    }
}

/// Who shows the token of a service: whoever the credential belongs to that it was made from, as
/// long as that is good. The token cannot say otherwise, and carries no more than that does.
async fn of_service(
    pool: &PgPool,
    token: ServiceToken,
    now: Timestamp,
    profile: Profile,
) -> Result<Option<Identity>> {
    let Some(parent) = find::by_id(pool, token.parent_id, now, profile).await? else {
        return Ok(None);
    };
    let is_theirs = parent.user_id == token.user_id
        && parent.credential.kind != CredentialKind::Ticket
        && are_carried(&token.scopes, parent.credential.scopes.as_deref());
    if !is_theirs {
        return Ok(None);
    }
    let until = token.valid_until();
    let credential = Credential {
        id: token.token_id,
        kind: CredentialKind::Service,
        parent_id: Some(token.parent_id),
        scopes: Some(token.scopes),
        second_factor: parent.credential.second_factor,
        valid_until: Some(parent.credential.valid_until.map_or(until, |other| other.min(until))),
    };
    Ok(Some(Identity { credential, ..parent }))
}
