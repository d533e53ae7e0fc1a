//! The birth of a process: its user, its group, and who it dies with.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{OsProcessSpec, StopSignal};
use crate::exit::called;

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
    let failed = |source| SpawnError::Program { program: program(), source };
    let mut command = command(spec).ok_or_else(|| SpawnError::NoSetpriv { program: program() })?;
    let ours = spec.socket.as_ref().map(|_| wire(&mut command)).transpose().map_err(failed)?;
    let (reply, answer) = oneshot::channel();
    spawner()
        .send(Birth { command, memory_max: spec.memory_max, runtime: Handle::current(), reply })
        .expect("the thread that starts processes never ends");
    let born = answer.await.expect("the thread that starts processes always answers");
    let child = born.map_err(failed)?;
    if let (Some(take), Some(ours)) = (&spec.socket, ours) {
        take(ours);
    }
    Ok(child)
}

/// Makes one end of a new socket the standard input of `command`, and gives the other.
fn wire(command: &mut Command) -> io::Result<tokio::net::UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    tokio::net::UnixStream::from_std(ours)
}

/// Bounds the memory of a process that has just been born; it has had no time to use any.
#[cfg(target_os = "linux")]
fn bound_memory(child: &Child, bytes: u64) -> io::Result<()> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    // One that has ended already needs no bound.
    id.map_or(Ok(()), |id| prlimit(Some(id), Resource::Data, limit).map(drop).map_err(Into::into))
}

#[cfg(not(target_os = "linux"))]
fn bound_memory(_: &Child, _: u64) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux bounds the memory of a process"))
}

struct Birth {
    command: Command,
    memory_max: Option<u64>,
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
                for Birth { mut command, memory_max, runtime, reply } in due {
                    let _entered = runtime.enter();
                    let born = called(|| give_birth(&mut command, memory_max))
                        .unwrap_or_else(|panic| Err(io::Error::other(panic)));
                    // The process alone holds its end of a socket from here on.
                    drop(command);
                    // Nobody waits any more: the child is dropped, and killed by that.
                    drop(reply.send(born));
                }
            })
            .expect("the system can start one thread at boot");
        births
    })
}

/// Starts the process. Panics or fails in a runtime that cannot watch over it.
fn give_birth(command: &mut Command, memory_max: Option<u64>) -> io::Result<Child> {
    // Seen before there is a process that nobody would ever wait for.
    drop(tokio::net::UnixStream::pair()?);
    let child = command.spawn()?;
    if let Some(bytes) = memory_max {
        bound_memory(&child, bytes)?;
    }
    Ok(child)
}

/// The command line; `None` if the user must change and nothing on this system can do that.
fn command(spec: &OsProcessSpec) -> Option<Command> {
    let mut command = match (find_setpriv(), spec.user) {
        (Some(setpriv), user) => {
            let mut command = Command::new(setpriv);
            let at_our_death = if spec.is_killed_with_us { "KILL" } else { name(spec.stop_signal) };
            command.args(["--pdeathsig", at_our_death]);
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
    for name in &spec.env_without {
        command.env_remove(name);
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
