//! What applications are told from outside.

use std::time::Duration;

use otp::config::{Known, Tuning};
use otp::{Application, Applications, Shutdown, StartType, SupervisorSpec};

use super::application::{application, controller};
use super::stage::Journal;

const PAGE: &str = r#"
[application.billing]
start = "permanent"
shutdown_ms = 250
[application.billing.env]
rate = 10
names = ["ada", "grace"]
since = 2026-01-01
"#;

/// An application that tells what it sees, and what changes.
fn billing(journal: &Journal) -> Application {
    let (notes, changes) = (journal.clone(), journal.clone());
    Application::new("billing", move |environment| {
        let rate: f64 = environment.get("rate")?;
        let names: Vec<String> = environment.get("names")?;
        let (label, since): (String, String) =
            (environment.get("label")?, environment.get("since")?);
        notes.note(format!("{label} {rate} {} {since}", names.join(" ")));
        Ok(SupervisorSpec::default())
    })
    .env("label", "default")
    .env("rate", 1.5)
    .env("names", Vec::<String>::new())
    .env_required("since")
    .config_change(move |change, environment| {
        let changes = changes.clone();
        async move {
            let rate: f64 = environment.get("rate").unwrap();
            changes.note(format!("{rate} {:?} {:?}", change.changed, change.new));
        }
    })
}

fn page(applications: &Applications, text: &str) -> Result<Tuning, String> {
    let known = applications.known(Known::new());
    Tuning::parse(text, "supervision.toml", &known).map_err(|errors| errors.to_string())
}

#[tokio::test]
async fn the_page_overrides_what_the_code_says() {
    let journal = Journal::default();
    let applications = controller([billing(&journal), application(&journal, "other")]);

    let early = applications.start("billing").await;
    let changed = applications.configure(&page(&applications, PAGE).unwrap()).await.unwrap();
    applications.start("billing").await.unwrap();
    let entry = applications.which().pop().unwrap();
    let node = applications.tree().find("root/billing").unwrap();

    let missing = "application `billing` did not start: application `billing` has no `since` in \
                   its environment; expected String";
    assert_eq!(early.unwrap_err().to_string(), missing);
    assert_eq!(changed, ["billing"]);
    assert_eq!(entry.start_type, StartType::Permanent);
    assert_eq!(node.shutdown, Shutdown::Timeout(Duration::from_millis(250)));
    assert_eq!(journal.take(), ["default 10 ada grace 2026-01-01"]);
    let environment = applications.environment("billing").unwrap();
    assert_eq!(environment.keys(), ["label", "names", "rate", "since"]);
}

#[tokio::test]
async fn a_running_application_is_told_what_a_new_page_changes() {
    let journal = Journal::default();
    let applications = controller([billing(&journal)]);
    applications.configure(&page(&applications, PAGE).unwrap()).await.unwrap();
    applications.start("billing").await.unwrap();
    journal.take();

    let same = applications.configure(&page(&applications, PAGE).unwrap()).await.unwrap();
    let other = PAGE.replace("rate = 10", "rate = 11.5\nlabel = \"x\"");
    let changed = applications.configure(&page(&applications, &other).unwrap()).await.unwrap();

    assert_eq!((same, changed), (Vec::new(), vec!["billing".to_owned()]));
    let change = "11.5 {\"label\": String(\"x\"), \"rate\": Number(11.5)} {}";
    assert_eq!(journal.take(), [change]);
}

#[tokio::test]
async fn a_page_that_names_what_there_is_not_is_refused_with_line_and_nearest_name() {
    let applications = controller([billing(&Journal::default())]);
    let wrong = r#"
[application.biling]
[application.billing]
start = "permanant"
restart = "permanent"
[application.billing.env]
rate = "fast"
names = 3
lable = "x"
"#;

    let errors = page(&applications, wrong).unwrap_err();

    let text = r#"supervision.toml:2: unknown application `biling`; did you mean `billing`?
    [application.biling]
supervision.toml:4: `start` cannot be `permanant`; did you mean `permanent`?
    start = "permanant"
supervision.toml:5: unknown key `restart`; did you mean `start`?
    restart = "permanent"
supervision.toml:7: `rate` must be a number, not the text "fast"
    rate = "fast"
supervision.toml:8: `names` must be a list, not 3
    names = 3
supervision.toml:9: unknown key `lable`; did you mean `label`?
    lable = "x"
supervision.toml:9: application `billing` needs `since`; add it to `[application.billing.env]`"#;
    assert_eq!(errors, text);
}
