//! What those who look inside a process see of its messages.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// One thing that a process did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemEvent {
    /// Its number among the events of the process, counted from 1 since somebody looks.
    pub number: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What it was.
    pub kind: SystemEventKind,
}

/// What a process did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemEventKind {
    /// It began to handle one.
    In {
        /// What [`crate::Actor::describe`] says of it.
        message: Cow<'static, str>,
    },
    /// It has handled the one it began with.
    Handled {
        /// What [`crate::Actor::describe`] says of it.
        message: Cow<'static, str>,
        /// From the beginning to the end, with all the waiting in between.
        took: Duration,
        /// The part of it in which the process ran on a thread.
        busy: Duration,
    },
    /// While it handled one, it sent one: a cast, a call or a request to a supervisor.
    Out {
        /// The name of the type of the message.
        message: Cow<'static, str>,
        /// Where in the tree the receiver lives.
        to: String,
    },
    /// While it handled one, it answered a call.
    Reply {
        /// The name of the type of the answer.
        message: Cow<'static, str>,
    },
}

/// The name of a type without the modules it is in and the types it is made of.
pub(crate) fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split_once('<').map_or(name, |(name, _)| name);
    name.rsplit_once("::").map_or(name, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_name_of_a_type_is_its_last_word() {
        let names = [
            short_name::<SystemEvent>(),
            short_name::<Option<SystemEvent>>(),
            short_name::<u64>(),
            short_name::<()>(),
        ];

        assert_eq!(names, ["SystemEvent", "Option", "u64", "()"]);
    }
}
