//! The suites of the whole workspace, in one binary: the crate graph, the manners of the source,
//! what the database refuses, who sees whose rows, what every
//! surface answers, what survives a kill, and the founding story.

mod inputs;
mod support;
mod world;

mod architecture;
mod boundaries;
mod contracts;
mod reload;
mod stories;
mod supervision;
mod surfaces;
mod tenancy;
mod tidy;
