//! Text messages to candidates, as the development adapter of the provider sends them: into a
//! table.
//!
//! The provider is asked to send a message under a key and sends it once, however often it is
//! asked; the table does the same. An adapter for a real provider takes the place of [`hand_over`].

use contracts::recruit::OutreachId;
use platform::{Command, Result, Scope, Spec, System, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text message under its idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Sms {
    /// The provider's idempotency key.
    pub(crate) outreach_id: OutreachId,
    /// Mobile number in international form.
    pub(crate) recipient: String,
    pub(crate) body: String,
}

/// Hands a message to the provider and answers the provider's reference for it.
pub(crate) async fn hand_over(system: &System, scope: &Scope, sms: Sms) -> Result<String> {
    let reference = format!("outbox-{}", sms.outreach_id);
    system.run(scope, WriteSmsToOutbox { sms }).await?;
    Ok(reference)
}

/// Puts a message into the outbox, once for its key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WriteSmsToOutbox {
    sms: Sms,
}

impl Command for WriteSmsToOutbox {
    const SPEC: Spec = Spec::internal("write_sms_to_outbox");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let Sms { outreach_id, recipient, body } = self.sms;
        sqlx::query(
            "insert into recruit.sms_outbox (org_id, idempotency_key, recipient, body, created_at)
             values ($1, $2, $3, $4, $5)
             on conflict (org_id, idempotency_key) do nothing",
        )
        .bind(tx.org_id())
        .bind(outreach_id)
        .bind(recipient)
        .bind(body)
        .bind(tx.now())
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}
