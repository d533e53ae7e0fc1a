//! The disk is full: on a small file system of its own where one may be mounted, and everywhere by
//! a limit on the size of files.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, interval, sleep};

use crate::amount::{WRITERS, times};
use crate::cluster::{Cluster, folder};
use crate::trial::Trial;
use crate::writers::Writers;

/// The size of the small file system: the empty log, its journal, and some minutes of writing.
const SIZE: &str = "size=224m,mode=0755";
/// What is left on a full disk: less than the next file of the journal needs.
const ROOM_BYTES: u64 = 256 * 1024;
/// How many bytes the server's files may have while they are limited; those of the journal have
/// more.
const FILE_BYTES_MAX: &str = "2097152";
/// How long it may take until the server feels that there is no room.
const FULL_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_commands_and_loses_none_that_it_took() {
    let small = match SmallDisk::mount() {
        Ok(small) => small,
        Err(reason) => return eprintln!("not tried here: {reason}"),
    };
    let cluster = Cluster::start_in(small.0.join("data")).await;
    let trial = Trial::of("Disk full (a tmpfs of 224 MiB)");

    trial
        .run_plain(&cluster, &cluster.app(), async |_, _, writers| {
            let rounds = times(5, 1);
            for _ in 0..rounds {
                writers.write_more(200).await;
                small.fill();
                feels_it(writers).await;
                small.make_room();
                writers.write_more(200).await;
            }
            format!("{rounds} times, until commands failed")
        })
        .await;

    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_may_not_grow_refuse_commands_and_lose_none_that_they_took() {
    let cluster = Cluster::start("limit").await;
    let trial = Trial::of("No room for files to grow (RLIMIT_FSIZE)");

    trial
        .run_plain(&cluster, &cluster.app(), async |_, _, writers| {
            let rounds = times(5, 1);
            for _ in 0..rounds {
                writers.write_more(200).await;
                limit_files(&cluster, FILE_BYTES_MAX);
                feels_it(writers).await;
                limit_files(&cluster, "unlimited");
                writers.write_more(200).await;
            }
            format!("{rounds} times, until commands failed")
        })
        .await;

    cluster.stop().await;
}

/// Waits until commands fail, and then for a while.
async fn feels_it(writers: &Writers) {
    let before = writers.failed();
    let deadline = Instant::now() + FULL_WITHIN;
    let mut ticks = interval(Duration::from_millis(5));
    while writers.failed() < before + WRITERS as u64 {
        ticks.tick().await;
        assert!(Instant::now() < deadline, "the server still has room");
    }
    sleep(Duration::from_secs(1)).await;
}

/// Limits the size of the files of the server and all its sessions, as the user who runs them.
fn limit_files(cluster: &Cluster, bytes: &str) {
    let (uid, gid) = cluster.server_user();
    for process in cluster.backends().into_iter().chain(cluster.postmaster()) {
        let mut limit = Command::new("prlimit");
        limit.uid(uid).gid(gid).stderr(Stdio::null());
        limit.arg(format!("--pid={process}")).arg(format!("--fsize={bytes}:unlimited"));
        // A session that has just ended needs no limit.
        limit.status().expect("every Linux has `prlimit`");
    }
}

/// A small file system in memory. It ends when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let point = folder(&format!("disk-{}", std::process::id()));
        std::fs::create_dir_all(&point).map_err(|error| error.to_string())?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "finnest-faults"]).arg(&point);
        let output = mount.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(Self(point));
        }
        // It is empty.
        let _ = std::fs::remove_dir(&point);
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the room there is but a little.
    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("there is room for a name");
        let block = vec![0; 64 * 1024];
        while ballast.write_all(&block).is_ok() {}
        let bytes = ballast.metadata().expect("it is open").len();
        ballast.set_len(bytes.saturating_sub(ROOM_BYTES)).expect("it may shrink");
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).expect("it was made by `fill`");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
        // What still holds it harms nobody.
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn unmount(point: &Path) {
    let status = Command::new("umount").arg("--lazy").arg(point).status();
    assert!(status.is_ok_and(|status| status.success()), "what was mounted can be unmounted");
}
