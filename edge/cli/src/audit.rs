//! Auditing: verifying the log where its database is, and checking proofs without any.
//!
//! What is parsed here is done by the server crate, as for `events export`.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value, json};

use crate::command::org;
use crate::options::{DatabaseOptions, Secret, Style};
use crate::request::Request;

/// What to verify on this machine, and how to tell it.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Only the chain of this organisation, a UUID.
    pub org_id: Option<String>,
    /// The first position.
    pub from: Option<i64>,
    /// The last position.
    pub to: Option<i64>,
    /// How many connections read at once.
    pub connections: u32,
    /// Where the walk notes how far it is, and goes on when it was interrupted.
    pub resume: Option<PathBuf>,
    /// Files of checkpoints, or directories of them, that the log must still fit.
    pub checkpoints: Vec<PathBuf>,
    /// The public key these are signed with, 64 hexadecimal digits.
    pub key: Option<String>,
    /// Where the log is.
    pub database: DatabaseOptions,
    /// How to print the verdict.
    pub style: Style,
}

/// Which proof to check.
#[derive(Debug, Clone)]
pub struct ProofOptions {
    /// The file of the proof.
    pub file: PathBuf,
    /// The public key its checkpoint must be signed with, 64 hexadecimal digits.
    pub key: String,
    /// How to print the verdict.
    pub style: Style,
}

/// How `finnest serve` makes checkpoints.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Checkpoints")]
pub struct CheckpointOptions {
    /// The key that signs checkpoints; `checkpoint.key` beside the embedded database unless told
    #[arg(long, value_name = "FILE", env = "FINNEST_CHECKPOINT_KEY", hide_env_values = true)]
    pub checkpoint_key: Option<PathBuf>,
    /// How often the chains are signed, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        env = "FINNEST_CHECKPOINT_INTERVAL",
        hide_env_values = true,
        default_value_t = 600
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub checkpoint_interval: u64,
    /// A directory that keeps every checkpoint; best on another machine
    #[arg(long, value_name = "DIR", env = "FINNEST_CHECKPOINT_DIR", hide_env_values = true)]
    pub checkpoint_dir: Option<PathBuf>,
    /// A bucket with object lock that keeps every checkpoint, as `http://store:9000/bucket/folder`
    #[arg(long, value_name = "URL", env = "FINNEST_CHECKPOINT_S3", hide_env_values = true)]
    pub checkpoint_s3: Option<String>,
    /// How long the bucket must keep a checkpoint, in days
    #[arg(
        long,
        value_name = "DAYS",
        env = "FINNEST_CHECKPOINT_RETENTION_DAYS",
        hide_env_values = true,
        default_value_t = 2557
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub checkpoint_retention_days: u32,
    /// Region of the bucket
    #[arg(long, value_name = "NAME", env = "AWS_REGION", default_value = "us-east-1")]
    #[arg(hide_env_values = true)]
    pub s3_region: String,
    /// Who signs requests to the bucket
    #[arg(long, value_name = "ID", env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    pub s3_access_key_id: Option<String>,
    /// The secret of that key; better given in the environment
    #[arg(long, value_name = "SECRET", env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub s3_secret_access_key: Option<Secret>,
}

/// The arguments of `finnest verify`.
pub(crate) fn verify() -> Command {
    let position = |id: &'static str| {
        let parser: ValueParser = clap::value_parser!(i64).range(1..).into();
        Arg::new(id).long(id).value_name("POSITION").value_parser(parser)
    };
    let local = Arg::new("local").long("local").action(ArgAction::SetTrue);
    let path = || clap::value_parser!(PathBuf);
    let connections = Arg::new("connections")
        .long("connections")
        .value_name("N")
        .value_parser(clap::value_parser!(u32).range(1..=16))
        .default_value("2");
    let resume = Arg::new("resume").long("resume").value_name("FILE").value_parser(path());
    let checkpoint = Arg::new("checkpoint").long("checkpoint").value_name("PATH");
    let key = Arg::new("key").long("key").value_name("PUBLIC_KEY");
    let verify = Command::new("verify")
        .arg(org().help("Only the chain of this organisation, by its id"))
        .arg(position("from").help("Only from this position on"))
        .arg(position("to").help("Only up to this position"))
        .arg(local.help("Read the database directly, instead of asking a running platform"))
        .arg(connections.help("How many connections read at once, with --local"))
        .arg(
            resume
                .requires("local")
                .help("Note in FILE how far it is, and go on from there if it was interrupted"),
        )
        .arg(
            checkpoint
                .value_parser(path())
                .action(ArgAction::Append)
                .requires("local")
                .requires("key")
                .help("A signed checkpoint, or a directory of them, that the log must still fit"),
        )
        .arg(key.requires("checkpoint").help("The key checkpoints are signed with, in hexadecimal"))
        .after_help(
            "An event that was changed, removed, inserted or swapped breaks the chain at \
             its place. A chain that was rewritten to its end is found with a checkpoint that \
             was exported before.\n\
             Exit code 0 when the chain holds, 1 when it is broken.\n\n\
             Examples:\n  finnest verify\n  finnest verify --local --resume verify.state\n  \
             finnest verify --local --checkpoint /mnt/checkpoints --key 3f5c…",
        );
    DatabaseOptions::augment_args(verify)
        .about("Walk the hash chain of the log and report every broken link")
        .long_about(None)
        .mut_args(|arg| match arg.get_id().as_str() {
            // Not `requires`: DATABASE_URL in the environment must not ask for --local.
            "database_url" | "data_dir" => arg.help_heading("Database, with --local"),
            _ => arg,
        })
}

/// What `finnest verify --local` asks for.
pub(crate) fn verify_options(matches: &ArgMatches) -> Result<VerifyOptions, clap::Error> {
    Ok(VerifyOptions {
        org_id: matches.get_one("org").cloned(),
        from: matches.get_one("from").copied(),
        to: matches.get_one("to").copied(),
        connections: matches.get_one("connections").copied().expect("clap has a default"),
        resume: matches.get_one("resume").cloned(),
        checkpoints: matches.get_many("checkpoint").into_iter().flatten().cloned().collect(),
        key: matches.get_one("key").cloned(),
        database: DatabaseOptions::from_arg_matches(matches)?.without_empty(),
        style: Style::from_arg_matches(matches)?,
    })
}

/// The input of `start_verification`.
pub(crate) fn verify_input(matches: &ArgMatches) -> Value {
    let mut input = Map::new();
    if let Some(org_id) = matches.get_one::<String>("org") {
        input.insert("org_id".to_owned(), json!(org_id));
    }
    for name in ["from", "to"] {
        if let Some(position) = matches.get_one::<i64>(name) {
            input.insert(name.to_owned(), json!(position));
        }
    }
    Value::Object(input)
}

/// The commands below `events` that are about proofs.
pub(crate) fn commands() -> [Command; 3] {
    let event = Arg::new("event_id").value_name("EVENT_ID").required(true);
    let prove = Command::new("prove")
        .about("Prove that one event is in the log, to somebody who sees no other")
        .arg(event.help("Which event, by its id"))
        .after_help(
            "The proof stands on the first signed checkpoint after the event. \
             docs/event-format.md says how others check it.\n\n\
             Example:\n  \
             finnest events prove 01a1fe65-8b8a-739b-b059-386f680fec99 --output json > proof.json",
        );
    let file = Arg::new("file").value_name("FILE").required(true);
    let key = Arg::new("key").long("key").value_name("PUBLIC_KEY").required(true);
    let check = Command::new("check-proof")
        .about("Check such a proof, without any platform or database")
        .arg(file.value_parser(clap::value_parser!(PathBuf)).help("The file of the proof"))
        .arg(key.help("The key checkpoints are signed with, in hexadecimal"))
        .after_help(
            "Take the key from whoever you trust with it, not from the proof.\n\
             Exit code 0 when it is proven, 1 when it is not.\n\n\
             Example:\n  finnest events check-proof proof.json --key 3f5c…",
        );
    let checkpoints = Command::new("checkpoints")
        .about("List the newest signed checkpoints, and where they were exported to");
    [prove, check, checkpoints]
}

/// The request of the command below `events` that asks no platform; `None` for any other.
pub(crate) fn request(name: &str, matches: &ArgMatches) -> Result<Option<Request>, clap::Error> {
    if name != "check-proof" {
        return Ok(None);
    }
    Ok(Some(Request::CheckProof(ProofOptions {
        file: matches.get_one("file").cloned().expect("clap requires a file"),
        key: matches.get_one("key").cloned().expect("clap requires a key"),
        style: Style::from_arg_matches(matches)?,
    })))
}

/// The operation and the input of the commands below `events` that ask a platform.
pub(crate) fn asked(name: &str, matches: &ArgMatches) -> Option<(&'static str, Value)> {
    match name {
        "prove" => {
            let event_id = matches.get_one::<String>("event_id").expect("clap requires an id");
            Some(("prove_event", json!({ "event_id": event_id })))
        }
        "checkpoints" => Some(("list_checkpoints", json!({ "limit": 20 }))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;
    use crate::example;
    use crate::request::parse_with;

    fn parse(args: &str) -> Result<Request, clap::Error> {
        let args = std::iter::once("finnest").chain(args.split_whitespace());
        parse_with(&example::catalog(), args, &crate::stub::OUTSIDE)
    }

    #[test]
    fn a_local_verification_may_be_narrowed_continued_and_compared() {
        let parsed = parse(
            "verify --local --from 5 --to 9 --resume /x --connections 4 --checkpoint a \
             --checkpoint b --key 00",
        );

        let Ok(Request::Verify(options)) = parsed else { panic!("{parsed:?}") };
        assert_eq!((options.from, options.to, options.connections), (Some(5), Some(9), 4));
        assert_eq!(options.resume, Some("/x".into()));
        assert_eq!(options.checkpoints, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(options.key.as_deref(), Some("00"));
    }

    #[test]
    fn what_needs_the_database_or_a_key_says_so() {
        for args in
            ["verify --resume /x", "verify --local --checkpoint a", "events check-proof proof.json"]
        {
            let refused = parse(args).expect_err(args);

            assert_eq!(refused.kind(), ErrorKind::MissingRequiredArgument, "{args}: {refused}");
        }
    }

    #[test]
    fn a_proof_is_asked_for_and_checked_without_asking() {
        let checked = parse("events check-proof proof.json --key 00");
        let asked = parse("events prove 7");

        let Ok(Request::CheckProof(options)) = checked else { panic!("{checked:?}") };
        assert_eq!((options.file, options.key.as_str()), ("proof.json".into(), "00"));
        assert!(matches!(asked, Ok(Request::Remote(_))), "{asked:?}");
        assert!(matches!(parse("events checkpoints"), Ok(Request::Remote(_))));
    }
}
