//! Supervisor specifications: strategy, limits and children, and what contradicts itself.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::child::{ChildSpec, Restart};
use crate::intensity::Intensity;
use crate::quarantine::QuarantineSchedule;
use crate::strategy::Strategy;

/// Whether the end of significant children ends their supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// Never; a significant child is refused.
    #[default]
    Never,
    /// When any significant child ended by itself.
    AnySignificant,
    /// When the last significant child ended by itself.
    AllSignificant,
}

/// What a supervisor starts and how it reacts.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use otp::{ChildSpec, Intensity, SpecError, Strategy, SupervisorSpec};
///
/// let child = |id| ChildSpec::supervisor(id, SupervisorSpec::default());
/// let spec = SupervisorSpec::new(Strategy::RestForOne)
///     .intensity(Intensity::new(5, Duration::from_secs(60)))
///     .child(child("store"))
///     .child(child("web"));
/// assert_eq!(spec.check(), Ok(()));
///
/// // Broken on purpose: one name cannot mean two children.
/// let error = spec.child(child("web")).check();
/// assert_eq!(error, Err(SpecError::DuplicateId { id: "web".to_owned() }));
/// ```
#[derive(Clone, Debug, Default)]
pub struct SupervisorSpec {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) quarantine: Option<QuarantineSchedule>,
    pub(crate) dynamic: Option<Dynamic>,
}

/// A supervisor of children that come and go, each with a specification of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dynamic {
    pub(crate) max_children: Option<usize>,
}

impl SupervisorSpec {
    /// A supervisor without children, which tolerates three restarts within five seconds.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, ..Self::default() }
    }

    /// A supervisor of children that are started at run time, each with a specification of its
    /// own, independent of each other, and stopped all at once.
    #[must_use]
    pub fn dynamic() -> Self {
        let dynamic = Some(Dynamic::default());
        Self { strategy: Strategy::SimpleOneForOne, dynamic, ..Self::default() }
    }

    /// How many restarts it tolerates.
    #[must_use]
    pub const fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Whether the end of significant children ends it.
    #[must_use]
    pub const fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Adds a child, to be started after those added before.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Adds children, to be started in this order after those added before.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.children.extend(children);
        self
    }

    /// Leaves a child supervisor that gave up down for a while, instead of restarting it at once
    /// and in the end giving up too.
    #[must_use]
    pub fn quarantine(mut self, schedule: QuarantineSchedule) -> Self {
        self.quarantine = Some(schedule);
        self
    }

    /// How many children a dynamic supervisor may have; no limit unless said otherwise.
    ///
    /// # Panics
    ///
    /// When the supervisor is not dynamic: the children of others are listed.
    #[must_use]
    pub fn max_children(mut self, max_children: usize) -> Self {
        let dynamic = self.dynamic.as_mut().expect("only a dynamic supervisor has a limit");
        dynamic.max_children = Some(max_children);
        self
    }

    /// Says what contradicts itself, as a supervisor does before it starts any child.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.intensity.within.is_zero() {
            return Err(SpecError::InvalidPeriod);
        }
        let instances = self.strategy == Strategy::SimpleOneForOne;
        if self.dynamic.is_some() {
            if !self.children.is_empty() {
                return Err(SpecError::BadStartSpec { children: self.children.len() });
            }
        } else if instances && self.children.len() != 1 {
            return Err(SpecError::BadStartSpec { children: self.children.len() });
        }
        check_childspecs(&self.children, Some(self.auto_shutdown))
    }

    /// Says what contradicts itself in a child that is to join this supervisor.
    pub(crate) fn check_child(&self, child: &ChildSpec) -> Result<(), SpecError> {
        check_child(child, Some(self.auto_shutdown))
    }
}

/// Says what contradicts itself in a list of children, without a supervisor.
///
/// Whether a significant child may be there depends on the supervisor; without its `auto_shutdown`
/// only what no supervisor accepts is refused.
pub fn check_childspecs(
    children: &[ChildSpec],
    auto_shutdown: Option<AutoShutdown>,
) -> Result<(), SpecError> {
    let mut ids = HashSet::with_capacity(children.len());
    for child in children {
        check_child(child, auto_shutdown)?;
        if !ids.insert(child.id()) {
            return Err(SpecError::DuplicateId { id: child.id().to_owned() });
        }
    }
    Ok(())
}

fn check_child(child: &ChildSpec, auto_shutdown: Option<AutoShutdown>) -> Result<(), SpecError> {
    let permanent = child.restart == Restart::Permanent;
    if child.significant && (permanent || auto_shutdown == Some(AutoShutdown::Never)) {
        return Err(SpecError::BadCombination { id: child.id().to_owned() });
    }
    if child.id().is_empty() || child.id().contains('/') {
        return Err(SpecError::InvalidId { id: child.id().to_owned() });
    }
    Ok(())
}

/// Why a specification is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two children with the same id.
    #[error("two children are called {id:?}")]
    DuplicateId {
        /// Their id.
        id: String,
    },
    /// A significant child that is permanent, or whose supervisor never shuts itself down.
    #[error("child {id:?} is significant, so it cannot be permanent nor auto_shutdown never")]
    BadCombination {
        /// The child.
        id: String,
    },
    /// An id that cannot be part of a path.
    #[error("{id:?} cannot be the id of a child: it is empty or contains a slash")]
    InvalidId {
        /// The id.
        id: String,
    },
    /// A restart window without length.
    #[error("the period of a restart intensity cannot be zero")]
    InvalidPeriod,
    /// A simple `one_for_one` supervisor with other than one specification, or a dynamic one with
    /// any.
    #[error("{children} child specifications where the strategy allows exactly one kind of child")]
    BadStartSpec {
        /// How many there are.
        children: usize,
    },
    /// A running supervisor whose children are listed, instances of one specification, or brought
    /// along one by one, is to become one of another of these kinds.
    #[error("a running supervisor cannot change between listed and dynamic children")]
    OtherKindOfSupervisor,
}

impl SpecError {
    /// The part of the specification that is at fault, in OTP's words.
    #[must_use]
    pub const fn place(&self) -> &'static str {
        match self {
            Self::DuplicateId { .. } | Self::BadCombination { .. } | Self::InvalidId { .. } => {
                "start_spec"
            }
            Self::InvalidPeriod => "supervisor_data",
            Self::BadStartSpec { .. } | Self::OtherKindOfSupervisor => "bad_start_spec",
        }
    }

    /// What is wrong with it, in OTP's words.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::DuplicateId { .. } => "duplicate_child_name",
            Self::BadCombination { .. } => "bad_combination",
            Self::InvalidId { .. } => "invalid_child_id",
            Self::InvalidPeriod => "invalid_period",
            Self::BadStartSpec { .. } => "bad_start_spec",
            Self::OtherKindOfSupervisor => "other_kind_of_supervisor",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn child(id: &str) -> ChildSpec {
        ChildSpec::supervisor(id, SupervisorSpec::default())
    }

    #[test]
    fn two_children_with_one_name_are_refused() {
        let spec = SupervisorSpec::default().child(child("a")).child(child("b")).child(child("a"));

        assert_eq!(spec.check(), Err(SpecError::DuplicateId { id: "a".to_owned() }));
    }

    #[test]
    fn a_significant_child_must_be_able_to_end_for_good_and_to_matter() {
        let never = SupervisorSpec::default()
            .child(child("a").restart(Restart::Transient).significant(true));
        let permanent = SupervisorSpec::default()
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(child("a").significant(true));
        let fine = SupervisorSpec::default()
            .auto_shutdown(AutoShutdown::AllSignificant)
            .child(child("a").restart(Restart::Temporary).significant(true));

        assert_eq!(never.check().map_err(|error| error.code()), Err("bad_combination"));
        assert_eq!(permanent.check().map_err(|error| error.code()), Err("bad_combination"));
        assert_eq!(fine.check(), Ok(()));
    }

    #[test]
    fn a_list_of_children_can_be_checked_before_there_is_a_supervisor() {
        let significant = child("a").restart(Restart::Transient).significant(true);
        let permanent = child("a").significant(true);
        let code = |children: &[ChildSpec], mode| {
            check_childspecs(children, mode).map_err(|error| error.code())
        };

        let any = Some(AutoShutdown::AnySignificant);
        assert_eq!(code(std::slice::from_ref(&significant), None), Ok(()));
        assert_eq!(code(std::slice::from_ref(&significant), any), Ok(()));
        let never = Some(AutoShutdown::Never);
        assert_eq!(code(&[significant], never), Err("bad_combination"));
        assert_eq!(code(&[permanent], None), Err("bad_combination"));
        assert_eq!(code(&[child("a"), child("a")], None), Err("duplicate_child_name"));
        assert_eq!(code(&[child("")], None), Err("invalid_child_id"));
    }

    #[test]
    fn a_window_without_length_is_refused() {
        let spec = SupervisorSpec::default().intensity(Intensity::new(1, Duration::ZERO));

        assert_eq!(spec.check(), Err(SpecError::InvalidPeriod));
    }

    #[test]
    fn a_simple_one_for_one_supervisor_has_exactly_one_specification() {
        let none = SupervisorSpec::new(Strategy::SimpleOneForOne);
        let one = none.clone().child(child("a"));
        let two = one.clone().child(child("b"));

        assert_eq!(none.check(), Err(SpecError::BadStartSpec { children: 0 }));
        assert_eq!(one.check(), Ok(()));
        assert_eq!(two.check(), Err(SpecError::BadStartSpec { children: 2 }));
    }

    #[test]
    fn an_id_that_would_break_a_path_is_refused() {
        let spec = SupervisorSpec::default().child(child("a/b"));

        assert_eq!(spec.check(), Err(SpecError::InvalidId { id: "a/b".to_owned() }));
    }
}
