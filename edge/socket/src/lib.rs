//! The WebSocket surface: Phoenix Channels V2, for the clients that exist for it in every language,
//! and the same by polling for networks that let no WebSocket through.
//!
//! Nothing here knows a domain. Topics and the messages a channel takes are folded from the
//! catalog.
//!
//! | Topic | Who | Pushes | Takes |
//! |---|---|---|---|
//! | `org:<org_id>:<domain>` | its readers | every event of it, by its name | its operations |
//! | `org:<org_id>:<domain>:<aggregate_id>` | the same | the events of one aggregate | the same |
//! | `user:<user_id>` | that user | what concerns their account | the operations of accounts |
//! | `system:supervision` | operators | `supervision` and `tree` | the operator's operations |
//!
//! `supervision` tells what happened in the tree, `tree` draws it anew when too much did.
//!
//! An event's payload is flat: `_seq`, `position`, `event_id`, `event_type`, `version`, `org_id`,
//! `domain`, `aggregate_id`, `correlation_id`, `causation_id`, `recorded_at` and the fact itself as
//! `data`.
//! An operation is answered with its output, or with `{reason, code, message, errors}` as every
//! other surface says it.
//!
//! A join may carry `last_seq`, the `_seq` of the last event seen, and the `epoch` of the answer
//! to the join before; what came after it is told first. The answer says `seq` and `epoch` (where
//! the feed goes on), `replayed` (how many events follow) and `gap` (load anew: too much was
//! missed, or the positions mean other events now).
//!
//! A join may say by `delivery` what it would rather lose when it reads too slowly.
//!
//! A join with `presence` is seen by the others on its topic, and sees them.

mod about;
mod asked;
mod channel;
pub mod channels;
mod credential;
mod delivery;
mod door;
mod farewells;
mod feed;
pub mod frame;
mod limits;
mod longpoll;
mod polled;
mod presence;
mod socket;
mod sockets;
mod standing;
mod stay;
mod throttle;
mod transport;
mod wire;

pub use door::{children, router};
pub use limits::{Limits, Rate};
pub use sockets::{Draining, Patience, Sockets};
