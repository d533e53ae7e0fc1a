//! The console over a real system, as a browser without JavaScript sees it.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use platform::Role;
use platform::otp::{ChildSpec, Clock, ExitReason, Process, RunContext};
use testkit::{ACME, TestSystem};
use tower::ServiceExt as _;

/// A process that does nothing until it is stopped.
struct Idle;

impl Process for Idle {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

const IDLE: &str = "root/edge/idle";

/// A system, its console, and somebody who has signed in.
struct Browser {
    system: TestSystem,
    router: Router,
    cookie: String,
}

impl Browser {
    async fn start(role: Role) -> Self {
        let edge = Box::new(|_: &platform::System| vec![ChildSpec::process("idle", || Idle)]);
        let system = testkit::start_with([], Clock::system(), "", edge).await;
        let router = console::router(system.system().clone(), [7; 32]);
        let cookie = format!("finnest_token={}", system.member(ACME, role).token());
        Self { system, router, cookie }
    }

    /// A browser that has not signed in, at a platform whose staff has a password.
    async fn start_of_accounts() -> Self {
        let domains = [accounts::domain()];
        let edge = Box::new(|_: &platform::System| Vec::new());
        let system = testkit::start_with(domains, Clock::system(), "", edge).await;
        let staff = system.member(ACME, Role::Staff).scope();
        let user_id = staff.user_id().expect("a member is a user");
        let password = accounts::Password::new("correct-horse-battery");
        let given = accounts::give_password(system.system(), ACME, user_id, password).await;
        given.expect("the password is one");
        let router = console::router(system.system().clone(), [7; 32]);
        Self { system, router, cookie: String::new() }
    }

    async fn send(&self, request: Request<Body>) -> (Response<()>, String) {
        let answer = self.router.clone().oneshot(request).await.expect("a router answers");
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.expect("the body is in memory").to_bytes();
        (Response::from_parts(parts, ()), String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn get(&self, path: &str) -> (Response<()>, String) {
        let request = Request::get(path).header(header::COOKIE, &self.cookie);
        self.send(request.body(Body::empty()).expect("the request is well-formed")).await
    }

    async fn post(&self, path: &str, form: String) -> (Response<()>, String) {
        let request = Request::post(path).header(header::COOKIE, &self.cookie);
        self.send(request.body(Body::from(form)).expect("the request is well-formed")).await
    }

    /// The token that the forms of the page carry.
    async fn csrf(&self) -> String {
        let (_, page) = self.get("/").await;
        let (_, rest) = page.split_once("name=\"_csrf_token\" value=\"").expect("a page has forms");
        rest.split('"').next().expect("an attribute ends").to_owned()
    }

    fn restarts(&self) -> u64 {
        self.system.system().tree().find(IDLE).expect("the process is in the tree").restarts
    }
}

fn location(answer: &Response<()>) -> &str {
    answer.headers()[header::LOCATION].to_str().expect("an address is text")
}

#[tokio::test]
async fn who_is_not_signed_in_is_led_to_the_form_and_back() {
    let browser = Browser { cookie: String::new(), ..Browser::start(Role::Operator).await };

    let (answer, _) = browser.get("/events").await;

    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(location(&answer), "/sign-in?next=%2Fevents");
}

#[tokio::test]
async fn a_link_with_a_token_signs_in_and_leaves_a_cookie_no_script_can_read() {
    let browser = Browser::start(Role::Operator).await;
    let token = browser.system.member(ACME, Role::Operator).token().to_owned();

    let (answer, _) = browser.get(&format!("/sign-in?token={token}")).await;
    let (refused, page) = browser.get("/sign-in?token=nobody").await;

    assert_eq!(location(&answer), "/");
    let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("a cookie is text");
    assert!(cookie.starts_with(&format!("finnest_token={token};")), "{cookie}");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(page.contains("Nobody has this token."));
}

#[tokio::test]
async fn a_page_of_another_site_signs_nobody_in_as_somebody_else() {
    let browser = Browser::start(Role::Director).await;
    let token = browser.system.member(ACME, Role::Director).token().to_owned();
    let followed = Request::get(format!("/sign-in?token={token}"))
        .header("sec-fetch-site", "cross-site")
        .body(Body::empty());

    let (answer, page) = browser.send(followed.expect("the request is well-formed")).await;

    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(!answer.headers().contains_key(header::SET_COOKIE), "nothing is kept");
    assert!(page.contains("Sign in yourself."), "{page}");
    browser.system.stop().await;
}

#[tokio::test]
async fn the_tree_is_complete_without_a_script() {
    let browser = Browser::start(Role::Operator).await;

    let (answer, page) = browser.get("/?node=root%2Fedge%2Fidle").await;

    assert_eq!(answer.status(), StatusCode::OK);
    for text in ["data-path=\"root/store/sealer\"", "action=\"/kill\"", "Nothing has failed"] {
        assert!(page.contains(text), "the page lacks {text}");
    }
}

#[tokio::test]
async fn a_kill_without_a_script_restarts_the_process_and_is_recorded() {
    let browser = Browser::start(Role::Operator).await;
    let csrf = browser.csrf().await;
    let mut changes = browser.system.system().tree().changes();

    let form = format!("_csrf_token={csrf}&path={IDLE}&reason=a+drill");
    let (answer, _) = browser.post("/kill", form).await;
    while browser.restarts() == 0 {
        changes.changed().await.expect("the tree is alive");
    }
    browser.system.settle().await;
    let (_, page) = browser.get(location(&answer)).await;

    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert!(page.contains("Killed, and recorded in the event log"), "{page}");
    assert!(page.contains("<q>a drill</q>"), "the timeline does not say why: {page}");
}

#[tokio::test]
async fn a_kill_without_the_token_of_the_page_or_without_a_reason_is_refused() {
    let browser = Browser::start(Role::Operator).await;
    let csrf = browser.csrf().await;

    let forged = browser.post("/kill", format!("path={IDLE}&reason=a+drill")).await;
    let unexplained = browser.post("/kill", format!("_csrf_token={csrf}&path={IDLE}")).await;

    assert_eq!(forged.0.status(), StatusCode::FORBIDDEN);
    assert_eq!(unexplained.0.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(unexplained.1.contains("Say why"));
    assert_eq!(browser.restarts(), 0);
}

#[tokio::test]
async fn who_is_no_operator_sees_no_tree_and_kills_nothing() {
    let browser = Browser::start(Role::Director).await;
    let csrf = browser.csrf().await;

    let (answer, page) = browser.get("/").await;
    let form = format!("_csrf_token={csrf}&path={IDLE}&reason=a+drill");
    let (killed, _) = browser.post("/kill", form).await;
    let form = format!("_csrf_token={csrf}&queue=operator&turn=pause");
    let (turned, _) = browser.post("/queue", form).await;
    let (events, _) = browser.get("/events").await;

    assert_eq!(answer.status(), StatusCode::OK);
    assert!(page.contains("This page is for operators"));
    assert!(!page.contains("root/edge/idle"));
    assert_eq!(killed.status(), StatusCode::FORBIDDEN);
    assert_eq!(turned.status(), StatusCode::FORBIDDEN);
    assert_eq!(events.status(), StatusCode::OK);
    assert_eq!(browser.restarts(), 0);
}

#[tokio::test]
async fn the_feed_shows_the_own_organisation_only() {
    let browser = Browser::start(Role::Operator).await;
    let csrf = browser.csrf().await;
    browser.post("/kill", format!("_csrf_token={csrf}&path={IDLE}&reason=a+drill")).await;
    browser.system.settle().await;
    let neighbour = browser.system.member(testkit::GLOBEX, Role::Director);

    let (_, own) = browser.get("/events").await;
    let cookie = format!("finnest_token={}", neighbour.token());
    let (_, other) = Browser { cookie, ..browser }.get("/events").await;

    assert!(own.contains("action_requested"));
    assert!(!other.contains("action_requested"));
}

#[tokio::test]
async fn the_queues_are_listed_for_operators() {
    let browser = Browser::start(Role::Operator).await;

    let (answer, page) = browser.get("/queues").await;

    assert_eq!(answer.status(), StatusCode::OK);
    assert!(page.contains("<h1>Queues</h1>"));
    assert!(!page.contains("role=\"alert\""), "{page}");
}

/// Leaves a job that waits for a time that is far away, and says its id.
async fn leave_job(browser: &Browser) -> String {
    let mut owner = browser.system.owner().await;
    sqlx::query_scalar(
        "insert into jobs.jobs (id, org_id, queue, name, state, args, scope, max_attempts, \
             timeout_ms, tags, inserted_at, scheduled_at)
         select gen_random_uuid(), gen_random_uuid(), 'reach', 'send_outreach', 'scheduled', \
             '{\"to\": \"ann\"}', scope, 20, 1000, array['eu'], now(), now() + interval '9 days'
         from jsonb_build_object('org_id', gen_random_uuid(), \
             'principal', jsonb_build_object('kind', 'system', 'name', 'a test'), \
             'correlation_id', gen_random_uuid(), 'hops', 0) as scope
         returning id::text",
    )
    .fetch_one(&mut owner)
    .await
    .expect("the owner may leave a job")
}

#[tokio::test]
async fn a_job_is_found_edited_and_cancelled_without_a_script() {
    let browser = Browser::start(Role::Operator).await;
    let job_id = leave_job(&browser).await;
    let csrf = browser.csrf().await;

    let (_, listed) = browser.get("/jobs?filter=queue%3Areach+tag%3Aeu").await;
    let (_, wrong) = browser.get("/jobs?filter=queu%3Areach").await;
    let form =
        |what: &str| format!("_csrf_token={csrf}&job_id={job_id}&back=/jobs/{job_id}&{what}");
    let (edited, _) = browser.post("/jobs", form("do=edit_job&priority=3&tags=us")).await;
    let (_, shown) = browser.get(location(&edited)).await;
    browser.post("/jobs", form("do=cancel_job")).await;
    let (again, _) = browser.post("/jobs", form("do=run_job_now")).await;
    let (_, refused) = browser.get(location(&again)).await;

    assert!(listed.contains(&format!("href=\"/jobs/{job_id}\"")), "{listed}");
    assert!(listed.contains("1 fit."), "{listed}");
    assert!(wrong.contains("did you mean `queue`?"), "{wrong}");
    assert!(shown.contains("The job is changed.") && shown.contains("<span class=\"chip\">us<"));
    assert!(refused.contains("is cancelled, so it cannot be run now"), "{refused}");
}

#[tokio::test]
async fn many_jobs_are_cancelled_after_a_look_at_what_that_means() {
    let browser = Browser::start(Role::Operator).await;
    leave_job(&browser).await;
    let csrf = browser.csrf().await;

    let (_, preview) = browser.get("/jobs?filter=queue%3Areach&change=cancel").await;
    let form = format!("_csrf_token={csrf}&do=start_bulk&change=cancel&filter=queue%3Areach");
    let (started, _) = browser.post("/jobs", form).await;
    let (_, page) = browser.get(location(&started)).await;
    let (forged, _) = browser.post("/jobs", "do=start_bulk&change=cancel".to_owned()).await;

    assert!(preview.contains("1 jobs fit. Nothing is done yet."), "{preview}");
    assert!(page.contains("It is being done") && page.contains("Done to many"), "{page}");
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn jobs_are_for_operators() {
    let browser = Browser::start(Role::Director).await;
    let csrf = browser.csrf().await;

    let (_, page) = browser.get("/jobs").await;
    let form = format!("_csrf_token={csrf}&do=start_bulk&change=delete&filter=queue%3Areach");
    let (started, _) = browser.post("/jobs", form).await;

    assert!(page.contains("This page is for operators"), "{page}");
    assert_eq!(started.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn no_page_is_kept_by_what_is_between() {
    let browser = Browser::start(Role::Operator).await;

    for path in ["/", "/sign-in", "/jobs"] {
        let (answer, _) = browser.get(path).await;

        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store", "{path}");
    }
}

#[tokio::test]
async fn an_asset_that_the_browser_has_is_not_sent_again() {
    let browser = Browser::start(Role::Operator).await;
    let (first, _) = browser.get("/assets/console.js").await;
    let tag = first.headers()[header::ETAG].clone();

    let request = Request::get("/assets/console.js").header(header::IF_NONE_MATCH, tag);
    let request = request.body(Body::empty()).expect("the request is well-formed");
    let (again, body) = browser.send(request).await;
    let (missing, _) = browser.get("/assets/nothing.js").await;

    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(body.is_empty());
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

/// A browser that has the cookie an answer gave it.
fn with_cookie(browser: Browser, answer: &Response<()>) -> Browser {
    let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("a cookie is text");
    let cookie = cookie.split(';').next().expect("its value comes first").to_owned();
    Browser { cookie, ..browser }
}

#[tokio::test]
async fn a_password_signs_in_and_the_account_shows_where() {
    let browser = Browser::start_of_accounts().await;
    let form = |password| {
        format!("organisation=Acme&email=staff%40acme.test&password={password}&next=%2Faccount")
    };

    let (wrong, page) = browser.post("/sign-in", form("not-the-password")).await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(page.contains("Organisation, address or password is wrong."), "{page}");
    assert!(page.contains("value=\"staff@acme.test\""), "nobody types it again");
    let (right, _) = browser.post("/sign-in", form("correct-horse-battery")).await;
    assert_eq!(location(&right), "/account");
    let browser = with_cookie(browser, &right);
    let (_, account) = browser.get("/account").await;

    assert!(account.contains("staff@acme.test") && account.contains("this one"), "{account}");
    browser.system.stop().await;
}

#[tokio::test]
async fn a_token_is_shown_once_and_signing_out_ends_the_session() {
    let browser = Browser::start_of_accounts().await;
    let form = "organisation=acme&email=staff%40acme.test&password=correct-horse-battery";
    let (signed_in, _) = browser.post("/sign-in", form.to_owned()).await;
    let browser = with_cookie(browser, &signed_in);
    let (_, account) = browser.get("/account").await;
    let (_, rest) = account.split_once("name=\"_csrf_token\" value=\"").expect("it has forms");
    let csrf = rest.split('"').next().expect("an attribute ends").to_owned();

    let wanted = format!("_csrf_token={csrf}&do=create_token&label=nightly&scopes=accounts%3Aread");
    let (_, made) = browser.post("/account", wanted).await;
    let (_, again) = browser.get("/account").await;
    let foreign = "_csrf_token=forged&do=create_token&label=nightly".to_owned();
    let (forged, _) = browser.post("/account", foreign).await;
    browser.post("/sign-out", format!("_csrf_token={csrf}")).await;
    let (after, _) = browser.get("/account").await;

    assert!(made.contains("fin_api_"), "{made}");
    assert!(again.contains("nightly") && !again.contains("fin_api_"), "{again}");
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    assert_eq!(location(&after), "/sign-in?next=%2Faccount", "the cookie is good for nothing");
    browser.system.stop().await;
}

/// Asks again until there is no place left, as somebody who guesses does.
async fn until_refused(ask: impl AsyncFn() -> (Response<()>, String)) -> (Response<()>, String) {
    for _ in 0..GUESSES_MAX {
        let (answer, page) = ask().await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            return (answer, page);
        }
    }
    panic!("{GUESSES_MAX} guesses were looked at");
}

/// Far more than the one at once that the test allows.
const GUESSES_MAX: usize = 100;

#[tokio::test]
async fn who_guesses_without_end_is_told_to_wait_at_every_form() {
    let tuning = "[edge]\naddress_per_second = 1\naddress_burst = 1\n";
    let edge = Box::new(|_: &platform::System| Vec::new());
    let system = testkit::start_with([], Clock::system(), tuning, edge).await;
    let router = console::router(system.system().clone(), [7; 32]);
    let browser = Browser { system, router, cookie: String::new() };

    let guess = "token=a-guess";
    let posted = until_refused(async || browser.post("/sign-in", guess.to_owned()).await).await;
    let opened = until_refused(async || browser.get("/sign-in?token=a-guess").await).await;
    let letter = async || browser.post("/reset-password", guess.to_owned()).await;
    let letter = until_refused(letter).await;

    for (answer, page) in [posted, opened, letter] {
        assert!(answer.headers().contains_key(header::RETRY_AFTER), "it says how long");
        assert!(page.contains("Too often"), "{page}");
    }
    browser.system.stop().await;
}
