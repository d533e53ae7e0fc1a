//! The command: clap's description of the program, folded from the catalog.

use std::io::Write;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Args, Command};
use clap_complete::Shell;
use platform::Catalog;

use crate::options::{CellOptions, DatabaseOptions, ServeOptions, Server, Style};
use crate::{audit, jobs, operations, sign_in, transfer};

const EXAMPLES: &str = "\
Examples:
  finnest serve --demo                            run the platform with demo data
  finnest sign-in                                 say who you are, once
  finnest tree --watch                            see every process live
  finnest recruit                                 see what the domain recruit can do
  finnest recruit list_job_orders                 ask it; `finnest call recruit …` is the same
  finnest kill root/domains/recruit/children/scoring_engine --reason drill
  finnest reload                                  apply an edited supervision.toml
  finnest jobs list state:discarded               see what has failed for good
  finnest events tail                             follow what happens
  finnest events export --local --out log.jsonl   write the log with its chain to a file
  finnest verify                                  check that nobody tampered with the log

Environment:
  FINNEST_URL     address of the platform, http://127.0.0.1:4000 unless set
  FINNEST_TOKEN   the token that says who you are; `serve --demo` prints some
  FINNEST_PROFILE which profile of ~/.config/finnest/config.toml has both; `sign-in` writes it
  FINNEST_LISTEN  where `finnest serve` listens, 127.0.0.1:4000 unless set
  DATABASE_URL    a PostgreSQL to use instead of the platform's own
  NO_COLOR        print no colours, if set

Exit codes:
  0  done; for `verify`, the chain holds
  1  the platform is down or failed; for `verify`, the chain is broken
  2  wrong usage, or an input that breaks a rule
  3  nobody is known by the token         4  the token may not do it
  5  there is no such thing               6  the state of things does not allow it
  7  it has changed since it was read     8  asked too often
  9  the part of the platform asked for is unavailable

A flag wins over its variable, and that over the config file.
Each command has its own help: finnest <COMMAND> --help";

/// The whole program, as clap describes it.
#[must_use]
pub fn command(catalog: &Catalog) -> Command {
    let program = Command::new("finnest")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([
            serve(),
            migrate(),
            sign_in::sign_in_command(),
            sign_in::sign_out_command(),
            sign_in::whoami_command(),
            tree(),
            inspect(),
            kill(),
            reload(),
            queues(),
            jobs::jobs(),
            consumers(),
        ])
        .subcommands([operations::call(catalog), events(), audit::verify(), completions(), cell()]);
    let program = operations::add_domains(program, catalog);
    // Last, because what comes from a type brings the type's own description along.
    Style::augment_args(Server::augment_args(program))
        .about("A platform of business domains, alive in one supervision tree")
        .long_about(None)
}

/// Prints the script that completes commands in `shell`.
pub fn write_completions(catalog: &Catalog, shell: Shell, out: &mut dyn Write) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(catalog), "finnest", &mut script);
    // Who closed the pipe has seen enough, and there is nobody else to tell.
    let _ = out.write_all(&script).and_then(|()| out.flush());
}

fn serve() -> Command {
    let serve = Command::new("serve").after_help(
        "Without DATABASE_URL the platform finds a PostgreSQL on this machine and runs it as its \
         own child; data survive restarts.\n\
         Ctrl-C stops it in good order, a second one at once.\n\n\
         Examples:\n  \
         finnest serve --demo\n  \
         finnest serve --listen 0.0.0.0:8080 --config /etc/finnest/supervision.toml\n  \
         DATABASE_URL=postgres://finnest@db/finnest finnest serve",
    );
    ServeOptions::augment_args(on_this_machine(serve))
        .about("Run the platform until Ctrl-C")
        .long_about(None)
}

/// Where to ask and how to print is of no concern to a command that asks nobody.
fn on_this_machine(command: Command) -> Command {
    Style::augment_args(Server::augment_args(command))
        .mut_args(|arg| arg.hide(true))
        .next_help_heading(None::<&str>)
}

fn migrate() -> Command {
    let about = "Bring the schemas of the database up to date, and stop; `serve` does it by itself";
    DatabaseOptions::augment_args(on_this_machine(Command::new("migrate")))
        .about(about)
        .long_about(None)
}

fn tree() -> Command {
    let watch = Arg::new("watch").long("watch").short('w').action(ArgAction::SetTrue);
    Command::new("tree")
        .about("Draw the supervision tree: every process, its state, restarts and last exit")
        .arg(watch.help("Stay and redraw on every change; q or Ctrl-C ends it"))
        .after_help(
            "Examples:\n  finnest tree\n  finnest tree --watch\n  finnest tree --output json",
        )
}

fn inspect() -> Command {
    let path = Arg::new("path").value_name("PATH").required(true);
    Command::new("inspect")
        .about("Look inside a process: its state, its mailbox, what it does with its messages")
        .arg(path.help("Place in the tree, as `finnest tree --output json` tells it"))
        .after_help(
            "What is counted and remembered of its messages has to be asked for first, with \
             `finnest call operator observe_process`.\n\n\
             Example:\n  \
             finnest inspect root/domains/onboard/children/budget_guard",
        )
}

fn kill() -> Command {
    let path = Arg::new("path").value_name("PATH").required(true);
    let reason = Arg::new("reason").long("reason").value_name("TEXT").required(true);
    Command::new("kill")
        .about("Kill a process, to see its supervisor replace it; recorded with your name")
        .arg(path.help("Place in the tree, as `finnest tree --output json` tells it"))
        .arg(reason.help("Why, for those who read the log later"))
        .after_help(
            "Example:\n  \
             finnest kill root/domains/recruit/children/scoring_engine --reason 'fire drill'",
        )
}

fn reload() -> Command {
    Command::new("reload")
        .about("Apply the edited supervision.toml to the running platform, restarting nobody")
        .after_help(
            "The platform reads the file it was started with (`finnest serve --config`). One \
             mistake in it, and nothing is changed.\n\n\
             Exit code 0 when the page is applied, 2 when it has mistakes.",
        )
}

fn queues() -> Command {
    Command::new("queues").about("List the job queues with their jobs by state")
}

fn consumers() -> Command {
    Command::new("consumers")
        .about("List what follows the event log, with its lag and what is in its way")
        .after_help(
            "Past an event that a consumer cannot digest:\n  \
             finnest call operator retry_consumer --consumer pulse.draft_roster_template\n  \
             finnest call operator skip_event --consumer pulse.draft_roster_template --position 17 \
             --reason 'merged by hand'",
        )
}

fn events() -> Command {
    let number = |id: &'static str, parser: ValueParser| {
        Arg::new(id).long(id).value_name("N").value_parser(parser)
    };
    let after = number("after", clap::value_parser!(i64).range(0..).into());
    let last = number("last", clap::value_parser!(u32).range(1..=500).into()).short('n');
    let tail = Command::new("tail")
        .about("Print events as they are sealed, one a line")
        .arg(after.help("Begin after this position").conflicts_with("last"))
        .arg(last.help("Begin with the last N events").default_value("10"))
        .arg(org().help("Only this organisation: its id, or the end of it"))
        .arg(
            Arg::new("domain")
                .long("domain")
                .value_name("NAME")
                .help("Only what this domain recorded"),
        )
        .arg(
            Arg::new("no-follow")
                .long("no-follow")
                .action(ArgAction::SetTrue)
                .help("Stop at the end of the log instead of waiting for more"),
        )
        .after_help(
            "In a pipe, or with --output json, each line is one event as JSON.\n\n\
             Examples:\n  \
             finnest events tail\n  \
             finnest events tail --domain recruit -n 50\n  \
             finnest events tail --after 0 --no-follow --output json > events.jsonl",
        );
    Command::new("events")
        .about("Look at the log of events, take it into files and out, or prove one")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(tail)
        .subcommands(transfer::commands())
        .subcommands(audit::commands())
}

pub(crate) fn org() -> Arg {
    Arg::new("org").long("org").value_name("ORG_ID")
}

fn completions() -> Command {
    on_this_machine(Command::new("completions"))
        .long_about(None)
        .about("Print the script that completes commands in your shell")
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(clap::value_parser!(Shell)),
        )
        .after_help(
            "Examples:\n  \
             finnest completions bash > /etc/bash_completion.d/finnest\n  \
             finnest completions zsh > \"${fpath[1]}/_finnest\"\n  \
             finnest completions fish > ~/.config/fish/completions/finnest.fish",
        )
}

/// What the platform runs for a domain with `placement = "process"`, and nobody else.
fn cell() -> Command {
    CellOptions::augment_args(on_this_machine(Command::new("cell")))
        .hide(true)
        .about("Run one domain for the platform that started this process")
        .long_about(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn help_of(path: &[&str]) -> String {
        let mut command = command(&example::catalog());
        command.build();
        let mut found = &mut command;
        for name in path {
            found = found.find_subcommand_mut(name).expect("a subcommand");
        }
        found.render_long_help().to_string()
    }

    #[test]
    fn the_description_is_free_of_contradictions() {
        command(&example::catalog()).debug_assert();
    }

    #[test]
    fn the_help_of_an_operation_is_its_doc_comments() {
        let help = help_of(&["call", "recruit", "open_job_order"]);

        insta::assert_snapshot!(help);
    }

    #[test]
    fn the_help_of_the_program_is_a_place_to_start() {
        let help = help_of(&[]);

        insta::assert_snapshot!(help);
    }

    #[test]
    fn the_help_of_serve_is_about_serving() {
        let help = help_of(&["serve"]);

        assert!(help.contains("--listen") && !help.contains("--token"), "{help}");
    }

    #[test]
    fn what_has_no_surface_is_not_offered() {
        let help = help_of(&["call", "recruit"]);

        assert!(help.contains("list_job_orders"), "{help}");
        assert!(!help.contains("rescore"), "{help}");
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_operations() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let mut script = Vec::new();
            write_completions(&example::catalog(), shell, &mut script);

            let script = String::from_utf8(script).expect("text");
            assert!(script.contains("open_job_order"), "{shell}");
        }
    }
}
