//! Transfer: the log into a file and out of one, on the machine where its database can be reached.
//!
//! What is parsed here is done by the server crate, as for `verify --local`.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::command::org;
use crate::options::{DatabaseOptions, Style};
use crate::request::Request;

/// What to export, and where to.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// Only the events of this organisation, a UUID.
    pub org_id: Option<String>,
    /// Only from this position on.
    pub from: Option<i64>,
    /// Only up to this position.
    pub to: Option<i64>,
    /// The file to write; standard output unless told.
    pub out: Option<PathBuf>,
    /// Whether a file of that name may be replaced.
    pub force: bool,
    /// Where the log is.
    pub database: DatabaseOptions,
    /// How to print what was done.
    pub style: Style,
}

/// The commands below `events` that read or write files.
pub(crate) fn commands() -> [Command; 1] {
    [export()]
}

/// The request of one of these commands; `None` for any other.
pub(crate) fn request(name: &str, matches: &ArgMatches) -> Result<Option<Request>, clap::Error> {
    let database = |matches| DatabaseOptions::from_arg_matches(matches);
    Ok(match name {
        "export" => Some(Request::Export(ExportOptions {
            org_id: matches.get_one("org").cloned(),
            from: matches.get_one("from").copied(),
            to: matches.get_one("to").copied(),
            out: matches.get_one("out").cloned(),
            force: matches.get_flag("force"),
            database: database(matches)?.without_empty(),
            style: Style::from_arg_matches(matches)?,
        })),
        _ => None,
    })
}

fn export() -> Command {
    let position = |id: &'static str| {
        let parser: ValueParser = clap::value_parser!(i64).range(1..).into();
        Arg::new(id).long(id).value_name("POSITION").value_parser(parser)
    };
    let out = Arg::new("out").long("out").value_name("FILE");
    let force = Arg::new("force").long("force").action(ArgAction::SetTrue);
    let command = Command::new("export")
        .about("Write the log with its chain to a file, as JSON Lines")
        .arg(org().help("Only the events of this organisation, by its id"))
        .arg(position("from").help("Only from this position on"))
        .arg(position("to").help("Only up to this position"))
        .arg(
            out.value_parser(clap::value_parser!(PathBuf))
                .help("The file to write; standard output unless told"),
        )
        .arg(force.help("Replace a file of that name").requires("out"))
        .after_help(
            "The file is the log at one instant, damaged or not; its last line has a digest of all \
             that is before it. docs/event-format.md describes the lines.\n\n\
             Examples:\n  \
             finnest events export --local --out events.jsonl\n  \
             finnest events export --local | zstd > events.jsonl.zst",
        );
    in_the_database(command)
}

/// Adds where the database is. `--local` is asked for, so that nobody waits in vain for an answer
/// of the platform at `--url`.
fn in_the_database(command: Command) -> Command {
    let local = Arg::new("local").long("local").action(ArgAction::SetTrue).required(true);
    DatabaseOptions::augment_args(
        command.arg(local.help("Use the database directly, with the platform down or up")),
    )
    .long_about(None)
}
