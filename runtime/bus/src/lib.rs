//! Bus: live fan-out of sealed events within one node.
//!
//! The [bridge] follows the sealed head and hands every event to the [bus](Bus), whose
//! [broadcaster](broadcast) gives it to everyone who subscribed to its [topic](TopicFilter). Each
//! event is encoded once, however many sockets it goes to, and so is the frame around it. A
//! subscriber chooses what it would rather lose when it is slower than the events; its queue is
//! bounded, and its neighbours never notice.
//!
//! | class | how | a slow subscriber loses |
//! |---|---|---|
//! | [durable](LossClass::Durable) | [`Bus::subscribe_durably`] | nothing: the log has it |
//! | [latest wins](LossClass::LatestWins) | [`Bus::subscribe_latest`] | what is out of date |
//! | [lossy](LossClass::Lossy) | [`Bus::subscribe`] | the [oldest](Interrupted::Lagged), counted |
//!
//! When broadcaster or bridge die, nothing is lost: both go on where they stopped. When the node
//! dies, its subscribers are gone too; whoever has to go on keeps its place under a name, which is
//! the [contract](backend) that other transports keep as well.
//!
//! Beside the events there is [presence](Presence): who is connected now.
//!
//! **Invariant:** of events only sealed ones travel here, in the order of their positions; nothing
//! here can hold up the log.

pub mod backend;
pub mod bridge;
pub mod broadcast;
mod counts;
mod event;
mod mailbox;
pub mod presence;
mod subscription;
mod tail;
mod topic_filter;

pub use backend::{Backend, BackendError, Start, Subscriber, SubscriptionSpec};
pub use bridge::{ReadEvents, Source, SourceError};
pub use broadcast::Bus;
pub use counts::QueueCounts;
pub use event::{Audience, BusEvent, Heading};
pub use mailbox::LossClass;
pub use presence::{Presence, PresenceError, Seen, Tracked, Watching};
pub use subscription::{DurableError, DurableSubscription, Interrupted, Subscription};
pub use tail::{MemoryPlaces, Places, Tail};
pub use topic_filter::{ParseFilterError, TopicFilter};
