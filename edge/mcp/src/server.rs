//! The server: what rmcp asks for lists, calls and the catalogue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use platform::{Answer, Content, Kind, Message, Progress, Scope, SecondFactor, System};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ContentBlock, ErrorData, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, Implementation, JsonObject, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    PromptMessage, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource,
    ResourceContents, Role, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::audit;
use crate::caller::Caller;
use crate::document::{self, Listed};
use crate::metadata;
use crate::outcome::{self, Refusal};
use crate::progress;
use crate::prompt::Prompts;
use crate::tool::{Entry, REQUEST_ID, Tools};

/// The most tools in one answer; a client asks for more with the cursor.
const TOOLS_MAX: usize = 100;
/// How long an operation may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// When to come back after that.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a list may be kept. It changes with the caller's rights, which nobody announces.
const LIST_GOOD_FOR: Duration = Duration::from_mins(1);
/// The resource that lists the servers.
const CATALOGUE: &str = "finnest://catalogue";

/// One of the servers, as rmcp sees it.
#[derive(Clone)]
pub(crate) struct Server {
    system: System,
    place: metadata::Server,
    tools: Arc<Tools>,
    prompts: Arc<Prompts>,
}

impl Server {
    pub(crate) fn new(system: &System, place: metadata::Server) -> Self {
        let tools = Arc::new(Tools::of(system.catalog(), place.domain()));
        let prompts = Arc::new(Prompts::of(system.catalog(), place.domain()));
        Self { system: system.clone(), place, tools, prompts }
    }

    /// Calls the operation behind a tool and records how that ended.
    async fn ask(
        &self,
        scope: &Scope,
        entry: &Entry,
        mut arguments: JsonObject,
        began: Instant,
    ) -> Result<Answer, Refusal> {
        let request_id = take_request_id(entry, &mut arguments);
        let call = audit::Call::begin(self.place, entry, &arguments, &request_id, began);
        let answered = self.call(scope, entry, arguments, request_id).await;
        let recorded = call.end(&self.system, scope, answered.as_ref().err()).await;
        match recorded {
            Err(refusal) if entry.is_read() => Err(refusal),
            // What a command did is on record by its own events.
            _ => answered,
        }
    }

    /// Reads what is found at an address: a call like any other.
    async fn read(
        &self,
        caller: &Caller,
        scope: &Scope,
        uri: &str,
    ) -> Result<Vec<ResourceContents>, ErrorData> {
        let began = Instant::now();
        let (entry, arguments) = document::at(&self.tools, uri).ok_or_else(|| {
            ErrorData::resource_not_found(format!("there is no resource {uri} here"), None)
        })?;
        let answered = match caller.admit(&self.system) {
            Ok(()) => self.ask(scope, entry, arguments, began).await,
            Err(error) => Err(Refusal::from(&error)),
        };
        match answered {
            Ok(answer) => Ok(document::contents(entry, uri, answer)),
            Err(refusal) if refusal.kind == Kind::Failure => {
                Err(outcome::failed(&refusal, scope.correlation_id))
            }
            Err(refusal) => Err(outcome::denied(&refusal)),
        }
    }

    /// What a message of a prompt says: itself, or what is found at the address it names.
    async fn say(
        &self,
        caller: &Caller,
        scope: &Scope,
        message: Message,
    ) -> Result<Vec<PromptMessage>, ErrorData> {
        let blocks = match message.content {
            Content::Text(text) => vec![ContentBlock::text(text)],
            Content::Image { media_type, bytes } => {
                vec![ContentBlock::image(bytes.to_base64(), media_type)]
            }
            Content::Audio { media_type, bytes } => {
                vec![ContentBlock::audio(bytes.to_base64(), media_type)]
            }
            Content::Document { uri } => {
                let read = self.read(caller, scope, &uri).await?;
                read.into_iter().map(ContentBlock::resource).collect()
            }
        };
        let role = if message.is_answer { Role::Assistant } else { Role::User };
        Ok(blocks.into_iter().map(|block| PromptMessage::new(role.clone(), block)).collect())
    }

    /// Calls the operation behind a tool, and what becomes of that.
    async fn call(
        &self,
        scope: &Scope,
        entry: &Entry,
        arguments: JsonObject,
        request_id: Result<Option<String>, Refusal>,
    ) -> Result<Answer, Refusal> {
        let request_id = request_id?;
        if !entry.is_read() && scope.authority.second_factor == SecondFactor::Missing {
            let message = "this credential may change nothing before a second factor is shown; \
                           show it where you signed in, and call again";
            return Err(Refusal::new(Kind::Forbidden, "second_factor_required", message));
        }
        let (domain, name) = (entry.domain.as_str(), entry.spec.name());
        let input = Value::Object(arguments);
        let calling = async {
            if let Some(key) = &request_id {
                return self.system.call_once(scope, domain, name, input, key).await;
            }
            let value = self.system.call(scope, domain, name, input).await?;
            Ok(Answer { value, is_replayed: false })
        };
        if let Ok(answered) = tokio::time::timeout(ANSWER_WITHIN, calling).await {
            return answered.map_err(|error| Refusal::from(&error));
        }
        let message = format!("the operation did not end within {} s", ANSWER_WITHIN.as_secs());
        Err(Refusal::new(Kind::Unavailable, "too_slow", message).retry_after(RETRY_AFTER))
    }

    /// The servers and their tools, as far as the caller may use them.
    fn catalogue(&self, caller: &Caller) -> Value {
        let domains = self.system.catalog().domains().iter();
        let servers = domains.filter_map(|domain| {
            let place = metadata::Server::new(Some(domain.name()));
            let tools = Tools::of(self.system.catalog(), place.domain());
            let usable = tools.all().iter().filter(|entry| caller.may_use(entry));
            let told: Vec<Value> = usable
                .map(|entry| {
                    let category = entry.spec.category().name();
                    json!({"name": entry.tool.name, "title": entry.tool.title,
                           "category": category})
                })
                .collect();
            (!told.is_empty()).then(|| {
                json!({"domain": domain.name().as_str(), "about": domain.words(),
                       "path": place.path(), "tools": told})
            })
        });
        json!({"servers": servers.collect::<Vec<_>>()})
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_prompts()
            .build();
        let name = match self.place.domain() {
            Some(domain) => format!("finnest-{domain}"),
            None => "finnest".to_owned(),
        };
        let server = Implementation::new(name, env!("CARGO_PKG_VERSION")).with_title("Finnest");
        ServerConfig::new(capabilities)
            .with_server_info(server)
            .with_instructions(instructions(self.place))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.get(name).map(|entry| entry.tool.clone())
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = caller(&context)?;
        let cursor = request.and_then(|request| request.cursor);
        let page = self.tools.page(cursor.as_deref(), TOOLS_MAX, |entry| caller.may_use(entry));
        let (tools, next_cursor) = page.ok_or_else(|| {
            ErrorData::invalid_params("the cursor is not one of this server's", None)
        })?;
        let mut listed = ListToolsResult::with_all_items(tools).with_ttl_ms(list_good_for());
        listed.next_cursor = next_cursor;
        Ok(listed)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let began = Instant::now();
        let entry = self.tools.get(&request.name).ok_or_else(|| {
            ErrorData::invalid_params(format!("there is no tool `{}` here", request.name), None)
        })?;
        // Who asks too often is not recorded, or the limit would not spare the database.
        if let Err(error) = caller(&context)?.admit(&self.system) {
            return Ok(outcome::refused(&Refusal::from(&error)).into());
        }
        let scope = scope(&context)?;
        let arguments = request.arguments.unwrap_or_default();
        let uri = document::address(entry, &arguments);
        let answered = match context.meta.get_progress_token() {
            None => self.ask(&scope, entry, arguments, began).await,
            Some(token) => {
                let asking = async |says: mpsc::Sender<Progress>| {
                    // What a reader is too slow for is left out.
                    let heard = self.system.heard_by(move |progress| _ = says.try_send(progress));
                    let server = Self { system: heard, ..self.clone() };
                    server.ask(&scope, entry, arguments, began).await
                };
                progress::telling(&context.peer, token, asking).await
            }
        };
        match answered {
            Ok(answer) => Ok(outcome::success(entry, &uri, answer).into()),
            Err(refusal) if refusal.kind == Kind::Failure => {
                Err(outcome::failed(&refusal, scope.correlation_id))
            }
            Err(refusal) => Ok(outcome::refused(&refusal).into()),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let caller = caller(&context)?;
        let catalogue = Resource::new(CATALOGUE, "catalogue")
            .with_title("Servers")
            .with_description(
                "The MCP servers of this installation, one per domain, with the tools you may use",
            )
            .with_mime_type("application/json");
        let usable = self.tools.all().iter().filter(|entry| caller.may_use(entry));
        let documents = usable.filter_map(|entry| match document::listed(entry)? {
            Listed::One(resource) => Some(resource),
            Listed::Many(_) => None,
        });
        let listed = [catalogue].into_iter().chain(documents).collect();
        Ok(ListResourcesResult::with_all_items(listed).with_ttl_ms(list_good_for()))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let caller = caller(&context)?;
        let usable = self.tools.all().iter().filter(|entry| caller.may_use(entry));
        let templates = usable.filter_map(|entry| match document::listed(entry)? {
            Listed::One(_) => None,
            Listed::Many(template) => Some(template),
        });
        let listed = ListResourceTemplatesResult::with_all_items(templates.collect());
        Ok(listed.with_ttl_ms(list_good_for()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let caller = caller(&context)?;
        if request.uri != CATALOGUE {
            let read = self.read(caller, &scope(&context)?, &request.uri).await?;
            return Ok(ReadResourceResult::new(read).into());
        }
        let text = self.catalogue(caller).to_string();
        let contents = ResourceContents::text(text, CATALOGUE).with_mime_type("application/json");
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let caller = caller(&context)?;
        let all = self.prompts.all().iter();
        let usable = all.filter(|entry| caller.has_any_right_in(entry.domain.as_str()));
        let listed = usable.map(|entry| entry.prompt.clone()).collect();
        Ok(ListPromptsResult::with_all_items(listed).with_ttl_ms(list_good_for()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let (caller, scope) = (caller(&context)?, scope(&context)?);
        let found = self.prompts.get(&request.name);
        let found = found.filter(|entry| caller.has_any_right_in(entry.domain.as_str()));
        let entry = found.ok_or_else(|| {
            ErrorData::invalid_params(format!("there is no prompt `{}` here", request.name), None)
        })?;
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let said = caller.admit(&self.system).and_then(|()| entry.declared.messages(arguments));
        let said = said.map_err(|error| match Refusal::from(&error) {
            refusal if refusal.kind == Kind::Failure => {
                tracing::error!(%error, prompt = %request.name, "a prompt failed");
                outcome::failed(&refusal, scope.correlation_id)
            }
            refusal => outcome::denied(&refusal),
        })?;
        let mut messages = Vec::new();
        for message in said {
            messages.extend(self.say(caller, &scope, message).await?);
        }
        let description = entry.declared.description.clone();
        Ok(GetPromptResult::new(messages).with_description(description).into())
    }
}

fn list_good_for() -> u64 {
    u64::try_from(LIST_GOOD_FOR.as_millis()).unwrap_or_default()
}

/// Who makes the request that a message came with.
fn caller(context: &RequestContext<RoleServer>) -> Result<&Caller, ErrorData> {
    let parts = context.extensions.get::<Parts>();
    let caller = parts.and_then(|parts| parts.extensions.get::<Caller>());
    caller.ok_or_else(|| ErrorData::internal_error("the request has no caller", None))
}

/// The scope of a call. A trace in the message is nearer to the call than that of the request.
fn scope(context: &RequestContext<RoleServer>) -> Result<Scope, ErrorData> {
    let scope = caller(context)?.scope.clone();
    let given = context.meta.get_traceparent().and_then(|text| text.parse().ok());
    let traceparent = given.or(scope.traceparent);
    Ok(scope.traced(traceparent))
}

/// The id by which a command is done once; it is no argument of the operation.
fn take_request_id(entry: &Entry, arguments: &mut JsonObject) -> Result<Option<String>, Refusal> {
    if !entry.takes_request_id {
        return Ok(None);
    }
    match arguments.remove(REQUEST_ID) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(_) => {
            let refusal =
                Refusal::new(Kind::Invalid, "bad_idempotency_key", "a request id is text");
            Err(refusal.at("/request_id"))
        }
    }
}

fn instructions(place: metadata::Server) -> String {
    let whose = match place.domain() {
        Some(domain) => format!("the tools of the domain `{domain}`"),
        None => "the tools of all domains; each domain also has a server of its own at \
                 /mcp/<domain>"
            .to_owned(),
    };
    format!(
        "This server has {whose}. The resource {CATALOGUE} lists the servers and the tools you may \
         use; what is listed as a resource is read by its address. You act for the organisation of \
         your credential, and see nothing of any other. Give each change a request_id of your own: \
         called again with the same one, it is done once. A refusal is a result with isError and \
         {{kind, code, message, errors, retry_after_ms}}: read it, mend the arguments it blames, \
         or ask again after retry_after_ms. Of the categories of tools, `read` changes nothing, \
         `propose` suggests what a person decides, `execute` changes something, and `restricted` \
         asks for a person's consent first."
    )
}
