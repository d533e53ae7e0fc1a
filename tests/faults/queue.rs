//! The faults the queue survives: jobs whose effects are counted in the database while attempts,
//! producers, supervisors, whole nodes and Postgres are killed.
//!
//! The nodes are processes of the operating system (`worker/`), the judge reads tables as a
//! superuser. Waits between attempts are cut short from outside, as an operator may; nothing else
//! is made easy.

mod enqueuer;
mod expected;
mod flows;
mod site;
mod table;
mod verdict;
mod worker;

mod bad;
mod clocks;
mod kills;
mod survivor;
