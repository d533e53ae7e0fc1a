//! Store: the event log, ordered without gaps and tamper-evident.
//!
//! Writers [append] events in their own transactions and never wait for each other. One [sealer]
//! per cluster gives each committed event its gapless position and the next link of its
//! organisation's hash chain. [Consumers](consumer) and [readers](read) see sealed events only, in
//! order; a consumer's cursor moves in the commit of its effect. [Verification](verify) walks the
//! chains and names every place where they do not hold; a [replay] makes the tables of a read model
//! again beside the live ones.
//!
//! **Invariant:** nothing here knows what an event means, and nothing ever changes one.

mod append;
pub mod archive;
mod backoff;
mod chain;
mod chained;
pub mod checkpoint;
pub mod consumer;
pub mod cursor;
pub mod export;
pub mod import;
mod leader;
mod line;
mod log;
pub mod partition;
pub mod place;
pub mod read;
mod recent;
pub mod replay;
mod sealed;
pub mod sealer;
mod sessions;
mod stats;
mod transaction;
mod unsealed;
pub mod verify;
pub mod wake;

pub use append::{
    AppendError, Appended, Cause, ChainOfCauses, ExpectedVersion, NewEvent, PAYLOAD_BYTES_MAX,
    aggregate_version, append, append_all, append_all_expecting, append_expecting, append_once,
    chain_of_causes,
};
pub use chained::{BadLine, LineProblem};
pub use consumer::Consumer;
pub use leader::SealError;
pub use log::Log;
pub use sealed::{ReadError, SealedEvent, SealedRow};
pub use sessions::{Session, Sessions};
pub use stats::{SealerCounts, SealerStats};
pub use transaction::{begin, begin_reading, open};
