//! Partition supervisors: several copies of one child, so that no single one is the bottleneck.
//!
//! The copies are independent of each other and numbered from zero. Whoever wants one names a key,
//! and the same key always leads to the same copy: an integer by its remainder, anything else by
//! its hash. The handle looks the copy up at every use, so it follows restarts.
//!
//! As in Elixir's `PartitionSupervisor`, except that there is no name to register: the place in the
//! tree is the name, as everywhere here. The hash of a key is stable within one build of a program
//! and must not be stored.
//!
//! # Examples
//!
//! ```
//! use std::num::NonZeroUsize;
//! use otp::{
//!     Actor, CALL_TIMEOUT, ChildSpec, Clock, Context, ExitReason, PartitionSupervisor, Reply,
//!     Root, Strategy, SupervisorSpec,
//! };
//!
//! /// Knows which copy it is.
//! struct Copy(usize);
//!
//! struct Which(Reply<usize>);
//!
//! impl Actor for Copy {
//!     type Message = Which;
//!
//!     async fn handle(
//!         &mut self,
//!         Which(reply): Which,
//!         _: &Context<Which>,
//!     ) -> Result<(), ExitReason> {
//!         reply.send(self.0);
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let copies = PartitionSupervisor::with_arguments(|partition| {
//!     ChildSpec::worker("copy", move || Copy(partition))
//! });
//! let copies = copies.partitions(NonZeroUsize::new(3).expect("three is not zero"));
//! let spec = SupervisorSpec::new(Strategy::OneForOne).child(copies.child("copies"));
//! let root = Root::start(spec, Clock::system()).await?;
//!
//! let copies = copies.at(root.tree(), "root/copies");
//! assert_eq!(copies.call(-7, Which, CALL_TIMEOUT).await?, 1);
//! let ada = copies.call("ada", Which, CALL_TIMEOUT).await?;
//! copies.pid_for("ada").expect("it is up").kill();
//! # while copies.pid_for("ada").is_none_or(|copy| copy.incarnation() < 2) {
//! #     tokio::task::yield_now().await;
//! # }
//! // Another incarnation, the same copy.
//! assert_eq!(copies.call("ada", Which, CALL_TIMEOUT).await?, ada);
//! # root.stop().await;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::call::{ActorRef, CallError, CastError, Reply};
use crate::child::ChildSpec;
use crate::incarnation::Pid;
use crate::intensity::Intensity;
use crate::specification::SupervisorSpec;
use crate::strategy::Strategy;
use crate::tree::Tree;

/// Several copies of one child, described.
#[derive(Clone)]
pub struct PartitionSupervisor {
    partitions: NonZeroUsize,
    strategy: Strategy,
    intensity: Intensity,
    make: Arc<dyn Fn(usize) -> ChildSpec + Send + Sync>,
}

impl PartitionSupervisor {
    /// Copies of `child`, as many as the computer runs threads at once.
    ///
    /// Its id is not used: each copy is called by its number.
    #[must_use]
    pub fn new(child: ChildSpec) -> Self {
        Self::with_arguments(move |_| child.clone())
    }

    /// Children made by `make` from their number, counted from zero.
    pub fn with_arguments(make: impl Fn(usize) -> ChildSpec + Send + Sync + 'static) -> Self {
        let partitions = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let (strategy, intensity) = (Strategy::default(), Intensity::default());
        Self { partitions, strategy, intensity, make: Arc::new(make) }
    }

    /// How many copies there are.
    #[must_use]
    pub const fn partitions(mut self, partitions: NonZeroUsize) -> Self {
        self.partitions = partitions;
        self
    }

    /// Which copies a failure of one takes along; none unless said otherwise.
    #[must_use]
    pub const fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// How many restarts are tolerated, of all copies together; three within five seconds unless
    /// said otherwise.
    #[must_use]
    pub const fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// The child specification of the supervisor of the copies.
    #[must_use]
    pub fn child(&self, id: &str) -> ChildSpec {
        let this = self.clone();
        ChildSpec::supervisor_from(id, move || {
            let copies = (0..this.partitions.get()).map(|partition| {
                let mut child = (this.make)(partition);
                child.id = partition.to_string().into();
                child
            });
            let spec = SupervisorSpec::new(this.strategy).intensity(this.intensity);
            Ok(spec.children(copies))
        })
    }

    /// The copies, once their supervisor lives at `path`.
    #[must_use]
    pub fn at(&self, tree: Tree, path: impl Into<Arc<str>>) -> Partitions {
        Partitions { tree, path: path.into(), count: self.partitions }
    }
}

impl fmt::Debug for PartitionSupervisor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PartitionSupervisor")
            .field("partitions", &self.partitions)
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}

/// What decides which copy is meant.
///
/// Integers and text are keys as they are; for anything else there is [`PartitionKey::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionKey(u128);

impl PartitionKey {
    /// Anything that can be hashed.
    pub fn of(key: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self(hasher.finish().into())
    }

    /// The copy it leads to, of `partitions`.
    ///
    /// # Panics
    ///
    /// Never: a remainder is less than its divisor.
    #[must_use]
    pub fn partition(self, partitions: NonZeroUsize) -> usize {
        let remainder = self.0 % partitions.get() as u128;
        usize::try_from(remainder).expect("a remainder is less than its divisor")
    }
}

macro_rules! integers_are_keys {
    ($($signed:ty, $unsigned:ty;)*) => {$(
        impl From<$signed> for PartitionKey {
            fn from(key: $signed) -> Self {
                Self(key.unsigned_abs().into())
            }
        }

        impl From<$unsigned> for PartitionKey {
            fn from(key: $unsigned) -> Self {
                Self(key.into())
            }
        }
    )*};
}

integers_are_keys! { i8, u8; i16, u16; i32, u32; i64, u64; }

impl From<isize> for PartitionKey {
    fn from(key: isize) -> Self {
        Self::from(key.unsigned_abs())
    }
}

impl From<usize> for PartitionKey {
    fn from(key: usize) -> Self {
        Self(key as u128)
    }
}

impl From<&str> for PartitionKey {
    fn from(key: &str) -> Self {
        Self::of(key)
    }
}

impl From<&String> for PartitionKey {
    fn from(key: &String) -> Self {
        Self::of(key)
    }
}

impl From<String> for PartitionKey {
    fn from(key: String) -> Self {
        Self::of(key)
    }
}

/// The copies under a partition supervisor, across restarts of any of them.
#[derive(Clone, Debug)]
pub struct Partitions {
    tree: Tree,
    path: Arc<str>,
    count: NonZeroUsize,
}

impl Partitions {
    /// How many copies there are, running or not.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count.get()
    }

    /// Every copy in the order of the numbers, with its process if it is up.
    #[must_use]
    pub fn which(&self) -> Vec<Option<Pid>> {
        (0..self.count()).map(|partition| self.tree.pid(&self.place(partition))).collect()
    }

    /// The process that a key leads to, if it is up.
    #[must_use]
    pub fn pid_for(&self, key: impl Into<PartitionKey>) -> Option<Pid> {
        self.tree.pid(&self.place_for(key))
    }

    /// The actor that a key leads to, if it is up and understands messages of type `M`.
    #[must_use]
    pub fn actor_for<M: Send + 'static>(
        &self,
        key: impl Into<PartitionKey>,
    ) -> Option<ActorRef<M>> {
        self.tree.whereis(&self.place_for(key))
    }

    /// Puts a message into the mailbox of the copy that a key leads to.
    ///
    /// # Errors
    ///
    /// Those of [`ActorRef::cast`]; [`CastError::NoProc`] while that copy is down or being
    /// restarted.
    pub fn cast<M: Send + 'static>(
        &self,
        key: impl Into<PartitionKey>,
        message: M,
    ) -> Result<(), CastError> {
        self.actor_for(key).ok_or(CastError::NoProc)?.cast(message)
    }

    /// Asks the copy that a key leads to and waits for the answer, at most for `within`.
    ///
    /// # Errors
    ///
    /// Those of [`ActorRef::call`]; [`CallError::NoProc`] while that copy is down or being
    /// restarted.
    pub async fn call<M: Send + 'static, T: Send>(
        &self,
        key: impl Into<PartitionKey> + Send,
        message: impl FnOnce(Reply<T>) -> M + Send,
        within: Duration,
    ) -> Result<T, CallError> {
        let actor = self.actor_for(key).ok_or(CallError::NoProc)?;
        actor.call(message, within).await
    }

    fn place_for(&self, key: impl Into<PartitionKey>) -> String {
        self.place(key.into().partition(self.count))
    }

    fn place(&self, partition: usize) -> String {
        format!("{}/{partition}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn three() -> NonZeroUsize {
        NonZeroUsize::new(3).unwrap()
    }

    #[test]
    fn an_integer_leads_to_its_remainder_whatever_its_sign_and_width() {
        let leads = |key: PartitionKey| key.partition(three());

        assert_eq!([leads(7_i8.into()), leads((-7_i64).into()), leads(7_usize.into())], [1, 1, 1]);
        assert_eq!(leads(i64::MIN.into()), usize::try_from((1_u64 << 63) % 3).unwrap());
        assert_eq!(leads(u64::MAX.into()), usize::try_from(u64::MAX % 3).unwrap());
    }

    #[test]
    fn text_leads_to_the_same_copy_however_it_is_owned() {
        let text = "ada".to_owned();

        assert_eq!(PartitionKey::from(&text), PartitionKey::from("ada"));
        assert_eq!(PartitionKey::from(text), PartitionKey::of("ada"));
    }

    proptest! {
        #[test]
        fn every_key_leads_to_a_copy_that_exists(number: i64, text: String, copies in 1_usize..50) {
            let copies = NonZeroUsize::new(copies).unwrap();

            prop_assert!(PartitionKey::from(number).partition(copies) < copies.get());
            prop_assert!(PartitionKey::from(text).partition(copies) < copies.get());
        }
    }
}
