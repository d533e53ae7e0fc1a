//! Requests: what the arguments ask for, as a plain value.

mod who;

use std::ffi::OsString;
use std::io::{self, Read as _};

use clap::error::ErrorKind;
use clap::{ArgMatches, FromArgMatches};
use platform::{Catalog, Operation};
use serde_json::{Map, Value, json};

use crate::audit::{self, ProofOptions, VerifyOptions};
use crate::command::command;
use crate::config::{self, Config, ConfigError};
use crate::jobs::{self, Shown};
use crate::operations;
use crate::options::{CellOptions, DatabaseOptions, Format, ServeOptions, Server, Style};
use crate::route::{Call, Route};
use crate::session::Kept;
use crate::sign_in::{SignIn, SignOut};
use crate::transfer::{self, Transfer};

/// What the arguments ask for.
#[derive(Debug, Clone)]
pub enum Request {
    /// Run the platform until it is told to stop.
    Serve(ServeOptions),
    /// Run one domain for the platform that started this process.
    Cell(CellOptions),
    /// Bring the schemas of the database up to date, and stop.
    Migrate(DatabaseOptions),
    /// Walk the chain in the database itself, with the platform down or up.
    Verify(VerifyOptions),
    /// Take the log into a file, or out of one.
    Transfer(Transfer),
    /// Check a proof, with nothing but its file.
    CheckProof(ProofOptions),
    /// Ask a running platform.
    Remote(Remote),
    /// Print a completion script.
    Completions(clap_complete::Shell),
}

/// Something to ask a running platform.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where it is, and who asks.
    pub server: Server,
    /// How to print the answer.
    pub style: Style,
    /// What to ask.
    pub task: Task,
    /// The session that a profile keeps, if it is what says who asks.
    pub(crate) session: Option<Kept>,
}

/// What to ask a running platform.
#[derive(Debug, Clone)]
pub struct Task(pub(crate) Ask);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    Call(Call),
    /// All pages of it.
    Every(Call),
    Tree(Call),
    WatchTree(Call),
    Tail(Tail),
    Verify {
        start: Call,
        show: Route,
    },
    Jobs(Call, Shown),
    Bulk {
        start: Call,
        show: Route,
    },
    Kill(Call),
    Reload(Call),
    SignIn(SignIn),
    SignOut(SignOut),
    WhoAmI(Call),
}

/// Which events to follow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tail {
    pub(crate) route: Route,
    /// Begin after this position, or with the last so many.
    pub(crate) after: Option<i64>,
    pub(crate) last: u32,
    /// Only organisations whose id ends like this.
    pub(crate) org: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) is_following: bool,
}

/// Makes a request of the arguments, the first of which is the program's name.
///
/// # Errors
/// What clap has to say, which includes the help somebody asked for; `error.exit()` tells it well.
pub fn parse<I, T>(catalog: &Catalog, args: I) -> Result<Request, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let config =
        || config::path().map_or_else(|| Ok(Config::default()), |path| Config::load(&path));
    parse_with(catalog, args, &Outside { read: &read, config: &config })
}

/// What a request is made of besides the arguments.
pub(crate) struct Outside<'a> {
    /// The text of a file, or of standard input for `-`.
    pub(crate) read: &'a dyn Fn(&str) -> io::Result<String>,
    pub(crate) config: &'a dyn Fn() -> Result<Config, ConfigError>,
}

fn read(file: &str) -> io::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map(|_| text)
}

/// Whoever stops at a command that has others below it wants to see them, whatever flags came with
/// it: clap shows its help only if there were none, and otherwise every name in one long line.
fn matches<I, T>(catalog: &Catalog, args: I) -> Result<ArgMatches, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    command(catalog).try_get_matches_from(&args).or_else(|error| match error.kind() {
        ErrorKind::MissingSubcommand => {
            command(catalog).try_get_matches_from(args.into_iter().chain(["--help".into()]))
        }
        _ => Err(error),
    })
}

pub(crate) fn parse_with<I, T>(
    catalog: &Catalog,
    args: I,
    outside: &Outside<'_>,
) -> Result<Request, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let matches = matches(catalog, args)?;
    let (name, matches) = matches.subcommand().expect("clap requires a subcommand");
    if let Some(request) = here(name, matches)? {
        return Ok(request);
    }
    let asks = Asks { catalog };
    let (leaf, ask) = match name {
        "verify" => (matches, asks.verify(matches)?),
        "sign-in" => return asks.sign_in(matches, outside),
        "sign-out" => return asks.sign_out(matches, outside),
        "whoami" => {
            (matches, Ask::WhoAmI(asks.accounts("get_me")?.call(Map::new()).map_err(wrong)?))
        }
        "tree" => (matches, asks.tree(matches)?),
        "kill" => (matches, asks.kill(matches)?),
        "inspect" => (matches, asks.inspect(matches)?),
        "reload" => (matches, Ask::Reload(asks.operator("reload_supervision", json!({}))?)),
        "consumers" => (matches, Ask::Call(asks.operator("list_consumers", json!({}))?)),
        "queues" => (matches, Ask::Call(asks.operator("list_queues", json!({}))?)),
        "jobs" => {
            let (name, leaf) = matches.subcommand().expect("clap requires a subcommand");
            (leaf, asks.jobs(name, leaf)?)
        }
        "events" => {
            let (name, leaf) = matches.subcommand().expect("clap requires a subcommand");
            if let Some(request) = transfer::request(name, leaf)?.or(audit::request(name, leaf)?) {
                return Ok(request);
            }
            match audit::asked(name, leaf) {
                Some((name, input)) => (leaf, Ask::Call(asks.operator(name, input)?)),
                None => (leaf, asks.tail(leaf)?),
            }
        }
        "call" => {
            let (domain, matches) = matches.subcommand().expect("clap requires a domain");
            asks.operation(domain, matches, outside)?
        }
        domain => asks.operation(domain, matches, outside)?,
    };
    let (server, session) = asks.server(leaf, outside)?;
    Ok(Request::Remote(Remote { server, style: style(leaf)?, task: Task(ask), session }))
}

/// What runs on this machine and asks nobody.
fn here(name: &str, matches: &ArgMatches) -> Result<Option<Request>, clap::Error> {
    Ok(Some(match name {
        "serve" => {
            let mut options = ServeOptions::from_arg_matches(matches)?;
            options.database = options.database.without_empty();
            Request::Serve(options)
        }
        "cell" => Request::Cell(CellOptions::from_arg_matches(matches)?),
        "migrate" => Request::Migrate(DatabaseOptions::from_arg_matches(matches)?.without_empty()),
        "completions" => {
            let shell = matches.get_one("shell").copied().expect("clap requires a shell");
            Request::Completions(shell)
        }
        "verify" if matches.get_flag("local") => Request::Verify(audit::verify_options(matches)?),
        _ => return Ok(None),
    }))
}

/// How to print, as the arguments say.
fn style(leaf: &ArgMatches) -> Result<Style, clap::Error> {
    let mut style = Style::from_arg_matches(leaf)?;
    if leaf.try_get_one("as-json").is_ok_and(|flag| flag == Some(&true)) {
        style.output = Some(Format::Json);
    }
    Ok(style)
}

/// Makes something to ask of what clap matched.
struct Asks<'a> {
    catalog: &'a Catalog,
}

impl Asks<'_> {
    fn verify(&self, matches: &ArgMatches) -> Result<Ask, clap::Error> {
        let start = self.operator("start_verification", audit::verify_input(matches))?;
        Ok(Ask::Verify { start, show: self.operator_route("show_verification")? })
    }

    fn tree(&self, matches: &ArgMatches) -> Result<Ask, clap::Error> {
        let call = self.operator("get_tree", json!({}))?;
        Ok(if matches.get_flag("watch") { Ask::WatchTree(call) } else { Ask::Tree(call) })
    }

    fn inspect(&self, matches: &ArgMatches) -> Result<Ask, clap::Error> {
        let path = matches.get_one::<String>("path").expect("clap requires a path");
        Ok(Ask::Call(self.operator("get_process", json!({ "path": path }))?))
    }

    fn kill(&self, matches: &ArgMatches) -> Result<Ask, clap::Error> {
        let path = matches.get_one::<String>("path").expect("clap requires a path");
        let reason = matches.get_one::<String>("reason").expect("clap requires a reason");
        Ok(Ask::Kill(self.operator("kill_process", json!({ "path": path, "reason": reason }))?))
    }

    fn jobs(&self, name: &str, leaf: &ArgMatches) -> Result<Ask, clap::Error> {
        let asked = jobs::asked(name, leaf);
        let (operation, input, shown) =
            asked.map_err(|error| wrong(format!("what was given is not JSON: {error}")))?;
        let call = self.operator(operation, input)?;
        Ok(match shown {
            Shown::Plain => Ask::Call(call),
            Shown::Followed => Ask::Bulk { start: call, show: self.operator_route("show_bulk")? },
            shown => Ask::Jobs(call, shown),
        })
    }

    fn tail(&self, leaf: &ArgMatches) -> Result<Ask, clap::Error> {
        let tail = Tail {
            route: self.operator_route("list_events")?,
            after: leaf.get_one("after").copied(),
            last: leaf.get_one("last").copied().expect("clap has a default"),
            org: leaf.get_one::<String>("org").map(|org| org.to_lowercase()),
            domain: leaf.get_one("domain").cloned(),
            is_following: !leaf.get_flag("no-follow"),
        };
        Ok(Ask::Tail(tail))
    }

    fn operation<'m>(
        &self,
        domain: &str,
        matches: &'m ArgMatches,
        outside: &Outside<'_>,
    ) -> Result<(&'m ArgMatches, Ask), clap::Error> {
        let (name, matches) = matches.subcommand().expect("clap requires an operation");
        let operation =
            self.catalog.operation(domain, name).expect("clap knows the catalog's only");
        Ok((matches, operations::asked(operation, matches, outside.read)?))
    }

    fn operator(&self, name: &str, input: Value) -> Result<Call, clap::Error> {
        let Value::Object(input) = input else { unreachable!("callers give objects") };
        self.operator_route(name)?.call(input).map_err(|error| wrong(error.to_string()))
    }

    fn operator_route(&self, name: &str) -> Result<Route, clap::Error> {
        let operation: Option<&Operation> = self.catalog.operation("operator", name);
        operation.and_then(Route::of).ok_or_else(|| {
            wrong(format!("this program was built without the operator's operation `{name}`"))
        })
    }
}

pub(crate) fn wrong(message: impl std::fmt::Display) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{message}\n"))
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;
    use crate::example;
    use crate::options::Secret;

    const OUTSIDE: Outside<'static> = Outside { read: &read, config: &config };

    fn read(file: &str) -> io::Result<String> {
        match file {
            "-" => Ok(r#"{"title": "from stdin", "headcount": 1}"#.into()),
            "order.json" => Ok(r#"{"title": "from a file", "headcount": 2}"#.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn config() -> Result<Config, ConfigError> {
        let page = "default = 'demo'\n[profile.demo]\nurl = 'http://a:1'\ntoken = 'kept'\n\
                    [profile.there]\nurl = 'http://b:2'\n";
        Config::read(page, "config.toml")
    }

    fn parse(args: &str) -> Result<Request, clap::Error> {
        let args = std::iter::once("finnest").chain(args.split_whitespace());
        parse_with(&example::catalog(), args, &OUTSIDE)
    }

    fn ask(args: &str) -> Ask {
        match parse(args) {
            Ok(Request::Remote(remote)) => remote.task.0,
            other => panic!("{args}: {other:?}"),
        }
    }

    fn call(args: &str) -> Call {
        match ask(args) {
            Ask::Call(call)
            | Ask::Every(call)
            | Ask::Tree(call)
            | Ask::WatchTree(call)
            | Ask::Verify { start: call, .. }
            | Ask::Jobs(call, _)
            | Ask::Bulk { start: call, .. }
            | Ask::Kill(call)
            | Ask::Reload(call) => call,
            other => panic!("{args}: {other:?}"),
        }
    }

    #[test]
    fn every_operation_is_a_subcommand_with_its_fields_as_flags() {
        let call =
            call("call recruit open_job_order --title=Driver --headcount 3 --idempotency-key k1");

        assert_eq!(
            (call.method, call.target.as_str()),
            (Method::POST, "/api/v1/recruit/job_orders")
        );
        assert_eq!(call.body, Some(json!({"title": "Driver", "headcount": 3})));
        assert_eq!(call.idempotency_key.as_deref(), Some("k1"));
    }

    #[test]
    fn a_domain_without_an_operation_shows_what_there_is() {
        for args in
            ["call recruit", "call recruit --url http://127.0.0.1:1", "--no-color call recruit"]
        {
            let error = parse(args).expect_err("there is nothing to ask");

            let said = error.to_string();
            assert!(said.contains("open_job_order") && said.contains("Usage:"), "{args}: {said}");
            assert!(!said.contains("requires a subcommand"), "{args}: {said}");
        }
    }

    #[test]
    fn dashes_do_as_well_as_underscores() {
        let call = call("call recruit list-job-orders --states open --states filled");

        assert_eq!(call.target, "/api/v1/recruit/job_orders?states=open&states=filled");
    }

    #[test]
    fn json_gives_the_whole_input_and_flags_go_before_it() {
        let inline =
            call(r#"call recruit open_job_order --json {"title":"x","headcount":2} --headcount 5"#);
        let piped = call("call recruit open_job_order --json - --headcount 5");

        assert_eq!(inline.body, Some(json!({"title": "x", "headcount": 5})));
        assert_eq!(piped.body, Some(json!({"title": "from stdin", "headcount": 5})));
    }

    #[test]
    fn a_domain_needs_no_call_before_it() {
        let short = call("recruit open_job_order --title=Driver --headcount 3");

        assert_eq!(short, call("call recruit open_job_order --title=Driver --headcount 3"));
    }

    #[test]
    fn the_whole_input_may_be_in_a_file() {
        let file = call("recruit open_job_order --input order.json --headcount 5");
        let piped = call("recruit open_job_order --input -");

        assert_eq!(file.body, Some(json!({"title": "from a file", "headcount": 5})));
        assert_eq!(piped.body, Some(json!({"title": "from stdin", "headcount": 1})));
    }

    #[test]
    fn a_list_may_be_asked_for_with_all_its_pages() {
        assert!(matches!(ask("recruit list_job_orders --all"), Ask::Every(_)));
        assert!(matches!(ask("recruit list_job_orders"), Ask::Call(_)));
    }

    #[test]
    fn the_config_file_says_what_nobody_said() {
        let cases = [
            ("", ("http://a:1", Some("kept"))),
            ("--url http://c:3", ("http://c:3", Some("kept"))),
            ("--token mine", ("http://a:1", Some("mine"))),
            ("--url http://c:3 --token mine", ("http://c:3", Some("mine"))),
            ("--use there", ("http://b:2", None)),
        ];

        for (args, expected) in cases {
            let request = parse(&format!("recruit list_job_orders {args}")).expect(args);
            let Request::Remote(Remote { server, .. }) = request else { panic!("{args}") };
            let token = server.token.as_ref().map(Secret::expose);
            assert_eq!((server.url.as_str(), token), expected, "{args}");
        }
    }

    #[test]
    fn wrong_usage_exits_with_two() {
        let cases = [
            "",
            "call",
            "call recruit",
            "call nobody x",
            "call recruit rescore",
            "dance",
            "call recruit open_job_order --title x",
            "call recruit open_job_order --json [1]",
            "call recruit open_job_order --json {",
            "call recruit fill_job_order --json {}",
            "recruit open_job_order --input nowhere.json",
            "recruit open_job_order --input - --json {}",
            "recruit list_job_orders --use nobody",
            "nobody list_job_orders",
            "kill root/x",
            "serve --listen nowhere",
        ];

        for args in cases {
            let error = parse(args).expect_err(args);
            assert_eq!(error.exit_code(), 2, "{args}: {error}");
        }
    }

    #[test]
    fn the_operators_commands_are_calls_of_the_operators_domain() {
        let kill = call("kill root/domains/recruit --reason drill");

        assert_eq!(kill.target, "/api/v1/operator/kill");
        assert_eq!(kill.body, Some(json!({"path": "root/domains/recruit", "reason": "drill"})));
        assert_eq!(call("tree").target, "/api/v1/operator/tree");
        assert!(matches!(ask("tree --watch"), Ask::WatchTree(_)));
        let inspect = call("inspect root/domains");
        assert_eq!(inspect.target, "/api/v1/operator/process?path=root%2Fdomains");
        assert_eq!(call("reload").target, "/api/v1/operator/reload");
        assert_eq!(call("consumers").target, "/api/v1/operator/consumers");
        assert_eq!(call("queues").target, "/api/v1/operator/queues");
        assert_eq!(call("verify").body, Some(json!({})));
        assert_eq!(call("verify --org 7").body, Some(json!({"org_id": "7"})));
    }

    #[test]
    fn the_tail_knows_where_to_begin_and_what_to_leave_out() {
        let Ask::Tail(tail) = ask("events tail --after 7 --org AB12 --domain recruit --no-follow")
        else {
            panic!("a tail")
        };

        assert_eq!((tail.after, tail.last, tail.is_following), (Some(7), 10, false));
        assert_eq!((tail.org.as_deref(), tail.domain.as_deref()), (Some("ab12"), Some("recruit")));
    }

    #[test]
    fn what_runs_on_this_machine_is_left_to_the_server() {
        let Ok(Request::Serve(serve)) =
            parse("serve --listen 0.0.0.0:80 --demo --database-url postgres://x")
        else {
            panic!("serve")
        };
        assert_eq!((serve.listen.port(), serve.demo), (80, true));
        assert_eq!(
            serve.database.database_url.as_ref().map(crate::Secret::expose),
            Some("postgres://x")
        );

        let Ok(Request::Verify(verify)) = parse("verify --local --org 7 --output json") else {
            panic!("verify")
        };
        assert_eq!(verify.org_id.as_deref(), Some("7"));
        assert_eq!(verify.style.output, Some(crate::Format::Json));
        assert!(matches!(parse("migrate --data-dir /x"), Ok(Request::Migrate(_))));
        assert!(matches!(
            parse("completions zsh"),
            Ok(Request::Completions(clap_complete::Shell::Zsh))
        ));
    }

    #[test]
    fn where_the_platform_is_may_be_said_before_or_after_the_command() {
        for args in ["--url http://a --token t tree", "tree --url http://a --token t"] {
            let Ok(Request::Remote(remote)) = parse(args) else { panic!("{args}") };

            assert_eq!(remote.server.url, "http://a");
            assert_eq!(remote.server.token.as_ref().map(crate::Secret::expose), Some("t"));
            assert!(!format!("{remote:?}").contains("\"t\""));
        }
    }
}
