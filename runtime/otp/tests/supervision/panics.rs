//! Wherever the code of a user panics: one process ends, and its supervisor learns why.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;

use otp::{Actor, ChildSpec, Context, ExitReason, Mailbox, Root, Strategy, sys};

use super::stage::{patient, restarted, start};

/// Where an actor panics.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Describe,
    /// Before there is a future to wait for.
    Handle,
    Terminate,
    Drop,
}

struct Clumsy(Place);

impl Place {
    fn pass(self, here: Self) {
        if self == here {
            resume_unwind(Box::new("planned"));
        }
    }
}

impl Actor for Clumsy {
    type Message = Place;

    fn handle(
        &mut self,
        _: Place,
        _: &Context<Place>,
    ) -> impl Future<Output = Result<(), ExitReason>> + Send {
        self.0.pass(Place::Handle);
        std::future::ready(Err(ExitReason::failed("handled")))
    }

    fn describe(message: &Place) -> Cow<'static, str> {
        message.pass(Place::Describe);
        Cow::Borrowed("a message")
    }

    fn terminate(&mut self, _: &ExitReason) -> impl Future<Output = ()> + Send {
        self.0.pass(Place::Terminate);
        std::future::ready(())
    }
}

impl Drop for Clumsy {
    fn drop(&mut self) {
        self.0.pass(Place::Drop);
    }
}

#[tokio::test]
async fn a_panic_is_the_reason_of_the_end_wherever_it_happens() {
    let failed = ExitReason::failed;
    let cases = [
        (Place::Describe, failed("planned")),
        (Place::Handle, failed("planned")),
        (Place::Terminate, failed("planned")),
        (Place::Drop, failed("handled")),
    ];
    for (place, expected) in cases {
        let child = ChildSpec::worker("a", move || Clumsy(place));
        let tree = start(patient(Strategy::OneForOne).child(child)).await.tree();
        let pid = tree.pid("root/a").unwrap();
        sys::set_statistics(&pid, true).unwrap();
        let mut events = tree.subscribe();

        tree.whereis("root/a").unwrap().cast(place).unwrap();

        restarted(&mut events, "root/a").await;
        assert_eq!(pid.exit_reason(), Some(expected));
    }
}

/// A message that panics if nobody handles it.
struct Fuse;

impl Drop for Fuse {
    fn drop(&mut self) {
        resume_unwind(Box::new("planned"));
    }
}

/// Waits, so that its mailbox fills.
struct Idle;

impl Actor for Idle {
    type Message = Option<Fuse>;

    async fn handle(
        &mut self,
        _: Option<Fuse>,
        context: &Context<Option<Fuse>>,
    ) -> Result<(), ExitReason> {
        // What waits behind this message is never handled.
        context.pid().kill();
        std::future::pending().await
    }
}

async fn idle(mailbox: Mailbox) -> Root {
    start(patient(Strategy::OneForOne).child(ChildSpec::worker("a", || Idle).mailbox(mailbox)))
        .await
}

#[tokio::test]
async fn messages_that_panic_when_nobody_handles_them_keep_no_end_from_the_supervisor() {
    let room = NonZeroUsize::new(8).unwrap();
    let tree = idle(Mailbox::bounded(room)).await.tree();
    let mut events = tree.subscribe();
    let actor = tree.whereis("root/a").unwrap();

    for message in [None, Some(Fuse), Some(Fuse)] {
        actor.cast(message).unwrap();
    }

    restarted(&mut events, "root/a").await;
    assert_eq!(actor.pid().exit_reason(), Some(ExitReason::Killed));
}
