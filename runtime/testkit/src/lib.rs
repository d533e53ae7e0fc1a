//! A real system in a test: its own database, its own tree, a clock moved by hand.
//!
//! ```ignore
//! let system = testkit::start([recruit::domain(), pulse::domain()]).await;
//! let recruiter = system.member(ACME, Role::Staff);
//! let order = recruiter.run(open_job_order()).await?;
//! system.settle().await;
//! ```

pub mod database;
mod jobs;
mod member;
mod system;
mod tell;
pub mod warehouse;

pub use database::TestDatabase;
pub use jobs::EnqueuedJob;
pub use member::Member;
pub use system::{
    ACME, GLOBEX, TestSystem, start, start_under, start_with, started_securely, tuning_of,
};
pub use tell::{Tell, telling};
