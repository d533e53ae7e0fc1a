//! The birth of a process: its user, its group, and who it dies with.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{OsProcessSpec, StopSignal};

/// Why a process could not be born.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    #[error("cannot run {program}: {source}")]
    Program { program: String, source: io::Error },
    #[error("`setpriv` is needed to run {program} as another user; install util-linux")]
    NoSetpriv { program: String },
}

/// Starts the process on the thread that starts all of them.
pub(super) async fn spawn(spec: &OsProcessSpec) -> Result<Child, SpawnError> {
    let program = || spec.program.display().to_string();
    let command = command(spec).ok_or_else(|| SpawnError::NoSetpriv { program: program() })?;
    let (reply, answer) = oneshot::channel();
    spawner()
        .send(Birth { command, runtime: Handle::current(), reply })
        .expect("the thread that starts processes never ends");
    let born = answer.await.expect("the thread that starts processes always answers");
    born.map_err(|source| SpawnError::Program { program: program(), source })
}

struct Birth {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// The one thread that starts processes.
///
/// A process gets its parent-death signal when the *thread* that started it ends, and the worker
/// threads of a runtime may end before the platform does. This thread is as old as the platform.
fn spawner() -> &'static mpsc::Sender<Birth> {
    static SPAWNER: OnceLock<mpsc::Sender<Birth>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (births, due) = mpsc::channel::<Birth>();
        std::thread::Builder::new()
            .name("process-spawner".to_owned())
            .spawn(move || {
                for Birth { mut command, runtime, reply } in due {
                    let _entered = runtime.enter();
                    // Nobody waits any more: the child is dropped, and killed by that.
                    drop(reply.send(command.spawn()));
                }
            })
            .expect("the system can start one thread at boot");
        births
    })
}

/// The command line; `None` if the user must change and nothing on this system can do that.
fn command(spec: &OsProcessSpec) -> Option<Command> {
    let mut command = match (find_setpriv(), spec.user) {
        (Some(setpriv), user) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", name(spec.stop_signal)]);
            if let Some(user) = user {
                command.arg(format!("--reuid={}", user.uid));
                command.arg(format!("--regid={}", user.gid));
                command.arg("--init-groups");
            }
            command.arg("--").arg(&spec.program);
            command
        }
        (None, None) => Command::new(&spec.program),
        (None, Some(_)) => return None,
    };
    if spec.env_clear {
        command.env_clear();
    }
    if let Some(directory) = &spec.current_dir {
        command.current_dir(directory);
    }
    command
        .args(&spec.args)
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Some(command)
}

/// Only Linux has it; elsewhere a process outlives a platform that was killed.
fn find_setpriv() -> Option<PathBuf> {
    ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().map(PathBuf::from).find(|path| path.exists())
}

const fn name(signal: StopSignal) -> &'static str {
    match signal {
        StopSignal::Terminate => "TERM",
        StopSignal::Interrupt => "INT",
        StopSignal::Quit => "QUIT",
    }
}
