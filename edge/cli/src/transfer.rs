//! Transfer: the log into a file and out of one, on the machine where its database can be reached.
//!
//! What is parsed here is done by the server crate, as for `verify --local`.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use platform::store::archive::RETENTION_MONTHS;
use platform::store::partition::Month;

use crate::command::org;
use crate::options::{DatabaseOptions, Style};
use crate::request::Request;

/// What to do with the log and a file, and where the log is.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// What to do.
    pub task: TransferTask,
    /// Where the log is.
    pub database: DatabaseOptions,
    /// How to print what was done.
    pub style: Style,
}

/// What to do with the log and a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferTask {
    /// Write the log to a file.
    Export {
        /// Only the events of this organisation, a UUID.
        org_id: Option<String>,
        /// Only from this position on.
        from: Option<i64>,
        /// Only up to this position.
        to: Option<i64>,
        /// The file to write; standard output unless told.
        out: Option<PathBuf>,
        /// Whether a file of that name may be replaced.
        force: bool,
    },
    /// Continue the chains of a file here.
    Import {
        /// The file.
        file: PathBuf,
        /// Whether reactions treat its events as news.
        runs_reactions: bool,
    },
    /// Let a month leave for a file.
    Archive {
        /// The month.
        month: Month,
        /// Where to write the file.
        directory: PathBuf,
        /// How many months are kept at hand.
        retention_months: u32,
    },
    /// Bring a month back out of its file.
    Attach {
        /// The month, or the file if it was moved.
        what: MonthOrFile,
    },
}

/// A month that has left, by its name or by its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonthOrFile {
    /// The month; its file is where it was written to.
    Month(Month),
    /// The file.
    File(PathBuf),
}

/// The commands below `events` that read or write files.
pub(crate) fn commands() -> [Command; 4] {
    [export(), import(), archive(), attach()]
}

/// The request of one of these commands; `None` for any other.
pub(crate) fn request(name: &str, matches: &ArgMatches) -> Result<Option<Request>, clap::Error> {
    let required = "clap requires it or has a default";
    let task = match name {
        "export" => TransferTask::Export {
            org_id: matches.get_one("org").cloned(),
            from: matches.get_one("from").copied(),
            to: matches.get_one("to").copied(),
            out: matches.get_one("out").cloned(),
            force: matches.get_flag("force"),
        },
        "import" => TransferTask::Import {
            file: matches.get_one("file").cloned().expect(required),
            runs_reactions: matches.get_one::<String>("reactions").expect(required) == "run",
        },
        "archive" => TransferTask::Archive {
            month: matches.get_one("month").copied().expect(required),
            directory: matches.get_one("dir").cloned().expect(required),
            retention_months: matches.get_one("retention-months").copied().expect(required),
        },
        "attach" => {
            let what: &String = matches.get_one("what").expect(required);
            let month = what.parse().map(MonthOrFile::Month);
            TransferTask::Attach {
                what: month.unwrap_or_else(|_| MonthOrFile::File(PathBuf::from(what))),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(Request::Transfer(Transfer {
        task,
        database: DatabaseOptions::from_arg_matches(matches)?.without_empty(),
        style: Style::from_arg_matches(matches)?,
    })))
}

fn import() -> Command {
    let file = Arg::new("file").value_name("FILE").required(true);
    let reactions = Arg::new("reactions").long("reactions").value_name("skip|run");
    let command = Command::new("import")
        .about("Continue the chains of an exported file in this log")
        .arg(
            file.value_parser(clap::value_parser!(PathBuf))
                .help("What `finnest events export` wrote elsewhere"),
        )
        .arg(
            reactions
                .value_parser(["skip", "run"])
                .default_value("skip")
                .help("Whether reactions treat its events as news; projections always see them"),
        )
        .after_help(
            "Ids, numbers, times and links stay as they are; positions are new. Everything is \
             checked first and written in one transaction, beside a running platform or without \
             one. What is here already is skipped, so the same file may be imported again.\n\n\
             Example:\n  \
             finnest events import acme.jsonl --local",
        );
    in_the_database(command)
}

fn archive() -> Command {
    let month = Arg::new("month").long("month").value_name("YYYY-MM").required(true);
    let directory = Arg::new("dir").long("dir").value_name("DIRECTORY").required(true);
    let retention = Arg::new("retention-months").long("retention-months").value_name("N");
    let command = Command::new("archive")
        .about("Write a month of events to a compressed file and drop it from the database")
        .arg(month.value_parser(clap::value_parser!(Month)).help("The month, as in 2019-03"))
        .arg(
            directory
                .value_parser(clap::value_parser!(PathBuf))
                .env("FINNEST_ARCHIVE_DIR")
                .hide_env_values(true)
                .help("Where to write the file and its digest"),
        )
        .arg(
            retention
                .value_parser(clap::value_parser!(u32).range(0..=1200))
                .default_value(RETENTION_MONTHS.to_string())
                .help("How many months are kept at hand"),
        )
        .after_help(
            "The file is read back and compared with the seals before anything is dropped; the \
             seals stay. An interrupted command is simply run again. `finnest events attach` \
             brings the month back.\n\n\
             Example:\n  \
             finnest events archive --month 2019-03 --dir /srv/archives --local",
        );
    in_the_database(command)
}

fn attach() -> Command {
    let what = Arg::new("what").value_name("MONTH|FILE").required(true);
    let command = Command::new("attach")
        .about("Bring an archived month back into the database, for an audit or a rebuild")
        .arg(what.help("The month, as in 2019-03, or its file if that was moved"))
        .after_help(
            "Every event is compared with its seal. The month leaves again with `finnest events \
             archive`, which writes nothing anew if nothing was added.\n\n\
             Examples:\n  \
             finnest events attach 2019-03 --local\n  \
             finnest events attach /mnt/tape/events-2019-03.jsonl.gz --local",
        );
    in_the_database(command)
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
