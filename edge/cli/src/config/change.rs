//! Changes of the config file: what `finnest sign-in` keeps, and what it takes out again.
//!
//! The file is its user's: other profiles, comments and the order of things stay as they are. It is
//! replaced as a whole, so a reader never sees half of it, and only whoever holds the lock beside
//! it writes: a refresh token is good once, and two commands that show the same end the session.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use platform::Timestamp;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use super::{Config, ConfigError, Profile};
use crate::options::Secret;

/// A session as a profile keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) token: Secret,
    pub(crate) refresh_token: Secret,
    pub(crate) token_ends: Option<Timestamp>,
}

/// Who signed in, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) url: String,
    pub(crate) organisation: String,
    pub(crate) email: String,
    pub(crate) becomes_default: bool,
}

/// The config file, while nobody else changes it.
pub(crate) struct Held {
    /// Where it is said to be.
    path: PathBuf,
    /// Where it is: somebody may have put a link there.
    target: PathBuf,
    /// Its successor, which is empty until the change is made. That it can be made is known before
    /// anything is asked for that must not be lost.
    draft: Option<(PathBuf, File)>,
    _lock: File,
}

impl Held {
    /// Waits until nobody else changes the file at `path`.
    pub(crate) async fn take(path: &Path) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        let taken = tokio::task::spawn_blocking(move || Self::wait(path)).await;
        taken.expect("waiting for a file does not panic")
    }

    fn wait(path: PathBuf) -> Result<Self, ConfigError> {
        let wrong = |source| not_written(&path, source);
        let target = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let directory = target.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
        let lock = beside(&target, "lock");
        let lock = File::options().create(true).append(true).mode(0o600).open(lock);
        let lock = lock.map_err(wrong)?;
        lock.lock().map_err(wrong)?;
        let draft = beside(&target, "new");
        // Whoever was killed while it wrote one left it.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
            _ => {}
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(&draft);
        let draft = Some((draft, file.map_err(wrong)?));
        Ok(Self { path, target, draft, _lock: lock })
    }

    /// What the file says now.
    pub(crate) fn read(&self) -> Result<Config, ConfigError> {
        Config::load(&self.path)
    }

    /// Keeps the tokens of a session in a profile, and who signed in if somebody has just now.
    pub(crate) fn keep(
        self,
        name: &str,
        tokens: &Tokens,
        whereabouts: Option<&Whereabouts>,
    ) -> Result<(), ConfigError> {
        self.change(|page| {
            if let Some(Whereabouts { becomes_default: true, .. }) = whereabouts {
                put(page.as_table_mut(), "default", name);
            }
            let profile = profile(page, name)?;
            if let Some(Whereabouts { url, organisation, email, .. }) = whereabouts {
                put(profile, "url", url);
                put(profile, "organisation", organisation);
                put(profile, "email", email);
            }
            put(profile, "token", tokens.token.expose());
            put(profile, "refresh_token", tokens.refresh_token.expose());
            match tokens.token_ends {
                Some(ends) => put(profile, "token_ends", &ends.to_rfc3339()),
                None => drop(profile.remove("token_ends")),
            }
            Some(())
        })
    }

    /// Takes the session out of a profile. Where it was, and whose, stays for the next time.
    pub(crate) fn forget(self, name: &str) -> Result<(), ConfigError> {
        self.change(|page| {
            let profile = profile(page, name)?;
            for key in ["token", "refresh_token", "token_ends"] {
                profile.remove(key);
            }
            Some(())
        })
    }

    fn change(
        mut self,
        change: impl FnOnce(&mut DocumentMut) -> Option<()>,
    ) -> Result<(), ConfigError> {
        let path = self.path.clone();
        let wrong = |source| not_written(&path, source);
        let malformed = |what: &str| ConfigError::Malformed {
            path: path.display().to_string(),
            what: what.to_owned(),
        };
        let text = match fs::read_to_string(&self.target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(wrong)?,
        };
        let mut page: DocumentMut =
            text.parse().map_err(|error: toml_edit::TomlError| malformed(error.message()))?;
        change(&mut page).ok_or_else(|| malformed("a profile is a table"))?;
        let (draft, mut file) = self.draft.take().expect("a file is changed once");
        file.write_all(page.to_string().as_bytes()).map_err(wrong)?;
        // What is not on the disk when the power fails is a session that nobody can go on with.
        file.sync_all().map_err(wrong)?;
        fs::rename(draft, &self.target).map_err(wrong)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((draft, _)) = self.draft.take() {
            // The next who takes the lock removes it too.
            let _ = fs::remove_file(draft);
        }
    }
}

fn not_written(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::NotWritten { path: path.display().to_string(), source }
}

/// The file with another ending beside this one.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// The table of a profile, made if there is none; nothing if something else is called so.
fn profile<'a>(page: &'a mut DocumentMut, name: &str) -> Option<&'a mut dyn TableLike> {
    let profiles = page.entry("profile").or_insert_with(|| {
        // Not a line of its own: `[profile.name]` says it.
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let profiles = profiles.as_table_like_mut()?;
    profiles.entry(name).or_insert_with(|| Item::Table(Table::new())).as_table_like_mut()
}

/// Says `text` at `key`, with the comment that stood behind it.
fn put(table: &mut dyn TableLike, key: &str, text: &str) {
    let mut value = Value::from(text);
    match table.get_mut(key).and_then(Item::as_value_mut) {
        None => drop(table.insert(key, Item::Value(value))),
        Some(kept) => {
            *value.decor_mut() = kept.decor().clone();
            *kept = value;
        }
    }
}

impl Profile {
    /// The session the profile keeps, if it keeps one.
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        let (token, refresh_token) = (self.token.clone()?, self.refresh_token.clone()?);
        Some(Tokens { token, refresh_token, token_ends: self.token_ends })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::tests::Place;
    use crate::tree::tests::now;

    const PAGE: &str = "\
# mine
default = \"work\" # of all days

[profile.work] # the desk
token = \"old\" # pasted
url = \"http://a:1\"

# for Sundays
[profile.home]
url = 'http://b:2'
";

    fn tokens(number: u32) -> Tokens {
        let secret = |kind: &str| Secret::from(format!("{kind}{number}").as_str());
        Tokens { token: secret("acc"), refresh_token: secret("ref"), token_ends: Some(now()) }
    }

    fn rosa(becomes_default: bool) -> Whereabouts {
        let text = str::to_owned;
        let (url, organisation) = (text("http://c:3"), text("acme"));
        Whereabouts { url, organisation, email: text("rosa@acme.example"), becomes_default }
    }

    async fn changed(place: &Place, change: impl FnOnce(Held) -> Result<(), ConfigError>) {
        let held = Held::take(&place.file()).await.expect("nobody else holds it");
        change(held).expect("it can be written");
    }

    fn said(place: &Place) -> String {
        fs::read_to_string(place.file()).expect("it is there")
    }

    fn begun(test: &str) -> Place {
        let place = Place::new(test);
        fs::create_dir_all(place.file().parent().expect("a directory")).expect("it is made");
        fs::write(place.file(), PAGE).expect("it is written");
        place
    }

    #[tokio::test]
    async fn a_session_is_kept_without_touching_what_its_user_wrote() {
        let place = begun("kept");

        changed(&place, |held| held.keep("work", &tokens(1), Some(&rosa(false)))).await;
        changed(&place, |held| held.keep("new one", &tokens(2), None)).await;

        insta::assert_snapshot!(said(&place), @r##"
        # mine
        default = "work" # of all days

        [profile.work] # the desk
        token = "acc1" # pasted
        url = "http://c:3"
        organisation = "acme"
        email = "rosa@acme.example"
        refresh_token = "ref1"
        token_ends = "2026-08-01T02:05:00+00:00"

        # for Sundays
        [profile.home]
        url = 'http://b:2'

        [profile."new one"]
        token = "acc2"
        refresh_token = "ref2"
        token_ends = "2026-08-01T02:05:00+00:00"
        "##);
        let mode = fs::metadata(place.file()).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_first_session_makes_the_file_and_is_meant_where_none_is_named() {
        let place = Place::new("first");

        changed(&place, |held| held.keep("default", &tokens(1), Some(&rosa(true)))).await;
        let config = Config::load(&place.file()).expect("it is as it should be");
        changed(&place, |held| held.forget("default")).await;

        assert_eq!(config.profile(None).expect("the default").tokens(), Some(tokens(1)));
        insta::assert_snapshot!(said(&place), @r#"
        default = "default"

        [profile.default]
        url = "http://c:3"
        organisation = "acme"
        email = "rosa@acme.example"
        "#);
    }

    #[tokio::test]
    async fn a_link_to_the_file_stays_one() {
        let place = begun("link");
        let there = place.file().with_file_name("elsewhere.toml");
        fs::rename(place.file(), &there).expect("it moves");
        std::os::unix::fs::symlink(&there, place.file()).expect("a link is made");

        changed(&place, |held| held.forget("home")).await;

        let link = fs::symlink_metadata(place.file()).expect("it is there");
        assert!(link.is_symlink());
        assert_eq!(said(&place), PAGE);
    }

    #[tokio::test]
    async fn whoever_changes_the_file_waits_for_whoever_does() {
        let place = begun("lock");
        let first = Held::take(&place.file()).await.expect("nobody else holds it");

        let file = place.file();
        let mut second = std::pin::pin!(Held::take(&file));
        let waited = tokio::select! {
            biased;
            _ = &mut second => false,
            () = tokio::task::yield_now() => true,
        };
        first.keep("work", &tokens(1), None).expect("it can be written");
        let second = second.await.expect("the first is done");

        assert!(waited);
        let seen = second.read().expect("it is as it should be");
        assert_eq!(seen.profile(None).expect("the default").tokens(), Some(tokens(1)));
    }

    #[tokio::test]
    async fn a_change_that_is_not_made_leaves_nothing_behind() {
        let place = begun("nothing");

        drop(Held::take(&place.file()).await.expect("nobody else holds it"));

        assert_eq!(said(&place), PAGE);
        assert!(!beside(&place.file(), "new").exists());
    }
}
