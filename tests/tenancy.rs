//! Nobody sees another organisation's rows: not by an operation, not in the database, not by what
//! runs in the background, not on a socket.
//!
//! The walks cover whatever the catalog and the database have, so what is added is walked over
//! without an edit here; what a walk cannot know, it asks for by failing with a name.

mod agents;
mod causes;
mod jobs;
mod listening;
mod operations;
mod tables;
