//! One-time secrets: texts that are good for one thing, once: refresh tokens, challenges, links.
//!
//! Whoever shows one has not signed in, so the organisation stands in the text itself. It opens
//! nothing by that: the row is looked for in that organisation only, by the digest of the whole.

use platform::{Digest, OrgId, new_secret};
use uuid::Uuid;

/// A new secret of this kind and its digest, which alone is stored.
pub(crate) fn new(kind: &str, org_id: OrgId) -> (String, Vec<u8>) {
    let secret = new_secret(kind);
    let prefix = prefix(kind);
    let text = format!("{prefix}{}{}", org_id.uuid().simple(), &secret[prefix.len()..]);
    let digest = digest(&text);
    (text, digest)
}

/// The organisation in which a secret of this kind may be found; nothing if it has another form.
pub(crate) fn organisation(kind: &str, text: &str) -> Option<OrgId> {
    let rest = text.strip_prefix(&prefix(kind))?;
    let is_hex = rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if rest.len() != 96 || !is_hex {
        return None;
    }
    Uuid::try_parse(&rest[..32]).ok().map(OrgId::from_uuid)
}

/// What is stored of a secret.
pub(crate) fn digest(text: &str) -> Vec<u8> {
    Digest::of(text.as_bytes()).as_bytes().to_vec()
}

fn prefix(kind: &str) -> String {
    format!("fin_{kind}_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_tells_its_organisation_and_nothing_else_has_one() {
        let org_id = OrgId::new();
        let (text, stored) = new("ref", org_id);

        assert_eq!(organisation("ref", &text), Some(org_id));
        assert_eq!(digest(&text), stored);
        assert_ne!(new("ref", org_id).0, text);
        for other in ["", "fin_ref_", "fin_ref_0", &text[..60], &text.to_uppercase(), "fin_ref_ää"]
        {
            assert_eq!(organisation("ref", other), None, "{other}");
        }
        assert_eq!(organisation("cha", &text), None);
    }
}
