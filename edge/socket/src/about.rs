//! About: which user an event of the domain that keeps credentials concerns.
//!
//! Either the event is one of the user, or it names the user as `user_id`: sessions and credentials
//! are aggregates of their own.

use platform::bus::BusEvent;
use platform::{OrgId, UserId};
use serde::Deserialize;
use uuid::Uuid;

#[derive(Deserialize)]
struct Named {
    user_id: Option<Uuid>,
}

/// Whether an event concerns a user.
pub(crate) fn concerns(event: &BusEvent, user_id: UserId) -> bool {
    event.topic.aggregate_id == Some(user_id.uuid()) || named(event) == Some(user_id.uuid())
}

/// Whose connections an event may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concerned {
    /// Those of one user.
    User(UserId),
    /// Those of everybody in an organisation.
    Organisation(OrgId),
}

/// Whose connections an event may end: those of the user it names, or else of its aggregate, which
/// may be the organisation itself.
pub(crate) fn concerned(event: &BusEvent) -> Option<Concerned> {
    let org_id = event.topic.org_id;
    match named(event).or(event.topic.aggregate_id) {
        Some(id) if id == org_id.uuid() => Some(Concerned::Organisation(org_id)),
        Some(id) => Some(Concerned::User(UserId::from_uuid(id))),
        None => None,
    }
}

fn named(event: &BusEvent) -> Option<Uuid> {
    serde_json::from_str::<Named>(&event.payload).ok().and_then(|named| named.user_id)
}
