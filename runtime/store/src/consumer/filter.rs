//! Filters: which events a consumer sees, by domain, type and organisation.
//!
//! **Invariant:** a filter looks at what never changes about an event, so it answers the same in a
//! replay.

use std::sync::Arc;

use kernel::OrgId;

use super::lane::Lane;
use crate::read::EventName;

/// Which events a consumer sees.
///
/// It lists sorts of events, any of which will do, and organisations; with none listed, those of
/// all organisations are seen. An empty filter sees nothing.
///
/// # Examples
///
/// ```
/// use kernel::OrgId;
/// use store::consumer::Filter;
///
/// let acme = OrgId::new();
/// let filter = Filter::none().domain("recruit").event("pulse", "shift_filled").organisation(acme);
/// assert!(filter.wants("recruit", "job_order_opened", acme));
/// assert!(!filter.wants("pulse", "shift_opened", acme));
/// assert!(!filter.wants("recruit", "job_order_opened", OrgId::new()));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub(super) is_everything: bool,
    pub(super) names: Arc<[EventName]>,
    pub(super) domains: Arc<[String]>,
    pub(super) types: Arc<[String]>,
    pub(super) org_ids: Arc<[OrgId]>,
}

impl Filter {
    /// Sees nothing, until something is added.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Sees every event.
    #[must_use]
    pub fn everything() -> Self {
        Self { is_everything: true, ..Self::default() }
    }

    /// Sees events with these domains and types.
    #[must_use]
    pub fn events(names: impl IntoIterator<Item = EventName>) -> Self {
        Self { names: names.into_iter().collect(), ..Self::default() }
    }

    /// Sees the events of this type of this domain too.
    #[must_use]
    pub fn event(mut self, domain: &str, event_type: &str) -> Self {
        self.names = with(&self.names, (domain.to_owned(), event_type.to_owned()));
        self
    }

    /// Sees all events of this domain too.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        self.domains = with(&self.domains, domain.to_owned());
        self
    }

    /// Sees the events of this type of any domain too.
    #[must_use]
    pub fn event_type(mut self, event_type: &str) -> Self {
        self.types = with(&self.types, event_type.to_owned());
        self
    }

    /// Of all that, sees only the events of this organisation, and of others named likewise.
    #[must_use]
    pub fn organisation(mut self, org_id: OrgId) -> Self {
        self.org_ids = with(&self.org_ids, org_id);
        self
    }

    /// Whether it sees such an event.
    #[must_use]
    pub fn wants(&self, domain: &str, event_type: &str, org_id: OrgId) -> bool {
        self.wants_org(org_id) && self.wants_sort(domain, event_type)
    }

    /// The same, of this organisation alone.
    pub(super) fn only_of(self, org_id: OrgId) -> Self {
        Self { org_ids: [org_id].into(), ..self }
    }

    /// Whether it sees events of the organisation.
    pub(super) fn wants_org(&self, org_id: OrgId) -> bool {
        self.org_ids.is_empty() || self.org_ids.contains(&org_id)
    }

    /// The domains and types it sees, if nothing else decides that.
    pub(super) fn only_names(&self) -> Option<&[EventName]> {
        let is_all = !self.is_everything && self.domains.is_empty() && self.types.is_empty();
        is_all.then_some(&*self.names)
    }

    /// Whether it sees such an event of some organisation.
    pub(crate) fn wants_sort(&self, domain: &str, event_type: &str) -> bool {
        self.is_everything
            || self.names.iter().any(|name| name.0 == domain && name.1 == event_type)
            || self.domains.iter().any(|known| known == domain)
            || self.types.iter().any(|known| known == event_type)
    }
}

fn with<T: Clone>(list: &[T], one: T) -> Arc<[T]> {
    list.iter().cloned().chain([one]).collect()
}

/// What one lane of a consumer sees: a filter, its own organisations, without those that are
/// parked.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) filter: Filter,
    pub(super) lane: Lane,
    pub(super) parked: Vec<OrgId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &Filter, domain: &str, event_type: &str, expected: bool) {
        let wanted = filter.wants(domain, event_type, OrgId::new());
        assert_eq!(wanted, expected, "{domain} {event_type} by {filter:?}");
    }

    #[test]
    fn sorts_of_events_add_up() {
        let filter = Filter::none().domain("recruit").event_type("filled").event("pulse", "told");

        check(&filter, "recruit", "opened", true);
        check(&filter, "payroll", "filled", true);
        check(&filter, "pulse", "told", true);
        check(&filter, "pulse", "opened", false);
    }

    #[test]
    fn an_empty_filter_sees_nothing_and_a_full_one_everything() {
        check(&Filter::none(), "recruit", "opened", false);
        check(&Filter::everything(), "recruit", "opened", true);
    }
}
