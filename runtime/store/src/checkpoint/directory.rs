//! A directory of checkpoints: on a disk of its own, or mounted from a place that forgets nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::export::{CheckpointStore, ExportError};

/// Keeps each checkpoint in a file of its own and never overwrites one.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`, which is made when it is first written to.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl CheckpointStore for Directory {
    fn name(&self) -> String {
        format!("directory {}", self.path.display())
    }

    fn keep(&self, file: String, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), ExportError>> {
        let path = self.path.clone();
        async move {
            let name = file.clone();
            let kept = tokio::task::spawn_blocking(move || keep(&path, &name, &bytes)).await;
            match kept {
                Ok(Ok(true)) => Ok(()),
                Ok(Ok(false)) => Err(ExportError::Taken { file }),
                Ok(Err(error)) => Err(ExportError::Refused { file, source: error.into() }),
                Err(error) => Err(ExportError::Refused { file, source: error.into() }),
            }
        }
        .boxed()
    }
}

/// Answers whether the file holds these bytes now.
///
/// Written beside and then linked to its name, which fails if the name is taken: whoever finds the
/// file finds it whole, also after a crash.
fn keep(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<bool> {
    fs::create_dir_all(directory)?;
    let (path, beside) = (directory.join(name), directory.join(format!(".{name}.part")));
    let mut part = OpenOptions::new().write(true).create(true).truncate(true).open(&beside)?;
    part.write_all(bytes)?;
    part.sync_all()?;
    let linked = fs::hard_link(&beside, &path);
    fs::remove_file(&beside)?;
    match linked {
        Ok(()) => {
            File::open(directory)?.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(fs::read(&path)? == bytes),
        Err(error) => Err(error),
    }
}
