//! Boot: from the start of the process to its first readiness on an initialised database, and the
//! memory it then keeps while idle.

use std::time::Duration;

use benches::{Platform, data_dir, ms, print};

const BOOT_LIMIT_MS: f64 = 1_500.0;
const RESIDENT_LIMIT_MB: f64 = 80.0;
const RUNS: usize = 5;
/// Long enough for every periodic duty of the first seconds to have run.
const IDLE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let data = data_dir("boot");
    Platform::start(&data).await.stop().await;

    let mut boots = Vec::new();
    for _ in 0..RUNS {
        let platform = Platform::start(&data).await;
        boots.push(platform.ready_after);
        platform.stop().await;
    }
    boots.sort();
    let platform = Platform::start(&data).await;
    tokio::time::sleep(IDLE).await;
    let resident = platform.resident_bytes();
    platform.stop().await;

    print("boot to ready, median of 5", ms(boots[RUNS / 2]), BOOT_LIMIT_MS, "ms");
    print("boot to ready, slowest of 5", ms(boots[RUNS - 1]), BOOT_LIMIT_MS, "ms");
    #[allow(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
    print("idle resident memory", resident as f64 / 1_000_000.0, RESIDENT_LIMIT_MB, "MB");
    // What is left behind in a temporary directory harms nobody.
    let _ = std::fs::remove_dir_all(&data);
}
