//! Places: where the data, the lock and the socket are, and who may reach them.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kernel::Digest;

use super::{PostgresError, at};

/// Where root keeps the data.
const ROOT_BASE: &str = "/var/lib/finnest";
/// The longest path a socket's directory may have: 107 bytes less the name of the socket.
const SOCKET_DIR_BYTES_MAX: usize = 107 - "/.s.PGSQL.5432".len();

/// A user of the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Where everything of one embedded server is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) base: PathBuf,
    pub(super) data: PathBuf,
    pub(super) socket: PathBuf,
    /// Who runs the platform.
    pub(super) us: User,
    /// Who runs the server, if somebody else does: it refuses to run as root.
    pub(super) server_user: Option<User>,
}

impl Place {
    /// Decides; nothing is made yet.
    pub(super) fn choose(named: Option<&Path>) -> Result<Self, PostgresError> {
        let us = current_user();
        let server_user = if us.uid == 0 {
            let user = ["postgres", "nobody"].into_iter().find_map(user_named);
            Some(user.ok_or(PostgresError::NoUser)?)
        } else {
            None
        };
        let base = match named {
            Some(named) => std::path::absolute(named).map_err(at("find", named))?,
            None if us.uid == 0 => PathBuf::from(ROOT_BASE),
            None => home_base().ok_or(PostgresError::Homeless)?,
        };
        let beside = base.join("run");
        let socket = if beside.as_os_str().len() <= SOCKET_DIR_BYTES_MAX {
            beside
        } else {
            let digest = Digest::of(base.as_os_str().as_encoded_bytes()).to_string();
            PathBuf::from(format!("/tmp/finnest-{}", &digest[..16]))
        };
        Ok(Self { data: base.join("pg"), base, socket, us, server_user })
    }

    /// Makes the base directory and keeps other platforms out of it, for as long as the file lives.
    pub(super) fn claim(&self) -> Result<File, PostgresError> {
        if !self.base.exists() {
            fs::create_dir_all(&self.base).map_err(at("create", &self.base))?;
            // The umask may be stricter; the server's user must be able to pass through.
            let mode = if self.server_user.is_some() { 0o755 } else { 0o700 };
            fs::set_permissions(&self.base, Permissions::from_mode(mode))
                .map_err(at("open up", &self.base))?;
        }
        self.passable()?;
        let path = self.base.join("lock");
        let file = File::create(&path).map_err(at("write", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(PostgresError::InUse(self.base.clone())),
            Err(TryLockError::Error(source)) => Err(at("lock", &path)(source)),
        }
    }

    /// The server's user must be able to enter every directory on the way to the data.
    fn passable(&self) -> Result<(), PostgresError> {
        let Some(user) = &self.server_user else {
            return Ok(());
        };
        for directory in self.base.ancestors().collect::<Vec<_>>().into_iter().rev() {
            let metadata = fs::metadata(directory).map_err(at("look at", directory))?;
            let bit = if metadata.uid() == user.uid {
                0o100
            } else if metadata.gid() == user.gid {
                0o010
            } else {
                0o001
            };
            if metadata.mode() & bit == 0 {
                let (user, blocked) = (user.name.clone(), directory.to_owned());
                return Err(PostgresError::Unreachable { user, blocked });
            }
        }
        Ok(())
    }

    /// The major version that wrote the data; `None` if there are none yet.
    pub(super) fn version(&self) -> Option<u32> {
        fs::read_to_string(self.data.join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// Makes the directory of the socket.
    pub(super) fn make(&self) -> Result<(), PostgresError> {
        self.make_private(&self.socket)
    }

    /// Makes a directory that only the server's user may enter.
    pub(super) fn make_private(&self, path: &Path) -> Result<(), PostgresError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(at("create", path)(error));
            }
            _ => {}
        }
        let owner = self.server_user.as_ref().unwrap_or(&self.us);
        let found = fs::symlink_metadata(path).map_err(at("look at", path))?;
        // In a folder everybody may write to, somebody else may have been first.
        if !found.is_dir() || ![owner.uid, self.us.uid].contains(&found.uid()) {
            return Err(PostgresError::Foreign(path.to_owned()));
        }
        if self.server_user.is_some() {
            chown(path, Some(owner.uid), Some(owner.gid)).map_err(at("give away", path))?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(at("close", path))
    }

    /// Writes a file that the server reads.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), PostgresError> {
        if fs::read_to_string(path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        fs::write(path, text).map_err(at("write", path))?;
        if let Some(user) = &self.server_user {
            chown(path, Some(user.uid), Some(user.gid)).map_err(at("give away", path))?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(at("close", path))
    }

    /// A command that runs as the server's user, in a group of its own, with a plain environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .current_dir("/")
            .process_group(0);
        if let Some(user) = &self.server_user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }
}

/// The directory for data that belong to one person, by the rules of the desktop.
fn home_base() -> Option<PathBuf> {
    let variable = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let share = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    share.map(|share| share.join("finnest"))
}

fn current_user() -> User {
    let number = |flag: &str| id(&[flag]).and_then(|said| said.parse().ok());
    let uid = number("-u").unwrap_or(u32::MAX);
    let name = id(&["-un"]).unwrap_or_else(|| uid.to_string());
    User { name, uid, gid: number("-g").unwrap_or(u32::MAX) }
}

fn user_named(name: &str) -> Option<User> {
    let number = |flag: &str| id(&[flag, name])?.parse().ok();
    Some(User { name: name.to_owned(), uid: number("-u")?, gid: number("-g")? })
}

/// Asks the system, since the names of users may come from more than a file.
fn id(arguments: &[&str]) -> Option<String> {
    let output = Command::new("id").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
