//! Who looks at a page, and what their request says.

/// Who looks at a page.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub name: String,
    pub role: String,
    /// The name of the organisation.
    pub org: String,
    /// The token that forms and connections of this session carry.
    pub csrf: String,
}

/// A field of the query of an address.
pub(crate) fn query_field(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_query_is_decoded() {
        let url = "http://host/?a=1&node=root%2Fbus#top";

        assert_eq!(query_field(url, "node").as_deref(), Some("root/bus"));
        assert_eq!(query_field(url, "b"), None);
        assert_eq!(query_field("/", "node"), None);
    }
}
