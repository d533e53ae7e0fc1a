//! The data directory: made once, and opened to nobody but the platform.

use std::fs;
use std::path::{Path, PathBuf};

use super::installation::Installation;
use super::place::Place;
use super::{APP, OWNER, PostgresError, at};

/// Makes the data directory. It appears under its name only when it is complete, so that a start
/// that is cut short leaves nothing that looks like data.
pub(super) fn initialise(installation: &Installation, place: &Place) -> Result<(), PostgresError> {
    let partial = place.base.join("pg.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(at("remove", &partial))?;
    }
    place.make_private(&partial)?;
    let initdb = installation.program("initdb");
    let output = place
        .command(&initdb)
        .arg("-D")
        .arg(&partial)
        .args(["-U", OWNER, "--auth-local=peer", "--auth-host=reject"])
        .args(["--encoding=UTF8", "--no-locale", "--data-checksums"])
        .output()
        .map_err(at("run", &initdb))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().rfind(|line| !line.is_empty()).unwrap_or("nothing").to_owned();
        return Err(PostgresError::Initdb { data: place.data.clone(), said });
    }
    fs::rename(&partial, &place.data).map_err(at("create", &place.data))
}

/// Lets in who runs the platform and who runs the server, as owner or application, and nobody else.
pub(super) fn admit(place: &Place) -> Result<(), PostgresError> {
    let hba = "local all all peer map=finnest\n";
    place.write(&place.data.join("pg_hba.conf"), hba)?;
    let mut people = vec![place.us.name.as_str()];
    people.extend(place.server_user.as_ref().map(|user| user.name.as_str()));
    let ident: String = people
        .iter()
        .flat_map(|person| [OWNER, APP].map(|user| format!("finnest \"{person}\" {user}\n")))
        .collect();
    place.write(&place.data.join("pg_ident.conf"), &ident)
}

/// Stops a server that outlived its platform. Who holds the lock knows that nobody else needs it.
pub(super) fn evict(installation: &Installation, place: &Place) {
    if PidFile::read(&place.data).is_none() {
        return;
    }
    let stopped = place
        .command(&installation.program("pg_ctl"))
        .args(["stop", "--mode=fast", "--wait", "--timeout=10", "-s", "-D"])
        .arg(&place.data)
        .output();
    // A stale file is reported as a failure here and is cleared by the next start of the server.
    tracing::debug!(?stopped, "stopped the server of an earlier platform");
}

/// What a running server says about itself.
pub(super) struct PidFile {
    pub(super) id: u32,
    pub(super) socket_dir: PathBuf,
    pub(super) is_ready: bool,
}

impl PidFile {
    /// Reads `postmaster.pid`: its first line is the process, its fifth the socket's directory, its
    /// eighth how far the start has come.
    pub(super) fn read(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        Some(Self {
            id: lines.first()?.parse().ok()?,
            socket_dir: PathBuf::from(lines.get(4)?),
            is_ready: lines.get(7) == Some(&"ready"),
        })
    }
}
