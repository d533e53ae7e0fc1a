//! The config file: platforms and tokens by name, so that neither has to be typed, nor shown in a
//! list of processes.
//!
//! ```toml
//! default = "production"
//!
//! [profile.production]
//! url = "http://127.0.0.1:4000"
//! token = "…"
//! ```
//!
//! It may have tokens in it, so a file that others may read is refused and not believed. What
//! `finnest sign-in` keeps in a profile is written by `change`.

pub(crate) mod change;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use platform::Timestamp;
use toml_edit::DocumentMut;

use crate::options::Secret;

/// The profile that is signed in where none is named.
const FIRST: &str = "default";

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where it is, if there is a place for it.
    pub(crate) file: Option<PathBuf>,
    default: Option<String>,
    profiles: BTreeMap<String, Profile>,
}

/// A platform, and who asks it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<Secret>,
    /// Of a session: what the next token is got for.
    pub(crate) refresh_token: Option<Secret>,
    /// Of a session: when its token ends.
    pub(crate) token_ends: Option<Timestamp>,
    /// Who signed in last.
    pub(crate) organisation: Option<String>,
    pub(crate) email: Option<String>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{path} cannot be read: {source}")]
    Io { path: String, source: io::Error },
    #[error("{path} has tokens in it and others may read it; say `chmod 600 {path}`")]
    Open { path: String },
    #[error("{path} is not as it should be: {what}")]
    Malformed { path: String, what: String },
    #[error("there is no profile `{name}`; there is {known}")]
    NoProfile { name: String, known: String },
    #[error("{path} cannot be written: {source}")]
    NotWritten { path: String, source: io::Error },
    #[error("there is no place for a config file; set HOME or XDG_CONFIG_HOME")]
    NoPlace,
    #[error("a profile needs a name of visible characters, not `{}`", .0.escape_debug())]
    BadName(String),
}

/// Where the file is: below `XDG_CONFIG_HOME`, or `.config` of the home directory.
pub(crate) fn path() -> Option<PathBuf> {
    let directory = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || directory("HOME").map(|home| Path::new(&home).join(".config"));
    let base = directory("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?;
    Some(base.join("finnest").join("config.toml"))
}

impl Config {
    /// What the file at `path` says; nothing if there is none.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let wrong = |source| ConfigError::Io { path: shown.clone(), source };
        let metadata = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { file: Some(path.to_owned()), ..Self::default() });
            }
            metadata => metadata.map_err(wrong)?,
        };
        let config = Self::read(&std::fs::read_to_string(path).map_err(wrong)?, &shown)?;
        let has_tokens = config.profiles.values().any(Profile::has_tokens);
        if has_tokens && metadata.permissions().mode() & 0o077 != 0 {
            return Err(ConfigError::Open { path: shown });
        }
        Ok(Self { file: Some(path.to_owned()), ..config })
    }

    pub(crate) fn read(text: &str, path: &str) -> Result<Self, ConfigError> {
        let wrong = |what: String| ConfigError::Malformed { path: path.to_owned(), what };
        let page: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| wrong(error.message().to_owned()))?;
        let mut config = Self::default();
        for (key, item) in page.iter() {
            match key {
                "default" => {
                    let name = item.as_str().ok_or_else(|| wrong("`default` is a name".into()))?;
                    config.default = Some(name.to_owned());
                }
                "profile" => {
                    let tables = item.as_table_like();
                    let tables = tables.ok_or_else(|| wrong("`profile` is a table".into()))?;
                    for (name, table) in tables.iter() {
                        let profile = Profile::read(name, table).map_err(wrong)?;
                        config.profiles.insert(name.to_owned(), profile);
                    }
                }
                other => return Err(wrong(format!("nothing is called `{other}`"))),
            }
        }
        Ok(config)
    }

    /// The profile of that name, or else the one that is meant when none is named.
    pub(crate) fn profile(&self, name: Option<&str>) -> Result<Profile, ConfigError> {
        let Some(name) = self.meant(name) else { return Ok(Profile::default()) };
        self.profiles.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            ConfigError::NoProfile { name: name.to_owned(), known }
        })
    }

    /// The name that is meant where `name` is said.
    pub(crate) fn meant<'a>(&'a self, name: Option<&'a str>) -> Option<&'a str> {
        name.or(self.default.as_deref())
    }

    /// Where somebody signs in who says `name`: the profile, what it says so far, and whether it
    /// becomes the one that is meant when none is named.
    pub(crate) fn signed_in_as(&self, name: Option<&str>) -> (String, Profile, bool) {
        let becomes_default =
            self.default.is_none() && (name.is_none() || self.profiles.is_empty());
        let name = self.meant(name).unwrap_or(FIRST);
        let profile = self.profiles.get(name).cloned().unwrap_or_default();
        (name.to_owned(), profile, becomes_default)
    }
}

impl Profile {
    const fn has_tokens(&self) -> bool {
        self.token.is_some() || self.refresh_token.is_some()
    }

    fn read(name: &str, item: &toml_edit::Item) -> Result<Self, String> {
        let table = item.as_table_like().ok_or(format!("`profile.{name}` is a table"))?;
        let mut profile = Self::default();
        for (key, item) in table.iter() {
            let text = || item.as_str().ok_or(format!("`profile.{name}.{key}` is text"));
            match key {
                "url" => profile.url = Some(text()?.to_owned()),
                "token" => profile.token = Some(Secret::from(text()?)),
                "refresh_token" => profile.refresh_token = Some(Secret::from(text()?)),
                "organisation" => profile.organisation = Some(text()?.to_owned()),
                "email" => profile.email = Some(text()?.to_owned()),
                "token_ends" => {
                    let ends = text()?.parse().map_err(|_| {
                        format!("`profile.{name}.token_ends` is a time, as in 2026-11-21T04:09:25Z")
                    })?;
                    profile.token_ends = Some(ends);
                }
                other => return Err(format!("`profile.{name}` has no `{other}`")),
            }
        }
        Ok(profile)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const PAGE: &str = "default = 'demo'\n[profile.demo]\nurl = 'http://a:1'\ntoken = 't0k'\n\
                        [profile.other]\nurl = 'http://b:2'\n";

    /// A place for a file, gone with the test.
    pub(crate) struct Place(PathBuf);

    impl Place {
        pub(crate) fn new(test: &str) -> Self {
            let name = format!("finnest-config-{test}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        pub(crate) fn file(&self) -> PathBuf {
            self.0.join("config.toml")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // What cannot be removed lies in a temporary directory and harms nobody.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::read(text, "config.toml")
    }

    #[test]
    fn a_profile_is_the_one_named_or_else_the_default() {
        let config = read(PAGE).expect("a page");

        let profile = |name| config.profile(name).expect("it exists");
        assert_eq!(profile(None).url.as_deref(), Some("http://a:1"));
        assert_eq!(profile(None).token, Some("t0k".into()));
        assert_eq!(
            profile(Some("other")),
            Profile { url: Some("http://b:2".into()), ..Profile::default() }
        );
        let none = config.profile(Some("x")).expect_err("there is none").to_string();
        assert_eq!(none, "there is no profile `x`; there is demo, other");
        assert_eq!(Config::default().profile(None).expect("no file"), Profile::default());
    }

    #[test]
    fn a_mistake_in_the_file_is_told_and_no_token_with_it() {
        let cases = [
            ("defualt = 'x'", "nothing is called `defualt`"),
            ("default = 1", "`default` is a name"),
            ("[profile.a]\ntokne = 's3cret'", "`profile.a` has no `tokne`"),
            ("[profile.a]\ntoken = 7", "`profile.a.token` is text"),
            ("[profile.a]\ntoken_ends = 'soon'", "`profile.a.token_ends` is a time"),
            ("profile = 's3cret'", "`profile` is a table"),
        ];

        for (text, expected) in cases {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_not_believed() {
        let place = Place::new("open");
        std::fs::create_dir_all(&place.0).expect("a directory is made");
        std::fs::write(place.file(), PAGE).expect("it is written");
        let let_in = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place.file(), permissions).expect("it is ours");
        };

        let_in(0o600);
        let kept = Config::load(&place.file()).expect("only its owner reads it");
        let_in(0o644);
        let refused = Config::load(&place.file()).expect_err("anybody reads it").to_string();

        assert_eq!(kept.profile(None).expect("the default").token, Some("t0k".into()));
        assert!(refused.contains("chmod 600") && !refused.contains("t0k"), "{refused}");
    }
}
