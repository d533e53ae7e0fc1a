//! Operations: a subcommand for each, below its domain's name and below `call`, and the request
//! that its flags make.

use std::io;

use clap::{Arg, ArgAction, ArgMatches, Command};
use platform::{Catalog, Domain, Operation, Verb};
use serde_json::{Map, Value};

use crate::field::{self, Field};
use crate::request::{Ask, wrong};
use crate::route::Route;

/// The command that has all operations of all domains.
pub(crate) fn call(catalog: &Catalog) -> Command {
    Command::new("call")
        .about("Call an operation of a domain; without one, see what there is")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand_value_name("DOMAIN")
        .subcommand_help_heading("Domains")
        .subcommands(catalog.domains().iter().filter_map(domain))
        .after_help(
            "Examples:\n  \
             finnest call recruit                          what the domain recruit can do\n  \
             finnest call recruit open_job_order --help    what it takes\n  \
             finnest call operator list_cursors",
        )
}

/// Adds a command for each domain. One that is called like a command of ours is reached by `call`
/// only.
pub(crate) fn add_domains(program: Command, catalog: &Catalog) -> Command {
    let ours: Vec<String> =
        program.get_subcommands().map(|own| own.get_name().to_owned()).collect();
    let domains = catalog.domains().iter().filter_map(domain);
    program.subcommands(domains.filter(|domain| !ours.iter().any(|own| own == domain.get_name())))
}

/// None for a domain that has nothing to offer here.
fn domain(domain: &Domain) -> Option<Command> {
    let operations: Vec<Command> = domain.operations().iter().filter_map(operation).collect();
    let names: Vec<&str> = operations.iter().map(Command::get_name).collect();
    let about = match names.as_slice() {
        [] => return None,
        [first, second, third, _, ..] => {
            format!("{first}, {second}, {third} and {} more", names.len() - 3)
        }
        few => few.join(", "),
    };
    Some(
        Command::new(domain.name().as_str())
            .about(about)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .disable_help_subcommand(true)
            .subcommand_value_name("OPERATION")
            .subcommand_help_heading("Operations")
            .subcommands(operations),
    )
}

/// None for an operation that has no surface.
fn operation(operation: &Operation) -> Option<Command> {
    let route = Route::of(operation)?;
    let fields = field::fields(&operation.input_schema);
    let name = operation.spec.name();
    let mut command = Command::new(name)
        .about(operation.summary.trim_end_matches('.').to_owned())
        .long_about(operation.description.clone())
        .args(fields.iter().map(Field::arg))
        .args(whole_input())
        .arg(correlation())
        .after_help(format!(
            "Example:\n  {}\n\nOver HTTP: {} {}",
            example(operation, &fields),
            route.method,
            route.template
        ));
    if name.contains('_') {
        command = command.alias(name.replace('_', "-"));
    }
    if route.takes_key {
        let key = Arg::new("idempotency-key").long("idempotency-key").value_name("KEY");
        let help = "Do it once, however often it is sent with this key";
        command = command.arg(key.help(help).help_heading("Request"));
    }
    if has_pages(operation) {
        let all = Arg::new("all").long("all").action(ArgAction::SetTrue).help_heading("Request");
        command = command.arg(all.help("Ask for page after page, and print them as one"));
    }
    Some(command)
}

/// The two ways to give everything at once.
fn whole_input() -> [Arg; 2] {
    let json = Arg::new("json").long("json").value_name("JSON").help_heading("Input").help(
        "The whole input as a JSON object, or - to read it from standard input; flags win over it",
    );
    let file = Arg::new("input").long("input").value_name("FILE").help_heading("Input");
    let file = file.conflicts_with("json");
    [json, file.help("The same from a file, or - for standard input")]
}

fn correlation() -> Arg {
    Arg::new("correlation-id")
        .long("correlation-id")
        .value_name("UUID")
        .help_heading("Request")
        .help("What this and everything that follows from it is found by in logs and events")
}

/// Whether it answers page by page.
fn has_pages(operation: &Operation) -> bool {
    let has = |schema: &Value, name: &str| schema["properties"].get(name).is_some();
    operation.spec.verb() == Verb::Read
        && has(&operation.input_schema, "cursor")
        && has(&operation.output_schema, "items")
        && has(&operation.output_schema, "next")
}

/// A line to start from: the required flags, or the first optional one.
fn example(operation: &Operation, fields: &[Field]) -> String {
    let mut line = format!("finnest {} {}", operation.domain, operation.spec.name());
    let mut shown: Vec<&Field> = fields.iter().filter(|field| field.is_required).collect();
    if shown.is_empty() {
        shown.extend(fields.first());
    }
    for field in shown {
        let between = if field.kind == field::Kind::Boolean { '=' } else { ' ' };
        line = format!("{line} --{}{between}{}", field.flag(), field.example());
    }
    line
}

/// What the flags of `operation` ask for; `read` reads a file, or standard input for `-`.
pub(crate) fn asked(
    operation: &Operation,
    matches: &ArgMatches,
    read: &dyn Fn(&str) -> io::Result<String>,
) -> Result<Ask, clap::Error> {
    let route = Route::of(operation).expect("clap knows those with a surface only");
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let given = match (text("json"), text("input")) {
        (Some("-"), _) => object("--json", &read("-")?)?,
        (Some(text), _) => object("--json", text)?,
        (None, Some(file)) => {
            let text = read(file).map_err(|error| wrong(format!("{file}: {error}")))?;
            object("--input", &text)?
        }
        (None, None) => Map::new(),
    };
    let fields = field::fields(&operation.input_schema);
    let input = field::input(&fields, given, matches);
    let mut call = route.call(input).map_err(|error| wrong(error.to_string()))?;
    call.flags = fields.iter().map(|field| (field.pointer(), field.flag())).collect();
    call.correlation_id = text("correlation-id").map(str::to_owned);
    if route.takes_key {
        call.idempotency_key = text("idempotency-key").map(str::to_owned);
    }
    let is_all = has_pages(operation) && matches.get_flag("all");
    Ok(if is_all { Ask::Every(call) } else { Ask::Call(call) })
}

fn object(flag: &str, text: &str) -> Result<Map<String, Value>, clap::Error> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(wrong(format!(
            "{flag} takes an object, as in '{{\"title\": \"Forklift driver\"}}'"
        ))),
        Err(error) => Err(wrong(format!("what {flag} got is not JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::command;
    use crate::example;

    #[test]
    fn what_has_pages_can_be_asked_for_all() {
        let catalog = example::catalog();
        let paged = |name| has_pages(catalog.operation("recruit", name).expect("an example"));

        assert!(paged("list_job_orders") && !paged("open_job_order"));
    }

    #[test]
    fn no_field_takes_a_flag_that_means_the_same_everywhere() {
        let mut program = command(&example::catalog());
        program.build();
        let call = program.find_subcommand("call").expect("a command");
        let recruit = call.find_subcommand("recruit").expect("a domain");

        let flags = recruit.get_subcommands().flat_map(Command::get_arguments);
        let ours = flags.filter(|arg| !arg.get_id().as_str().starts_with("field:"));
        for arg in ours {
            let names = arg.get_long_and_visible_aliases().unwrap_or_default();
            for name in names {
                assert!(field::TAKEN.contains(&name), "a field could be called `{name}`");
            }
        }
    }

    #[test]
    fn a_domain_is_a_command_of_its_own() {
        let program = command(&example::catalog());

        let domain = program.find_subcommand("recruit").expect("a domain");

        assert!(domain.find_subcommand("open_job_order").is_some());
        assert!(domain.find_subcommand("rescore").is_none(), "it has no surface");
    }
}
