//! A server for the official conformance suite: the surface as it is, with domains whose tools,
//! documents and prompts have the names the suite asks for.
//!
//! The suite shows no credential, so this program puts one into each request. It says on its first
//! line where it listens, and ends when it is told to.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use mcp::PublicHosts;
use platform::{
    Action, Bytes, Command, Domain, DomainName, Message, Progress, Prompt, Query, Reason, Refusal,
    Result, Role, Snapshot, Spec, System, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use testkit::ACME;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const TEST: DomainName = DomainName::new("test");
/// The suite asks for one tool whose name begins otherwise.
const JSON: DomainName = DomainName::new("json");

/// A picture of one red point.
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDA\
    Tx\x9cc\xf8\xcf\xc0\0\0\x03\x01\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82";
/// A recording of one silent sample.
const WAV: &[u8] =
    b"RIFF&\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0\x80>\0\0\x02\0\x10\0data\x02\0\0\0\
    \0\0";

/// What a tool says.
#[derive(Debug, Serialize, JsonSchema)]
struct Said {
    /// In words.
    text: String,
}

/// Say something.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SimpleText {}

impl Query for SimpleText {
    const SPEC: Spec = Spec::read("simple_text", "/simple_text");
    type Output = Said;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Said> {
        Ok(Said { text: "This is a simple text response for testing.".to_owned() })
    }
}

/// A picture.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("contentMediaType" = "image/png"))]
struct Picture(Bytes);

/// Show a picture.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImageContent {}

impl Query for ImageContent {
    const SPEC: Spec = Spec::read("image_content", "/static-binary").addressable();
    type Output = Picture;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Picture> {
        Ok(Picture(PNG.to_vec().into()))
    }
}

/// A recording.
#[derive(Debug, Serialize, JsonSchema)]
struct Recording {
    /// How long it is, in milliseconds.
    duration_ms: u64,
    /// The recording.
    #[schemars(extend("contentMediaType" = "audio/wav"))]
    sound: Bytes,
}

/// Play a recording.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AudioContent {}

impl Query for AudioContent {
    const SPEC: Spec = Spec::read("audio_content", "/audio_content");
    type Output = Recording;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Recording> {
        Ok(Recording { duration_ms: 0, sound: WAV.to_vec().into() })
    }
}

/// A letter.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("contentMediaType" = "text/plain"))]
struct Letter(String);

/// Hand over a letter.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EmbeddedResource {}

impl Query for EmbeddedResource {
    const SPEC: Spec = Spec::read("embedded_resource", "/example-resource").addressable();
    type Output = Letter;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Letter> {
        Ok(Letter("This is an embedded resource content.".to_owned()))
    }
}

/// Hand over another letter.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StaticText {}

impl Query for StaticText {
    const SPEC: Spec = Spec::read("static_text", "/static-text").addressable();
    type Output = Letter;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Letter> {
        Ok(Letter("This is the content of the static text resource.".to_owned()))
    }
}

/// Several things at once.
#[derive(Debug, Serialize, JsonSchema)]
struct Parcel {
    /// In words.
    text: String,
    /// With a picture.
    #[schemars(extend("contentMediaType" = "image/png"))]
    picture: Bytes,
    /// With a file.
    #[schemars(extend("contentMediaType" = "application/json"))]
    file: String,
}

/// Hand over several things at once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MultipleContentTypes {}

impl Query for MultipleContentTypes {
    const SPEC: Spec = Spec::read("multiple_content_types", "/multiple_content_types");
    type Output = Parcel;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Parcel> {
        let (text, file) = ("Multiple content types test:".to_owned(), "{}".to_owned());
        Ok(Parcel { text, picture: PNG.to_vec().into(), file })
    }
}

/// Count to a hundred.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToolWithProgress {}

impl Action for ToolWithProgress {
    const SPEC: Spec = Spec::read("tool_with_progress", "/tool_with_progress");
    type Output = Said;

    async fn act(self, system: &System) -> Result<Said> {
        for done in [0, 50, 100] {
            system.progress(Progress { done, total: Some(100) });
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Said { text: "a hundred".to_owned() })
    }
}

/// What is known of an id.
#[derive(Debug, Serialize, JsonSchema)]
struct Data {
    /// The id.
    id: String,
}

/// Show what is known of an id.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GetData {
    /// The id.
    id: String,
}

impl Query for GetData {
    const SPEC: Spec = Spec::read("get_data", "/template/{id}/data").addressable();
    type Output = Data;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Data> {
        Ok(Data { id: self.id })
    }
}

/// An address, perhaps in care of another one.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "address")]
#[serde(deny_unknown_fields)]
struct Address {
    /// Street and number.
    street: String,
    /// The city.
    city: String,
    /// Where it is passed on from.
    #[serde(default)]
    care_of: Option<Box<Address>>,
}

/// Check an address.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CheckAddress {
    /// Whose it is.
    name: String,
    /// The address.
    address: Address,
}

impl Query for CheckAddress {
    const SPEC: Spec = Spec::read("schema_2020_12_tool", "/addresses/check");
    type Output = Said;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Said> {
        Ok(Said { text: self.name })
    }
}

/// Say something simple.
#[derive(Debug, Deserialize, JsonSchema)]
struct SimplePrompt {}

impl Prompt for SimplePrompt {
    const NAME: &'static str = "simple_prompt";
    fn messages(self) -> Vec<Message> {
        vec![Message::user("This is a simple prompt for testing.")]
    }
}

/// Say two words.
#[derive(Debug, Deserialize, JsonSchema)]
struct PromptWithArguments {
    /// The first.
    arg1: String,
    /// The second.
    arg2: String,
}

impl Prompt for PromptWithArguments {
    const NAME: &'static str = "prompt_with_arguments";
    fn messages(self) -> Vec<Message> {
        let Self { arg1, arg2 } = self;
        vec![Message::user(format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]
    }
}

/// Say something about a document.
#[derive(Debug, Deserialize, JsonSchema)]
struct PromptWithEmbeddedResource {
    /// Its address.
    #[serde(rename = "resourceUri")]
    uri: String,
}

impl Prompt for PromptWithEmbeddedResource {
    const NAME: &'static str = "prompt_with_embedded_resource";
    fn messages(self) -> Vec<Message> {
        let request = "Please process the embedded resource above.";
        vec![Message::document(self.uri), Message::user(request)]
    }
}

/// Say something about a picture.
#[derive(Debug, Deserialize, JsonSchema)]
struct PromptWithImage {}

impl Prompt for PromptWithImage {
    const NAME: &'static str = "prompt_with_image";
    fn messages(self) -> Vec<Message> {
        let request = "Please analyze the image above.";
        vec![Message::image("image/png", PNG.to_vec()), Message::user(request)]
    }
}

/// Refuse.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ErrorHandling {}

#[derive(Debug, thiserror::Error)]
#[error("this tool intentionally returns an error for testing")]
struct Intended;

impl Refusal for Intended {
    fn reason(&self) -> Reason {
        Reason::conflict("intended")
    }
}

impl Command for ErrorHandling {
    const SPEC: Spec = Spec::invoke("error_handling", "/error_handling");
    type Output = ();

    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        Err(Intended.into())
    }
}

fn test() -> Domain {
    Domain::new(TEST)
        .query::<SimpleText>()
        .query::<ImageContent>()
        .query::<AudioContent>()
        .query::<EmbeddedResource>()
        .query::<MultipleContentTypes>()
        .query::<StaticText>()
        .query::<GetData>()
        .action::<ToolWithProgress>()
        .command::<ErrorHandling>()
        .prompt::<SimplePrompt>()
        .prompt::<PromptWithArguments>()
        .prompt::<PromptWithEmbeddedResource>()
        .prompt::<PromptWithImage>()
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let system = testkit::start([test(), Domain::new(JSON).query::<CheckAddress>()]).await;
    let token = system.member(ACME, Role::Staff).token().to_owned();
    let shown = HeaderValue::try_from(format!("Bearer {token}")).map_err(std::io::Error::other)?;
    let show = move |mut request: Request, next: Next| {
        request.headers_mut().insert(header::AUTHORIZATION, shown.clone());
        next.run(request)
    };
    let router = mcp::router(system.system(), &PublicHosts::default());
    let router = router.layer(middleware::from_fn(show));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "whoever started it waits for this line")]
    {
        println!("http://{}/mcp", listener.local_addr()?);
    }
    let mut told = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        _ = told.recv() => {}
    }
    system.stop().await;
    Ok(())
}
