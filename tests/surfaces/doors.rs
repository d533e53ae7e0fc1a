//! The doors: how each is asked for an operation, and how what it says is read.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use cli::{Request, Screen};
use hyper::{Method, StatusCode};
use platform::operator::OPERATOR;
use platform::otp::Clock;
use platform::{Access, Catalog, Operation, Verb};
use serde_json::{Map, Value, json};
use testkit::Member;

use super::told::Told;
use crate::inputs::name_of;
use crate::support::Served;

/// A surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Rest,
    Mcp,
    Socket,
    Cli,
}

/// All of them.
pub(super) const DOORS: [Door; 4] = [Door::Rest, Door::Mcp, Door::Socket, Door::Cli];

impl Door {
    /// Why it does not have `operation`, if it does not.
    pub(super) fn withholds(self, operation: &Operation) -> Option<&'static str> {
        let is_for_strangers = operation.spec.access() == Access::Anyone;
        (self == Self::Mcp && is_for_strangers)
            .then_some("an agent shows a credential, and signing in is no business of its own")
    }

    /// What it says to `member` about `operation` with `input`. What needs no credential is asked
    /// for without one, where the door opens to strangers.
    pub(super) async fn ask(
        self,
        served: &Served,
        member: &Member,
        operation: &Operation,
        input: &Value,
    ) -> Told {
        match self {
            Self::Rest => rest(served, member, operation, input).await,
            Self::Mcp => mcp(served, member, operation, input).await,
            Self::Socket => socket(served, member, operation, input).await,
            Self::Cli => cli(served, token(member, operation), operation, input).await.told,
        }
    }

    /// How it names the kind of its refusal to whoever shows no credential.
    pub(super) async fn ask_as_nobody(
        self,
        served: &Served,
        operation: &Operation,
    ) -> &'static str {
        let is_known = match self {
            Self::Rest => {
                let (path, _) = request(operation, &json!({"job_order_id": "7"}));
                let response = served.send_as(None, Method::GET, &path, None).await;
                response.status != StatusCode::UNAUTHORIZED
            }
            Self::Mcp => {
                let message = tool_call(operation, &json!({"job_order_id": "7"}));
                let response = served.send_as(None, Method::POST, "/mcp", Some(message)).await;
                response.status != StatusCode::UNAUTHORIZED
            }
            Self::Socket => served.is_let_in(None).await,
            Self::Cli => {
                let asked = cli(served, None, operation, &json!({"job_order_id": "7"})).await;
                asked.exit != cli::Exit::Unauthenticated
            }
        };
        if is_known { "(let in)" } else { "unauthenticated" }
    }
}

/// What a member shows, if the operation wants to see anything.
fn token<'a>(member: &'a Member, operation: &Operation) -> Option<&'a str> {
    (operation.spec.access() != Access::Anyone).then(|| member.token())
}

async fn rest(served: &Served, member: &Member, operation: &Operation, input: &Value) -> Told {
    let method = match operation.spec.verb() {
        Verb::Read => Method::GET,
        Verb::Replace => Method::PUT,
        Verb::Remove => Method::DELETE,
        Verb::Create | Verb::Invoke | Verb::Internal => Method::POST,
    };
    let (path, body) = request(operation, input);
    let response = served.send_as(token(member, operation), method, &path, body).await;
    if !response.status.is_success() {
        return Told::refusal(&response.json());
    }
    let is_empty = response.text.is_empty();
    Told::Answer(if is_empty { Value::Null } else { response.json() })
}

/// The address of a call and what is sent there: path fields in the path, the rest in the body, or
/// in the query of what has none.
fn request(operation: &Operation, input: &Value) -> (String, Option<Value>) {
    let mut rest: Map<String, Value> = input.as_object().cloned().unwrap_or_default();
    let mut path = format!("/api/v1/{}{}", operation.domain, operation.spec.path());
    for name in operation.spec.path_parameters() {
        // Without a value the address still has to lead to the operation.
        let value = rest.remove(name).map_or_else(|| MISSING.to_owned(), |value| plain(&value));
        path = path.replace(&format!("{{{name}}}"), &encoded(&value));
    }
    if !matches!(operation.spec.verb(), Verb::Read | Verb::Remove) {
        return (path, Some(Value::Object(rest)));
    }
    let pairs = rest.iter().flat_map(|(name, value)| match value {
        Value::Array(items) => items.iter().map(|item| (name, plain(item))).collect(),
        value => vec![(name, plain(value))],
    });
    let query: Vec<String> =
        pairs.map(|(name, value)| format!("{name}={}", encoded(&value))).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    (format!("{path}{mark}{}", query.join("&")), None)
}

/// Stands in an address for what was not given.
const MISSING: &str = "00000000-0000-7000-8000-000000000000";

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode =
        |byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

/// What an agent sends to use a tool.
pub(super) fn tool_call(operation: &Operation, input: &Value) -> Value {
    let name = format!("{}_{}", operation.domain, operation.spec.name());
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "arguments": input},
    })
}

async fn mcp(served: &Served, member: &Member, operation: &Operation, input: &Value) -> Told {
    let address = format!("/mcp/{}", operation.domain);
    let answer = served.tell(member, &address, &tool_call(operation, input)).await;
    let result = &answer["result"];
    let structured = &result["structuredContent"];
    if result["isError"] != false {
        let said = if structured.is_null() { &answer["error"]["data"] } else { structured };
        return Told::refusal(said);
    }
    // What is no object is a field of one here.
    let wrapped = structured.as_object().filter(|fields| fields.len() == 1);
    let inner = wrapped.and_then(|fields| fields.get("result"));
    Told::Answer(inner.unwrap_or(structured).clone())
}

async fn socket(served: &Served, member: &Member, operation: &Operation, input: &Value) -> Told {
    let topic = if operation.domain == OPERATOR {
        "system:supervision".to_owned()
    } else {
        format!("org:{}:{}", member.scope().org_id, operation.domain)
    };
    let (mut channel, joined) = served.ask_to_join(member, &topic).await;
    if joined["status"] != "ok" {
        return Told::refusal(&joined["response"]);
    }
    channel.push(operation.spec.name(), input.clone()).await;
    let reply = channel.next("phx_reply").await;
    if reply["status"] != "ok" {
        return Told::refusal(&reply["response"]);
    }
    Told::Answer(reply["response"].clone())
}

/// What became of a command line.
struct Asked {
    exit: cli::Exit,
    told: Told,
}

async fn cli(served: &Served, token: Option<&str>, operation: &Operation, input: &Value) -> Asked {
    let (url, input) = (format!("http://{}", served.address), input.to_string());
    let (domain, name) = (operation.domain.as_str(), operation.spec.name());
    let mut args = vec!["finnest", domain, name, "--json", &input, "--url", &url, "--output=json"];
    // An empty token is none, and keeps a token of the environment out.
    args.extend(["--token", token.unwrap_or_default()]);
    // The one domain asked for: a command line of all would take longer to make than the answer.
    let all = served.system.system().catalog();
    let one = all.domain(domain).cloned().into_iter().collect();
    let catalog = Catalog::part(one).expect("a domain agrees with itself");
    let remote = match cli::parse(&catalog, args) {
        Ok(Request::Remote(remote)) => remote,
        Ok(other) => panic!("{} asks nobody: {other:?}", name_of(operation)),
        // The address could not be made: what REST says about an address that leads nowhere.
        Err(error) => {
            let told = Told::Refusal { code: error.to_string(), places: Vec::new() };
            return Asked { exit: cli::Exit::Refused, told };
        }
    };
    let (out, err) = (Page::default(), Page::default());
    let mut screen = Screen::plain(Box::new(out.clone()), Box::new(err.clone()));
    let exit = cli::run(&remote, &Clock::system(), &mut screen).await;
    let told = if exit == cli::Exit::Done {
        Told::Answer(serde_json::from_str(&out.text()).expect("an answer is JSON"))
    } else {
        complaint(&err.text())
    };
    Asked { exit, told }
}

/// A refusal as the command line prints it: a sentence, a line for each place, the code.
fn complaint(text: &str) -> Told {
    let code = text.split("(code ").nth(1).and_then(|rest| rest.split([',', ')']).next());
    let lines = text.lines().skip(1).filter_map(|line| line.strip_prefix("  "));
    let named = lines.filter(|line| !line.starts_with('('));
    let mut places: Vec<String> = named.map(place).collect();
    places.sort();
    Told::Refusal { code: code.unwrap_or(text).to_owned(), places }
}

/// The place of the input that a flag fills.
fn place(line: &str) -> String {
    let named = line.split_once(": ").map_or(line, |(named, _)| named);
    match named.strip_prefix("--") {
        Some(flag) => {
            let flag = flag.strip_prefix("input-").unwrap_or(flag);
            format!("/{}", flag.replace('-', "_").replace(['.', ' '], "/"))
        }
        None if named == "the input" => String::new(),
        None => named.to_owned(),
    }
}

/// Paper to print on.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
