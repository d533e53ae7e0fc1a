//! `finnest sign-in`, `sign-out` and `whoami`: who a profile of the config file is.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use serde_json::{Map, Value, json};

use crate::client::{Client, PATIENCE, Trouble};
use crate::config::change::{Held, Whereabouts};
use crate::exit::Exit;
use crate::options::Style;
use crate::prompt::Person;
use crate::route::{Call, Route};
use crate::run::tell;
use crate::screen::Screen;
use crate::session::Answer;
use crate::words::harmless;

/// How often a code may be mistyped before signing in begins anew.
const CODES_MAX: u32 = 3;
/// What says that a code was wrong; another may be tried.
const CODE_REFUSED: &str = "code_refused";
/// What says that the session that asks is over, or that no session asks.
const NOBODY: [&str; 2] = ["token_unknown", "no_session"];

/// Somebody who is about to sign in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SignIn {
    pub(crate) route: Route,
    pub(crate) second_factor: Route,
    pub(crate) file: PathBuf,
    pub(crate) profile: String,
    pub(crate) becomes_default: bool,
    pub(crate) organisation: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) reads_stdin: bool,
    /// Whether the environment names a token, which goes before that of any profile.
    pub(crate) is_outdone: bool,
}

/// Somebody who is about to sign out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SignOut {
    pub(crate) call: Call,
    pub(crate) file: PathBuf,
    pub(crate) profile: String,
}

pub(crate) fn sign_in_command() -> Command {
    let text = |id: &'static str, name: &'static str| Arg::new(id).long(id).value_name(name);
    let organisation = text("organisation", "NAME").help("Short name of your organisation");
    let email = text("email", "ADDRESS").help("The address you sign in with");
    let stdin = Arg::new("password-stdin")
        .long("password-stdin")
        .action(ArgAction::SetTrue)
        .help("Read the password from the first line of standard input, and a code from the next");
    let command = Command::new("sign-in").args([organisation, email, stdin]).after_help(
        "Asks for what is not said, the password without showing it, and for a code if you have \
         a second factor. The session is kept in the profile of ~/.config/finnest/config.toml \
         that --use names, and renewed by itself; it ends after 14 days without use, or with \
         `finnest sign-out`.\n\n\
         Examples:\n  \
         finnest sign-in\n  \
         finnest sign-in --url http://127.0.0.1:4001 --use demo --organisation acme \
         --email rosa@acme.example\n  \
         pass show acme | finnest sign-in --organisation acme --email rosa@acme.example \
         --password-stdin",
    );
    without_token(command).about("Sign in and keep the session in a profile of the config file")
}

pub(crate) fn sign_out_command() -> Command {
    without_token(Command::new("sign-out"))
        .about("End the session of a profile, on the platform and in the config file")
}

pub(crate) fn whoami_command() -> Command {
    Command::new("whoami").about("Tell who you are to the platform, and which platform that is")
}

/// A token given is of no use to a command that is about the session of a profile.
fn without_token(command: Command) -> Command {
    let command = crate::options::Server::augment_args(command);
    command.mut_arg("token", |arg| arg.hide(true)).long_about(None)
}

/// What the arguments say about who signs in, with what the profile remembers of the last time.
pub(crate) fn said(matches: &ArgMatches, name: &str, remembered: Option<String>) -> Option<String> {
    matches.get_one::<String>(name).cloned().or(remembered).filter(|text| !text.is_empty())
}

impl SignIn {
    pub(crate) async fn perform(
        &self,
        client: &Client,
        style: &Style,
        screen: &mut Screen,
    ) -> Result<Exit, Trouble> {
        let person = &mut *screen.person;
        let organisation =
            wanted(person, self.organisation.as_ref(), "Organisation", "organisation")?;
        let email = wanted(person, self.email.as_ref(), "E-mail", "email")?;
        let password = self.password(person)?;
        let client_name = format!("finnest on {}", machine());
        let input = json!({"organisation": organisation, "email": email, "password": password,
            "kind": "app", "client": client_name});
        let answer = client.send_as_nobody(&call(&self.route, input)?).await?;
        let answer = self.proved(client, person, Answer::read(answer, client.url())?).await?;
        let tokens = answer.tokens(client.url())?;
        let url = client.url().to_owned();
        let becomes_default = self.becomes_default;
        let whereabouts = Whereabouts { url, organisation, email, becomes_default };
        Held::take(&self.file).await?.keep(&self.profile, &tokens, Some(&whereabouts))?;
        if self.is_outdone {
            screen.complain(
                "FINNEST_TOKEN is set and goes before the profile; unset it to be who you signed \
                 in as",
            );
        }
        let told = json!({"profile": self.profile, "url": client.url(),
            "organisation": whereabouts.organisation, "email": whereabouts.email,
            "config_file": self.file.display().to_string()});
        tell(&told, style, screen, |_, _| self.welcome(&whereabouts))
    }

    fn welcome(&self, whereabouts: &Whereabouts) -> Vec<String> {
        let Whereabouts { url, organisation, email, .. } = whereabouts;
        let file = self.file.display().to_string();
        let who = format!("signed in to {organisation} at {url} as {email}");
        let kept = format!("kept in the profile `{}` of {file}", self.profile);
        vec![harmless(&who), harmless(&kept)]
    }

    fn password(&self, person: &mut dyn Person) -> Result<String, Trouble> {
        if self.reads_stdin {
            let line = person.line().map_err(gave_up)?;
            return line.ok_or_else(|| missing("there is no password on standard input"));
        }
        asked(person, "Password: ", true)?.ok_or_else(|| {
            missing("there is no terminal to ask at; give the password with --password-stdin")
        })
    }

    /// The answer with a session, after whatever else the platform wants to see.
    async fn proved(
        &self,
        client: &Client,
        person: &mut dyn Person,
        answer: Answer,
    ) -> Result<Answer, Trouble> {
        match (answer.state.as_str(), &answer.challenge) {
            ("signed_in", _) => Ok(answer),
            ("second_factor_required", Some(challenge)) => {
                self.second_factor(client, person, challenge).await
            }
            ("enrolment_required", _) => Err(Trouble::Person {
                words: format!(
                    "nobody may act here without a second factor, and you have none yet; set one \
                     up in a browser, at {}/sign-in, and then sign in here again",
                    client.url()
                ),
                exit: Exit::Forbidden,
            }),
            _ => Err(Trouble::Unexpected { url: client.url().to_owned() }),
        }
    }

    async fn second_factor(
        &self,
        client: &Client,
        person: &mut dyn Person,
        challenge: &str,
    ) -> Result<Answer, Trouble> {
        let mut tries = 1;
        let mut question = "Code of your second factor, or a recovery code: ";
        loop {
            let (code, can_ask_again) = self.code(person, question)?;
            let input = json!({"challenge": challenge, "code": code});
            match client.send_as_nobody(&call(&self.second_factor, input)?).await {
                Err(trouble) if trouble.is(CODE_REFUSED) && can_ask_again && tries < CODES_MAX => {
                    tries += 1;
                    question = "That code is wrong, or was used before. Another: ";
                }
                answer => return Answer::read(answer?, client.url()),
            }
        }
    }

    /// A code, and whether somebody is there who can be asked for another.
    fn code(&self, person: &mut dyn Person, question: &str) -> Result<(String, bool), Trouble> {
        let line = if self.reads_stdin { person.line().map_err(gave_up)? } else { None };
        if let Some(code) = line {
            return Ok((code, false));
        }
        let asked = asked(person, question, false)?;
        asked.map(|code| (code, true)).ok_or_else(|| {
            missing(
                "a code of your second factor is wanted and there is no terminal to ask at; give \
                 it as the second line with --password-stdin",
            )
        })
    }
}

impl SignOut {
    pub(crate) async fn perform(
        &self,
        client: &Client,
        style: &Style,
        screen: &mut Screen,
    ) -> Result<Exit, Trouble> {
        match client.send(&self.call, PATIENCE).await {
            Ok(_) | Err(Trouble::Ended { .. }) => {}
            Err(trouble) if NOBODY.iter().any(|code| trouble.is(code)) => {}
            Err(trouble) => return Err(trouble),
        }
        Held::take(&self.file).await?.forget(&self.profile)?;
        let told = json!({"profile": self.profile, "url": client.url()});
        let words = format!("signed out; the profile `{}` has no session any more", self.profile);
        tell(&told, style, screen, |_, _| vec![harmless(&words)])
    }
}

/// Who somebody is, with where that holds.
pub(crate) async fn whoami(
    client: &Client,
    call: &Call,
    profile: Option<&String>,
) -> Result<Value, Trouble> {
    let mut told = client.send(call, PATIENCE).await?;
    if let Value::Object(fields) = &mut told {
        fields.insert("url".into(), client.url().into());
        fields.insert("profile".into(), profile.cloned().into());
    }
    Ok(told)
}

fn call(route: &Route, input: Value) -> Result<Call, Trouble> {
    let Value::Object(input) = input else { return Err(missing("no input")) };
    let input: Map<String, Value> = input;
    route.call(input).map_err(|error| Trouble::Address(error.to_string()))
}

/// What was said, or is asked for.
fn wanted(
    person: &mut dyn Person,
    said: Option<&String>,
    question: &str,
    flag: &str,
) -> Result<String, Trouble> {
    if let Some(said) = said {
        return Ok(said.clone());
    }
    asked(person, &format!("{question}: "), false)?
        .ok_or_else(|| missing(&format!("there is no terminal to ask at; say --{flag}")))
}

fn asked(
    person: &mut dyn Person,
    question: &str,
    is_secret: bool,
) -> Result<Option<String>, Trouble> {
    person.asked(question, is_secret).map_err(gave_up)
}

fn missing(words: &str) -> Trouble {
    Trouble::Person { words: words.to_owned(), exit: Exit::Refused }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed as a function")]
fn gave_up(error: std::io::Error) -> Trouble {
    let words = match error.kind() {
        std::io::ErrorKind::Interrupted | std::io::ErrorKind::UnexpectedEof => {
            "nobody is signed in: no answer was given".to_owned()
        }
        _ => format!("the answer cannot be read: {error}"),
    };
    Trouble::Person { words, exit: Exit::Refused }
}

/// What this machine calls itself, for the list of sessions.
fn machine() -> String {
    harmless(&rustix::system::uname().nodename().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;

    use super::*;
    use crate::config::tests::Place;
    use crate::prompt::Nobody;
    use crate::stub::{Outcome, Says, at_terminal};

    /// Somebody who answers what they were told to, and hears each question once.
    struct Somebody {
        answers: VecDeque<(&'static str, &'static str, bool)>,
        lines: VecDeque<&'static str>,
    }

    impl Person for Somebody {
        fn asked(&mut self, question: &str, is_secret: bool) -> io::Result<Option<String>> {
            let (expected, answer, hides) = self.answers.pop_front().expect("no more questions");
            assert_eq!((question, is_secret), (expected, hides));
            Ok(Some(answer.to_owned()))
        }

        fn line(&mut self) -> io::Result<Option<String>> {
            Ok(self.lines.pop_front().map(str::to_owned))
        }
    }

    fn somebody(answers: &[(&'static str, &'static str, bool)]) -> Somebody {
        Somebody { answers: answers.iter().copied().collect(), lines: VecDeque::new() }
    }

    const CODE: &str = "Code of your second factor, or a recovery code: ";
    const ANOTHER: &str = "That code is wrong, or was used before. Another: ";

    fn signed_in() -> Says {
        let tokens = json!({"state": "signed_in", "token": "acc1", "refresh_token": "ref1",
            "session_id": "s", "expires_at": "2026-11-21T09:10:00Z"});
        (200, tokens)
    }

    fn challenged(state: &str) -> Says {
        let answer = json!({"state": state, "challenge": "cha1",
            "expires_at": "2026-11-21T09:05:00Z"});
        (200, answer)
    }

    fn refused(code: &str) -> Says {
        (401, json!({"detail": format!("{code} it is"), "code": code}))
    }

    fn page(place: &Place) -> String {
        std::fs::read_to_string(place.file()).unwrap_or_default()
    }

    const FLAGS: &str =
        "sign-in --url URL --organisation acme --email rosa@acme.example --output table";

    #[tokio::test]
    async fn what_is_not_said_is_asked_for_and_the_session_is_kept() {
        let place = Place::new("asked");
        let rosa = somebody(&[
            ("Organisation: ", "acme", false),
            ("E-mail: ", "rosa@acme.example", false),
            ("Password: ", "s3cret", true),
        ]);

        let args = "sign-in --url URL --output table";
        let outcome = at_terminal(args, &place.file(), rosa, vec![signed_in()]).await;

        assert_eq!((outcome.exit, outcome.err.as_str()), (Exit::Done, ""));
        let welcome = "signed in to acme at URL as rosa@acme.example\n\
                       kept in the profile `default` of ";
        assert!(outcome.out.starts_with(welcome), "{}", outcome.out);
        let asked = outcome.asked.concat();
        assert!(asked.starts_with("POST /api/v1/accounts/sign_in nobody {"), "{asked}");
        assert!(asked.contains(r#""kind":"app""#) && asked.contains("s3cret"), "{asked}");
        let page = page(&place);
        assert!(page.starts_with("default = \"default\"\n"), "{page}");
        assert!(page.contains("refresh_token = \"ref1\"") && !page.contains("s3cret"), "{page}");
    }

    #[tokio::test]
    async fn a_profile_remembers_who_signed_in_and_where() {
        let place = Place::new("remembers");
        at_terminal(
            FLAGS,
            &place.file(),
            somebody(&[("Password: ", "x", true)]),
            vec![signed_in()],
        )
        .await;
        let again = somebody(&[("Password: ", "s3cret", true)]);
        let outcome = crate::stub::typed("sign-in", &place.file(), again).await;

        // Nobody listens there any more, which is how far it came.
        assert_eq!(outcome.exit, Exit::Failed);
        assert!(
            outcome.err.contains("no platform answers at http://127.0.0.1:"),
            "{}",
            outcome.err
        );
    }

    #[tokio::test]
    async fn a_mistyped_code_is_asked_for_again_and_not_for_ever() {
        let place = Place::new("code");
        let questions =
            [("Password: ", "x", true), (CODE, "000000", false), (ANOTHER, "123456", false)];
        let right =
            vec![challenged("second_factor_required"), refused("code_refused"), signed_in()];
        let wrong = vec![challenged("second_factor_required"), refused("code_refused")];

        let stubborn = [&questions[..], &[(ANOTHER, "1", false)]].concat();
        let failed = at_terminal(FLAGS, &place.file(), somebody(&stubborn), wrong).await;
        let kept = page(&place);
        let done = at_terminal(FLAGS, &place.file(), somebody(&questions), right).await;

        assert_eq!((failed.exit, kept.as_str()), (Exit::Unauthenticated, ""));
        assert_eq!(failed.err, "code_refused it is\n  (code code_refused)\n");
        assert_eq!((done.exit, done.err.as_str()), (Exit::Done, ""));
        let expected = "POST /api/v1/accounts/sign_in/second_factor nobody \
                        {\"challenge\":\"cha1\",\"code\":\"123456\"}";
        assert_eq!(done.asked[2], expected);
    }

    #[tokio::test]
    async fn whoever_needs_a_second_factor_first_is_told_where_to_set_one_up() {
        let place = Place::new("enrolment");
        let rosa = somebody(&[("Password: ", "x", true)]);

        let answers = vec![challenged("enrolment_required")];
        let outcome = at_terminal(FLAGS, &place.file(), rosa, answers).await;

        assert_eq!((outcome.exit, page(&place).as_str()), (Exit::Forbidden, ""));
        assert!(outcome.err.contains("in a browser, at URL/sign-in"), "{}", outcome.err);
    }

    #[tokio::test]
    async fn a_script_gives_password_and_code_on_standard_input() {
        let place = Place::new("stdin");
        let script = Somebody { answers: VecDeque::new(), lines: ["s3cret", "123456"].into() };
        let none = Somebody { answers: VecDeque::new(), lines: VecDeque::new() };
        let answers = || vec![challenged("second_factor_required"), signed_in()];
        let args = format!("{FLAGS} --password-stdin");

        let done = at_terminal(&args, &place.file(), script, answers()).await;
        let empty = at_terminal(&args, &place.file(), none, answers()).await;
        let nobody = at_terminal(FLAGS, &place.file(), Nobody, answers()).await;

        assert_eq!(done.exit, Exit::Done, "{}", done.err);
        assert!(done.asked[0].contains("s3cret") && done.asked[1].contains("123456"));
        assert_eq!((empty.exit, nobody.exit), (Exit::Refused, Exit::Refused));
        assert_eq!(empty.err, "there is no password on standard input\n");
        assert!(nobody.err.contains("--password-stdin"), "{}", nobody.err);
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_without_advice_and_changes_nothing() {
        let place = Place::new("wrong");
        let rosa = somebody(&[("Password: ", "x", true)]);

        let answers = vec![refused("sign_in_refused")];
        let outcome = at_terminal(FLAGS, &place.file(), rosa, answers).await;

        assert_eq!((outcome.exit, page(&place).as_str()), (Exit::Unauthenticated, ""));
        assert_eq!(outcome.err, "sign_in_refused it is\n  (code sign_in_refused)\n");
    }

    #[tokio::test]
    async fn a_token_that_was_put_there_by_hand_is_not_written_over() {
        let place = begun("pasted", "[profile.default]\ntoken = 'fin_api_x'\n");
        let rosa = somebody(&[]);

        let outcome = at_terminal(FLAGS, &place.file(), rosa, vec![signed_in()]).await;

        assert_eq!((outcome.exit, outcome.asked.len()), (Exit::Refused, 0));
        assert!(outcome.err.contains("put there by hand"), "{}", outcome.err);
    }

    const SESSION: &str = "default = 'work'\n[profile.work]\nurl = 'URL'\ntoken = 'acc0'\n\
                           refresh_token = 'ref0'\n";

    fn begun(test: &str, page: &str) -> Place {
        let place = Place::new(test);
        std::fs::create_dir_all(place.file().parent().expect("a directory")).expect("it is made");
        std::fs::write(place.file(), page).expect("it is written");
        let only_mine = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(place.file(), only_mine).expect("it is ours");
        place
    }

    async fn whoami(place: &Place, answers: Vec<Says>) -> Outcome {
        at_terminal("whoami --output json", &place.file(), Nobody, answers).await
    }

    fn me() -> Says {
        (200, json!({"name": "Rosa"}))
    }

    #[tokio::test]
    async fn a_session_near_its_end_is_renewed_and_kept_before_it_is_used() {
        let soon = format!("{SESSION}token_ends = '2020-01-01T00:00:00Z'\n");
        let place = begun("near", &soon);

        let outcome = whoami(&place, vec![signed_in(), me()]).await;

        assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
        let told: Value = serde_json::from_str(&outcome.out).expect("JSON");
        assert_eq!(told, json!({"name": "Rosa", "url": "URL", "profile": "work"}));
        let renewed = r#"POST /api/v1/accounts/refresh nobody {"refresh_token":"ref0"}"#;
        assert_eq!(outcome.asked, [renewed, "GET /api/v1/accounts/me Bearer acc1"]);
        let page = page(&place);
        assert!(page.contains("\"acc1\"") && page.contains("\"ref1\""), "{page}");
        assert!(!page.contains("ref0"), "{page}");
    }

    #[tokio::test]
    async fn a_token_that_is_not_known_any_more_is_renewed_once_and_the_call_repeated() {
        let place = begun("unknown", SESSION);
        let unknown = || refused("token_unknown");

        let outcome = whoami(&place, vec![unknown(), signed_in(), me()]).await;
        let again = begun("unknown-again", SESSION);
        let twice = whoami(&again, vec![unknown(), signed_in(), unknown()]).await;

        assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
        assert_eq!(outcome.asked[0], "GET /api/v1/accounts/me Bearer acc0");
        assert_eq!(outcome.asked[2], "GET /api/v1/accounts/me Bearer acc1");
        assert_eq!((twice.exit, twice.asked.len()), (Exit::Unauthenticated, 3));
    }

    #[tokio::test]
    async fn two_commands_at_once_show_a_refresh_token_once() {
        let soon = format!("{SESSION}token_ends = '2020-01-01T00:00:00Z'\n");
        let place = begun("both", &soon);
        let file = place.file();
        let tokens = json!({"state": "signed_in", "token": "acc1", "refresh_token": "ref1",
            "expires_at": "2099-01-01T00:00:00Z"});

        let other = async {
            // The first has made the profile's address by then.
            while std::fs::read_to_string(&file).is_ok_and(|page| page.contains("URL")) {
                tokio::task::yield_now().await;
            }
            crate::stub::typed("whoami", &file, Nobody).await
        };
        let answers = vec![(200, tokens), me()];
        let (first, second) = tokio::join!(at_terminal("whoami", &file, Nobody, answers), other);

        assert_eq!(first.exit, Exit::Done, "{}", first.err);
        let refreshes = first.asked.iter().filter(|asked| asked.contains("/refresh")).count();
        assert_eq!(refreshes, 1, "{:?} {}", first.asked, second.err);
        assert!(page(&place).contains("ref1"));
    }

    #[tokio::test]
    async fn a_session_that_is_over_says_how_to_begin_another() {
        let soon = format!("{SESSION}token_ends = '2020-01-01T00:00:00Z'\n");
        let place = begun("over", &soon);

        let outcome = whoami(&place, vec![refused("refresh_token_refused")]).await;

        assert_eq!(outcome.exit, Exit::Unauthenticated);
        let told = "the session of the profile `work` has ended; sign in again: \
                    finnest sign-in --use work\n";
        assert_eq!(outcome.err, told);
    }

    #[tokio::test]
    async fn signing_out_ends_the_session_there_and_here() {
        let place = begun("out", SESSION);

        let done = at_terminal("sign-out", &place.file(), Nobody, vec![(204, Value::Null)]).await;
        let left = page(&place);
        let again = at_terminal("sign-out", &place.file(), Nobody, vec![me()]).await;

        assert_eq!(done.exit, Exit::Done, "{}", done.err);
        assert_eq!(done.asked, ["POST /api/v1/accounts/sign_out Bearer acc0 {}"]);
        assert!(left.contains("url = ") && !left.contains("token"), "{left}");
        assert_eq!((again.exit, again.asked.len()), (Exit::Refused, 0));
        assert!(again.err.contains("nobody is signed in"), "{}", again.err);
    }

    #[tokio::test]
    async fn a_platform_that_is_down_keeps_its_session_for_another_try() {
        let place = begun("down", SESSION);
        let problem = (503, json!({"detail": "not now", "code": "unavailable"}));

        let outcome = at_terminal("sign-out", &place.file(), Nobody, vec![problem]).await;

        assert_eq!(outcome.exit, Exit::Unavailable);
        assert!(page(&place).contains("ref0"));
    }

    #[tokio::test]
    async fn a_session_is_shown_to_no_other_platform() {
        let place = begun("other", &SESSION.replace("URL", "http://127.0.0.1:1"));

        let outcome =
            at_terminal("whoami --url URL", &place.file(), Nobody, vec![refused("token_missing")])
                .await;

        assert_eq!(outcome.asked, ["GET /api/v1/accounts/me nobody"]);
        assert!(outcome.err.contains("finnest sign-in"), "{}", outcome.err);
    }
}
