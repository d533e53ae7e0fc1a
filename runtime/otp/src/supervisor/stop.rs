//! How a supervisor stops processes: one with its patience, or many at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::patience::Patience;
use crate::child::Shutdown;
use crate::clock::later;
use crate::exit::ExitReason;
use crate::incarnation::Incarnation;

/// Stops one process by its shutdown rule and waits until it is gone.
pub(super) async fn stop_process(
    incarnation: Arc<Incarnation>,
    rule: Shutdown,
    patience: &mut Patience,
) {
    let gone = incarnation.gone();
    if gone.is_raised() {
        return;
    }
    match rule {
        Shutdown::BrutalKill => incarnation.put_down(),
        Shutdown::Infinity => incarnation.tell(ExitReason::Shutdown),
        Shutdown::Timeout(limit) => {
            incarnation.tell(ExitReason::Shutdown);
            if !patience.wait(limit, gone.raised()).await {
                incarnation.put_down();
            }
        }
    }
    gone.raised().await;
}

/// Stops processes that have no order, and waits until all are gone.
///
/// All are told at once, and one timer runs for each distinct patience, however many processes
/// share it: what is left of them then is killed. So it takes as long as the greatest patience,
/// not as long as their sum.
pub(super) async fn stop_together(processes: Vec<(Arc<Incarnation>, Shutdown)>) {
    let mut by_patience: BTreeMap<Duration, Vec<&Arc<Incarnation>>> = BTreeMap::new();
    for (incarnation, rule) in &processes {
        if incarnation.gone().is_raised() {
            continue;
        }
        match rule {
            Shutdown::BrutalKill => incarnation.put_down(),
            Shutdown::Infinity => incarnation.tell(ExitReason::Shutdown),
            Shutdown::Timeout(patience) => {
                incarnation.tell(ExitReason::Shutdown);
                by_patience.entry(*patience).or_default().push(incarnation);
            }
        }
    }
    let told = Instant::now();
    for (patience, impatient) in by_patience {
        let all_gone = async {
            for incarnation in &impatient {
                incarnation.gone().raised().await;
            }
        };
        if timeout_at(later(told, patience), all_gone).await.is_err() {
            let left = impatient.iter().filter(|incarnation| !incarnation.gone().is_raised());
            left.for_each(|incarnation| incarnation.put_down());
        }
    }
    for (incarnation, _) in &processes {
        incarnation.gone().raised().await;
    }
}
