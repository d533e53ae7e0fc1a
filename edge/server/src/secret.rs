//! The secret of an installation: 32 random bytes in a file that only its owner may read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use platform::{Database, MasterSecret};

/// The secret in `file`, or in the file beside the embedded database; made where there is none.
///
/// # Errors
/// A sentence that names the file, when it cannot be read or made, or others may read it.
pub fn load(file: Option<&Path>, database: &Database) -> Result<MasterSecret> {
    let beside = match database {
        Database::Embedded(embedded) => Some(embedded.base_dir().join("secret.key")),
        Database::External { .. } => None,
    };
    let Some(file) = file.map(Path::to_owned).or(beside) else {
        tracing::warn!(
            "what is signed and encrypted here ends with this process: FINNEST_SECRET_FILE names \
             no file for the secret that all nodes share"
        );
        return Ok(MasterSecret::random());
    };
    let context = || format!("the secret in {} cannot be read or made", file.display());
    match fs::metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&file).with_context(context),
        Err(error) => Err(error).with_context(context),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => bail!(
            "{} may be read by others than its owner; after `chmod 600` make a new secret, unless \
             you know that nobody has read it",
            file.display()
        ),
        Ok(_) => {
            let bytes = fs::read(&file).with_context(context)?;
            let bytes: [u8; 32] = bytes.as_slice().try_into().with_context(|| {
                format!("{} has {} bytes, but a secret has 32", file.display(), bytes.len())
            })?;
            Ok(MasterSecret::new(bytes))
        }
    }
}

fn make(file: &Path) -> io::Result<MasterSecret> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let secret = MasterSecret::random();
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    open.write_all(secret.expose())?;
    open.sync_all()?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgConnectOptions;

    use super::*;

    fn external() -> Database {
        let options = PgConnectOptions::new();
        Database::External { owner: options.clone(), app: options }
    }

    #[test]
    fn a_secret_is_made_once_and_found_again_and_guarded() {
        let directory = std::env::temp_dir().join(format!("finnest-{}", uuid::Uuid::now_v7()));
        let file = directory.join("secret.key");

        let made = load(Some(&file), &external()).expect("it is made");
        let found = load(Some(&file), &external()).expect("it is read");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
        let readable = load(Some(&file), &external());

        assert_eq!(made, found);
        assert!(readable.expect_err("others may read it").to_string().contains("chmod 600"));
        fs::remove_dir_all(directory).expect("it is ours");
    }
}
