//! The system's answers to "who is this?", and what it needs for them.

use kernel::OrgId;
use tokio::sync::watch;

use super::{Enrolment, Identities, Identity, enrol};
use crate::profile::Profile;
use crate::public_url::PublicUrl;
use crate::refusal::Result;
use crate::relying_party::RelyingParty;
use crate::secret::MasterSecret;
use crate::system::System;

impl System {
    /// Who a bearer token belongs to; `None` for a token nobody has, and for a ticket.
    pub async fn authenticate(&self, token: &str) -> Result<Option<Identity>> {
        self.identities().of(self.pool(), token, self.now(), self.security()).await
    }

    /// Who a ticket belongs to, which opens one socket and is used up by this; `None` for one that
    /// is unknown, too old or used.
    pub async fn redeem_ticket(&self, ticket: &str) -> Result<Option<Identity>> {
        Identities::redeem(self.pool(), ticket, self.now(), self.profile()).await
    }

    /// Who whoever is connected is now, as the database knows them; `None` when what they connected
    /// with has ended, and so must the connection.
    pub async fn still_stands(&self, identity: &Identity) -> Result<Option<Identity>> {
        Identities::stands(self.pool(), identity, self.now()).await
    }

    /// Asks the database again for every credential: whoever was revoked is out at once.
    pub fn forget_credentials(&self) {
        self.identities().remembered().forget();
    }

    /// Asks the database again for every credential of an organisation.
    pub fn forget_credentials_of(&self, org_id: OrgId) {
        self.identities().remembered().forget_unless(|_, identity| {
            identity.as_ref().is_some_and(|identity| identity.org_id != org_id)
        });
    }

    /// Changes whenever this node forgets what it remembers of credentials, because of a change
    /// that was made here or on another node. What stays open longer than a request asks again
    /// then.
    #[must_use]
    pub fn credential_changes(&self) -> watch::Receiver<u64> {
        self.identities().remembered().forgotten()
    }

    /// Which rules of security hold.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.security().profile
    }

    /// Where this installation is reached, by those who are sent a link to it.
    #[must_use]
    pub fn address(&self) -> &PublicUrl {
        &self.security().address
    }

    /// Whom passkeys of this installation are made for; nobody if it has none.
    #[must_use]
    pub fn relying_party(&self) -> Option<&RelyingParty> {
        self.security().passkeys.as_ref()
    }

    /// The secret that all nodes of this installation share.
    #[must_use]
    pub fn secret(&self) -> &MasterSecret {
        &self.security().secret
    }

    /// Makes an organisation, a user and a token, as far as they do not exist yet.
    pub async fn enrol(&self, enrolment: &Enrolment) -> Result<()> {
        enrol(self.pool(), enrolment, self.now()).await
    }
}
