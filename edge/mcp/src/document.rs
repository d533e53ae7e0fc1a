//! Documents: queries that are read by their address. The fold from operations to resources.
//!
//! The address of a query is its domain and its path, `recruit://job_orders/{job_order_id}`. A path
//! without parameters is a resource, one with parameters a template.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use platform::{Answer, DomainName};
use rmcp::model::{JsonObject, Resource, ResourceContents, ResourceTemplate};

use crate::tool::{Entry, Tools};

/// What stands in an address as it is (RFC 3986, "unreserved").
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The document at an address, and the arguments that the address says.
pub(crate) fn at<'a>(tools: &'a Tools, uri: &str) -> Option<(&'a Entry, JsonObject)> {
    let entries = tools.all().iter().filter(|entry| entry.spec.is_addressable());
    let found = entries.filter_map(|entry| Some((entry, arguments(entry, uri)?)));
    // The nearest is the one that says most in words of its own.
    found.min_by_key(|(_, arguments)| arguments.len())
}

fn arguments(entry: &Entry, uri: &str) -> Option<JsonObject> {
    let scheme = scheme(entry.domain);
    let path = uri.strip_prefix(&scheme)?.strip_prefix(":/")?;
    let mut found = JsonObject::new();
    let (mut wanted, mut given) = (entry.spec.path().split('/'), path.split('/'));
    loop {
        let (wanted, given) = match (wanted.next(), given.next()) {
            (None, None) => return Some(found),
            (Some(wanted), Some(given)) => (wanted, given),
            _ => return None,
        };
        if given.contains(['?', '#']) {
            return None;
        }
        let given = percent_decode_str(given).decode_utf8().ok()?;
        match parameter(wanted) {
            Some(_) if given.is_empty() => return None,
            Some(name) => drop(found.insert(name.to_owned(), given.into())),
            None if wanted == given => {}
            None => return None,
        }
    }
}

/// Where the answer to a call is at home, whether or not it can be read there.
pub(crate) fn address(entry: &Entry, arguments: &JsonObject) -> String {
    let said = |name: &str| arguments.get(name).and_then(serde_json::Value::as_str);
    let parts = entry.spec.path().split('/').map(|part| match parameter(part).map(said) {
        Some(value) => utf8_percent_encode(value.unwrap_or_default(), ENCODED).to_string(),
        None => part.to_owned(),
    });
    format!("{}:/{}", scheme(entry.domain), parts.collect::<Vec<_>>().join("/"))
}

/// A scheme has no underscores.
fn scheme(domain: DomainName) -> String {
    domain.as_str().replace('_', "-")
}

fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

/// A document as a list shows it.
pub(crate) enum Listed {
    One(Resource),
    Many(ResourceTemplate),
}

/// A document as a list shows it; none if it is read by no address.
pub(crate) fn listed(entry: &Entry) -> Option<Listed> {
    if !entry.spec.is_addressable() {
        return None;
    }
    let uri = format!("{}:/{}", scheme(entry.domain), entry.spec.path());
    let (name, title) = (entry.spec.name(), entry.tool.title.clone().unwrap_or_default());
    let description = entry.tool.description.clone().unwrap_or_default();
    Some(if entry.spec.path_parameters().next().is_none() {
        let resource = Resource::new(uri, name).with_title(title).with_description(description);
        Listed::One(resource.with_mime_type(&entry.media_type))
    } else {
        let many = ResourceTemplate::new(uri, name).with_title(title).with_description(description);
        Listed::Many(many.with_mime_type(&entry.media_type))
    })
}

/// An answer as what is read at `uri`: what is JSON, and each thing it holds.
pub(crate) fn contents(entry: &Entry, uri: &str, answer: Answer) -> Vec<ResourceContents> {
    let mut output = answer.value;
    let mut held: Vec<_> = entry
        .held
        .iter()
        .filter_map(|held| Some(held.document(held.take(&mut output)?, uri)))
        .collect();
    if !entry.held.iter().any(crate::content::Held::is_whole) {
        let text = ResourceContents::text(output.to_string(), uri);
        held.insert(0, text.with_mime_type("application/json"));
    }
    held
}
