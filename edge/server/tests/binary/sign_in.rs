//! `finnest sign-in` and what lives on it, against a running platform.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::{Data, Served, finnest, outcome};

/// A command of somebody whose config file is below `home`.
fn at(home: &Path, arguments: &[&str]) -> Command {
    let mut command = finnest(arguments);
    command.env("XDG_CONFIG_HOME", home).env_remove("FINNEST_URL").env_remove("FINNEST_PROFILE");
    command
}

/// Signs Rosa in, with the password on standard input.
fn sign_in(home: &Path, url: &str, password: &str) -> (ExitStatus, String) {
    let arguments = ["sign-in", "--url", url, "--organisation", "acme", "--password-stdin"];
    let mut process = at(home, &[&arguments[..], &["--email", "rosa@acme.example"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be run");
    let mut stdin = process.stdin.take().expect("it is piped");
    writeln!(stdin, "{password}").expect("it reads");
    drop(stdin);
    let output = process.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8(said).expect("it speaks UTF-8"))
}

/// What the profile says at `key`.
fn kept(home: &Path, key: &str) -> Option<String> {
    let page = std::fs::read_to_string(home.join("finnest/config.toml")).expect("it is there");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")))?;
    line.strip_suffix('"').map(str::to_owned)
}

/// Makes the profile say something else.
fn change(home: &Path, from: &str, to: &str) {
    let file = home.join("finnest/config.toml");
    let page = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, page.replace(from, to)).expect("it is ours");
}

async fn is_known(served: &Served, token: &str) -> bool {
    let path = "/api/v1/accounts/me";
    served.send_as(token, Method::GET, path, &Value::Null).await.0 == Some(StatusCode::OK)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_in_stays_so_through_renewals_until_they_sign_out() {
    let data = Data::new();
    let home = data.0.join("home");
    let served = Served::start(&data.0.join("data"));
    let url = format!("http://{}", served.address);
    let whoami = || outcome(&mut at(&home, &["whoami", "--output", "table"]));

    let (wrong, told) = sign_in(&home, &url, "demo-operator");
    let (signed_in, said) = sign_in(&home, &url, "demo-recruiter");
    let (known, who) = whoami();
    let first = kept(&home, "token").expect("there is a token");
    let ends = kept(&home, "token_ends").expect("it ends");
    change(&home, &ends, "2020-01-01T00:00:00Z");
    let many: Vec<_> = (0..6).map(|_| at(&home, &["whoami"])).collect();
    let many: Vec<_> = many
        .into_iter()
        .map(|mut command| command.stdout(Stdio::null()).spawn().expect("it can be run"))
        .collect();
    let many: Vec<_> =
        many.into_iter().map(|mut process| process.wait().expect("it ends").code()).collect();
    let second = kept(&home, "token").expect("there is a token");
    change(&home, &second, "fin_acc_nobodys");
    let (renewed, after) = whoami();
    let third = kept(&home, "token").expect("there is a token");
    let was_known = is_known(&served, &third).await;
    let (signed_out, bye) = outcome(&mut at(&home, &["sign-out"]));
    let (nobody, advice) = whoami();

    assert_eq!(wrong.code(), Some(3), "{told}");
    assert!(told.contains("organisation, address or password is wrong"), "{told}");
    assert_eq!((signed_in.code(), known.code()), (Some(0), Some(0)), "{said} {who}");
    assert!(who.contains("Rosa Recruiter") && who.contains(&url), "{who}");
    assert!(who.contains("profile:") && who.contains("default"), "{who}");
    assert_eq!(many, [Some(0); 6], "each had a token, and the session went on");
    assert!(first != second && second != third, "they were renewed");
    assert_eq!(renewed.code(), Some(0), "{after}");
    assert!(was_known && !is_known(&served, &third).await, "the platform knows nobody any more");
    assert_eq!((signed_out.code(), nobody.code()), (Some(0), Some(3)), "{bye}");
    assert!(advice.contains("finnest sign-in"), "{advice}");
    assert_eq!((kept(&home, "token"), kept(&home, "refresh_token")), (None, None));
    assert_eq!(kept(&home, "email").as_deref(), Some("rosa@acme.example"));
    served.signal("-TERM");
    assert_eq!(served.ended().code(), Some(0));
}

#[test]
fn where_nobody_may_act_without_a_second_factor_signing_in_says_how_to_get_one() {
    let data = Data::new();
    let home = data.0.join("home");
    let served = Served::start_with(&data.0.join("data"), &["--profile", "irap"]);
    let url = format!("http://{}", served.address);

    let (status, said) = sign_in(&home, &url, "demo-recruiter");

    assert_eq!(status.code(), Some(4), "{said}");
    assert!(said.contains(&format!("in a browser, at {url}/sign-in")), "{said}");
    served.signal("-TERM");
    assert_eq!(served.ended().code(), Some(0));
}
