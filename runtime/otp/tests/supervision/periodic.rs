//! Children that act on their own clock.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use otp::{ChildSpec, Clock, Nudge, Root, Strategy};
use tokio::sync::mpsc;

use super::stage::{SECOND, patient};

fn duty(nudge: Option<Nudge>) -> (ChildSpec, mpsc::UnboundedReceiver<()>) {
    let (sender, acts) = mpsc::unbounded_channel();
    let sender = Arc::new(sender);
    let spec = ChildSpec::periodic("duty", 10 * SECOND, Duration::ZERO, nudge, move |_| {
        let sender = sender.clone();
        async move {
            sender.send(()).unwrap();
            Ok(())
        }
        .boxed()
    });
    (spec, acts)
}

#[tokio::test(start_paused = true)]
async fn a_periodic_child_acts_at_its_start_and_then_on_its_clock() {
    let (spec, mut acts) = duty(None);
    let before = tokio::time::Instant::now();
    let _root = Root::start(patient(Strategy::OneForOne).child(spec), Clock::system()).await;

    let mut moments = Vec::new();
    for _ in 0..3 {
        acts.recv().await.unwrap();
        moments.push(before.elapsed().as_secs());
    }

    assert_eq!(moments, [0, 10, 20]);
}

#[tokio::test]
async fn a_nudge_makes_it_act_at_once_and_its_stop_is_immediate() {
    let nudge = Nudge::new();
    let clock = Clock::manual(chrono::DateTime::UNIX_EPOCH);
    let (spec, mut acts) = duty(Some(nudge.clone()));
    let root = Root::start(patient(Strategy::OneForOne).child(spec), clock.clone()).await.unwrap();
    acts.recv().await.unwrap();

    nudge.nudge();
    acts.recv().await.unwrap();
    root.stop().await;

    assert_eq!(acts.recv().await, None);
    assert_eq!(clock.now(), chrono::DateTime::UNIX_EPOCH);
}
