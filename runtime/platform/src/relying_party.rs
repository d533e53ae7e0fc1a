//! The relying party: the name that passkeys of this installation are made for, and the origins
//! that may show them.
//!
//! Both are the operator's to say. A browser shows a passkey to the site it was made for and to no
//! other, and the platform believes only what was shown at an origin that stands here.

use serde::{Deserialize, Serialize};

/// What a person is shown who they make a passkey for.
const NAME: &str = "Finnest";

/// The name and the origins of an installation, as passkeys know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelyingParty {
    id: String,
    origins: Vec<String>,
}

/// An origin cannot be one of an installation's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    /// It is none.
    #[error(
        "{0} is no origin that browsers show passkeys at, as in https://finnest.example; \
         http is for localhost alone, and an address in numbers will not do"
    )]
    NoOrigin(String),
    /// It is another site.
    #[error("{origin} is not {id}, the host of the first origin, nor below it")]
    Elsewhere {
        /// The origin.
        origin: String,
        /// The name that passkeys are made for.
        id: String,
    },
}

impl RelyingParty {
    /// That of these origins. Passkeys are made for the host of the first; the others are hosts
    /// below it, or apps (`android:apk-key-hash:…`).
    ///
    /// # Errors
    /// The first origin that will not do. There must be one.
    pub fn of(origins: &[String]) -> Result<Self, BadOrigin> {
        let first = origins.first().map(String::as_str).unwrap_or_default();
        let id = host(first).ok_or_else(|| BadOrigin::NoOrigin(first.to_owned()))?.to_owned();
        for origin in origins.iter().filter(|origin| !origin.starts_with("android:apk-key-hash:")) {
            let host = host(origin).ok_or_else(|| BadOrigin::NoOrigin(origin.clone()))?;
            let is_below = host.strip_suffix(&id).is_some_and(|rest| rest.ends_with('.'));
            if host != id && !is_below {
                return Err(BadOrigin::Elsewhere { origin: origin.clone(), id });
            }
        }
        Ok(Self { id, origins: origins.to_vec() })
    }

    /// The name that passkeys are made for: a host.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What people read who make one.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// Whether a passkey may be shown at this origin.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == origin)
    }
}

/// The host of an origin at which browsers have passkeys.
fn host(origin: &str) -> Option<&str> {
    let (scheme, rest) = origin.split_once("://")?;
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_port = |port: &str| !port.starts_with('0') && port.parse::<u16>().is_ok();
    let is_label = |label: &str| {
        let may = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(may)
    };
    let last = host.rsplit('.').next()?;
    let is_host = host.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit());
    let is_safe = scheme == "https" || (scheme == "http" && last == "localhost");
    (is_host && is_safe && port.is_none_or(is_port)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(origins: &[&str]) -> Result<RelyingParty, BadOrigin> {
        RelyingParty::of(&origins.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn passkeys_are_made_for_the_host_of_the_first_origin() {
        let app = "android:apk-key-hash:abc";
        let party = of(&["https://finnest.example", "https://eu.finnest.example:8443", app])
            .expect("they are of one site");

        assert_eq!(party.id(), "finnest.example");
        assert!(party.allows("https://eu.finnest.example:8443") && party.allows(app));
        assert!(!party.allows("https://eu.finnest.example"));
        assert!(!party.allows("https://finnest.example.evil.test"));
        assert_eq!(of(&["http://localhost:4000"]).expect("it is safe").id(), "localhost");
    }

    #[test]
    fn what_no_browser_shows_a_passkey_at_is_no_origin() {
        let cases = [
            "",
            "finnest.example",
            "http://finnest.example",
            "https://127.0.0.1:4000",
            "https://finnest.example/",
            "https://Finnest.example",
            "https://finnest..example",
            "https://finnest.example:0",
            "https://[::1]",
            "https://a b",
            "ftp://localhost",
        ];

        for origin in cases {
            assert_eq!(of(&[origin]), Err(BadOrigin::NoOrigin(origin.to_owned())), "{origin}");
        }
        assert!(matches!(of(&[]), Err(BadOrigin::NoOrigin(_))));
    }

    #[test]
    fn all_origins_are_of_one_site() {
        for elsewhere in ["https://evilfinnest.example", "https://example", "https://evil.test"] {
            let refused = of(&["https://finnest.example", elsewhere]);
            assert!(matches!(refused, Err(BadOrigin::Elsewhere { .. })), "{elsewhere}");
        }
    }
}
