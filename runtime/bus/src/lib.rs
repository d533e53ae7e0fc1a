//! Bus: live fan-out of sealed events within one node.
//!
//! The [bridge] follows the sealed head and hands every event to the [bus](Bus), whose
//! [broadcaster](broadcast) gives it to everyone who [subscribed](Bus::subscribe) to its topic.
//! Each event is encoded once, however many sockets it goes to.
//!
//! | loss | what happens |
//! |---|---|
//! | a slow subscriber | its oldest events go, and it is [told](Interrupted::Lagged) how many |
//! | broadcaster or bridge die | nothing is lost: both go on where they stopped |
//! | the node dies | subscribers are gone too; clients catch up from their last position |
//!
//! **Invariant:** only sealed events travel here, in the order of their positions; nothing here can
//! hold up the log.

pub mod bridge;
pub mod broadcast;
mod event;
mod mailbox;
mod topic_filter;

pub use bridge::{Source, SourceError};
pub use broadcast::{Bus, Interrupted, Subscription};
pub use event::{BusEvent, Heading};
pub use topic_filter::TopicFilter;
