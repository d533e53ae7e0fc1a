//! Bytes in JSON: text in base64, for pictures, recordings and files in an answer.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, which stand in JSON as text in base64. A field says of which media type they are, and
/// agents are then given a picture as a picture:
///
/// ```
/// # use platform::Bytes;
/// # #[derive(serde::Serialize, schemars::JsonSchema)]
/// # struct Badge {
/// /// The photograph.
/// #[schemars(extend("contentMediaType" = "image/png"))]
/// photo: Bytes,
/// # }
/// # let _ = Badge { photo: Bytes(Vec::new()) };
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// As they stand in JSON.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.0)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Self).map_err(|error| {
            serde::de::Error::custom(format!("bytes are written in base64: {error}"))
        })
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "contentEncoding": "base64"})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "its schema is looked at")]
    struct Badge {
        /// The photograph.
        #[schemars(extend("contentMediaType" = "image/png"))]
        photo: Bytes,
    }

    #[test]
    fn bytes_are_text_in_base64_and_the_schema_says_so() {
        let written = serde_json::to_value(Bytes(vec![0, 255])).expect("it is text");
        let read = serde_json::from_value::<Bytes>(written.clone());

        assert_eq!(written, json!("AP8="));
        assert_eq!(read.ok(), Some(Bytes(vec![0, 255])));
        assert!(serde_json::from_value::<Bytes>(json!("?")).is_err());
        assert_eq!(
            schema::of::<Badge>()["properties"]["photo"],
            json!({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png",
                   "description": "The photograph."})
        );
    }
}
