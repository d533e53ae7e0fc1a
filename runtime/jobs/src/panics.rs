//! Panics: where one happened, for the history of the job that it failed.
//!
//! Who catches a panic is given its message and nothing else; where it happened only the hook of
//! the process is told. So a program that wants to read it in the history of its jobs calls
//! [`note_panics`] when it begins. With `RUST_BACKTRACE=1` the frames are noted too.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::PanicHookInfo;

/// Frames that are the same for every panic tell nothing.
const MACHINERY: [&str; 8] = [
    "std::",
    "core::",
    "<core::",
    "tokio::",
    "<tokio::",
    "futures_util::",
    "<futures_util::",
    "__rust",
];
/// So many frames are noted, the innermost.
const FRAMES_MAX: usize = 24;

thread_local! {
    /// The latest panic of this thread: whoever catches one asks on the thread that panicked.
    static LATEST: RefCell<Option<Noted>> = const { RefCell::new(None) };
}

struct Noted {
    message: String,
    stack: Vec<String>,
}

/// Has this process note where its panics happen, from now on, before it does what it did before.
pub fn note_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        note(panic);
        before(panic);
    }));
}

fn note(panic: &PanicHookInfo<'_>) {
    let mut stack = Vec::new();
    stack.extend(panic.location().map(|location| format!("at {location}")));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        stack.extend(frames(&backtrace.to_string()));
    }
    let noted = Noted { message: message(panic.payload()), stack };
    // A thread that is ending has no place for notes, and nobody there catches anything either.
    let _ = LATEST.try_with(|latest| latest.replace(Some(noted)));
}

/// Where the panic happened that was just caught on this thread, innermost first; nothing unless
/// the process notes it.
#[must_use]
pub fn stack_of(payload: &(dyn Any + Send)) -> Vec<String> {
    let noted = LATEST.try_with(RefCell::take).ok().flatten();
    // A panic that was passed on has passed by the hook, so the note may be of another one.
    noted.filter(|noted| noted.message == message(payload)).map_or_else(Vec::new, |n| n.stack)
}

/// The words of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned())
}

/// The frames of a printed backtrace, each on one line, without those every panic has.
fn frames(backtrace: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    let mut is_telling = false;
    for line in backtrace.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(frame) = frames.last_mut().filter(|_| is_telling) {
                frame.push_str(" at ");
                frame.push_str(place);
            }
            continue;
        }
        let name = line.split_once(": ").map_or(line, |(_, name)| name);
        is_telling = !MACHINERY.iter().any(|prefix| name.starts_with(prefix));
        if is_telling {
            if frames.len() == FRAMES_MAX {
                break;
            }
            frames.push(name.to_owned());
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_line_and_the_machinery_is_left_out() {
        let backtrace = "   0: std::panicking::begin_panic\n\
                         \x20            at /rustc/library/std/src/panicking.rs:1:2\n\
                         \x20  1: recruit::outreach::send\n\
                         \x20            at ./domains/recruit/src/outreach.rs:12:5\n\
                         \x20  2: tokio::runtime::task::poll\n\
                         \x20  3: main\n";

        let frames = frames(backtrace);

        assert_eq!(
            frames,
            ["recruit::outreach::send at ./domains/recruit/src/outreach.rs:12:5", "main"]
        );
    }
}
