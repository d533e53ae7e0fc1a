//! The port to whoever looks at documents for the AI stages.
//!
//! A provider answers what it sees and what that cost. It is asked under a deadline, may be away at
//! any time, and never decides what follows.

use contracts::onboard::Stage;
use platform::otp::BoxFuture;

use super::Assignment;
use super::development::Development;
use super::finding::Finding;

/// Who looks at documents.
pub(crate) trait Provider: Send + Sync {
    /// Its name, for the record.
    fn name(&self) -> &'static str;
    /// The most that looking may cost, in millionths of a US dollar.
    fn cost_max_micro_dollars(&self, assignment: &Assignment) -> u64;
    /// Looks at a document for one stage.
    fn examine<'a>(
        &'a self,
        assignment: &'a Assignment,
    ) -> BoxFuture<'a, Result<Examined, ProviderError>>;
    /// Whether it would answer.
    fn check(&self) -> BoxFuture<'_, Result<(), ProviderError>>;
}

/// What a provider saw, and what that cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) finding: Finding,
    pub(crate) cost_micro_dollars: u64,
}

/// Why a provider has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It is away or too busy.
    #[error("the provider is away: {0}")]
    #[cfg_attr(not(test), expect(dead_code, reason = "the development adapter is never away"))]
    Away(&'static str),
    /// The stage needs no provider.
    #[error("no provider looks at a document for {0:?}")]
    NotAsked(Stage),
}

/// The provider of this deployment. There is one adapter so far, the one for development.
pub(crate) fn provider() -> &'static dyn Provider {
    &Development
}
