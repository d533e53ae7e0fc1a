//! Routes: which address leads to which page, and what surrounds every answer.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, http};
use live::{Claims, Endpoint, Join, MountView, Refused, Signer, View};
use platform::{Access, Domain, DomainName, Error, Scope, System};
use serde_json::Value;

use crate::detail::Notice;
use crate::events_page::EventsPage;
use crate::letters::{self, Letter};
use crate::queues_page::{self, QueuesPage};
use crate::request::Visit;
use crate::shell::{self, Shell, Theme};
use crate::tree_page::{Action, TreePage, is_narrow};
use crate::viewer::query_field;
use crate::watching::{Names, Watching};
use crate::words::in_query;
use crate::{account_page, assets, jobs_page, pages, sign_in, signing};

/// No form of a page is larger.
const FORM_BYTES_MAX: usize = 16 * 1_024;

/// How long a page may stay open before it must be loaded again.
const SESSION_SECONDS: i64 = 12 * 3_600;

/// What every handler needs.
#[derive(Clone)]
pub(crate) struct Console {
    pub system: System,
    pub signer: Signer,
    pub names: Names,
    endpoint: Endpoint<Visit>,
}

impl Console {
    /// Calls an operation of the domain that keeps users and their credentials.
    pub(crate) async fn accounts(
        &self,
        scope: &Scope,
        operation: &str,
        input: Value,
    ) -> Result<Value, Error> {
        let keeper = self.system.catalog().credentials().map(Domain::name);
        // Without one there is no such operation, as with any name that no domain has.
        let keeper = keeper.map_or("", DomainName::as_str);
        self.system.call(scope, keeper, operation, input).await
    }
}

/// The console's routes, to be put behind `rest::guarded`. `secret` signs the sessions of pages; a
/// new one makes open pages reload.
pub fn router(system: System, secret: [u8; 32]) -> Router {
    let signer = Signer::new(secret);
    let names = Names::default();
    let clock = system.clock().clone();
    let endpoint = Endpoint::new(signer.clone(), mount(system.clone(), names.clone()), move || {
        clock.now().timestamp()
    });
    let console = Console { system, signer, names, endpoint };
    Router::new()
        .route("/", get(|console, visit| page(console, visit, Kind::Tree)))
        .route("/events", get(|console, visit| page(console, visit, Kind::Events)))
        .route("/queues", get(|console, visit| page(console, visit, Kind::Queues)))
        .route("/jobs", get(jobs_page::list).post(jobs_page::act))
        .route("/jobs/{job_id}", get(jobs_page::one))
        .route("/pages/{domain}/{number}", get(pages::show))
        .route("/sign-in", get(signing::page).post(signing::form))
        .route("/sign-in/code", post(signing::code))
        .route("/sign-in/enrol", post(signing::enrol))
        .route("/sign-in/passkey", post(signing::passkey))
        .route("/sign-in/code/passkey", post(signing::code_by_passkey))
        .route(
            "/forgot-password",
            get(|headers: HeaderMap| async move { letters::forgotten(&headers) })
                .post(letters::send),
        )
        .route(
            Letter::Invitation.address(),
            get(|headers: HeaderMap, query| async move {
                letters::page(&headers, query, Letter::Invitation)
            })
            .post(|console, guest| letters::set(console, guest, Letter::Invitation)),
        )
        .route(
            Letter::PasswordReset.address(),
            get(|headers: HeaderMap, query| async move {
                letters::page(&headers, query, Letter::PasswordReset)
            })
            .post(|console, guest| letters::set(console, guest, Letter::PasswordReset)),
        )
        .route("/account", get(account_page::show).post(account_page::act))
        .route("/sign-out", post(sign_out))
        .route("/theme", post(change_theme))
        .route("/kill", post(|console, visit, form| act(console, visit, form, "kill_process")))
        .route("/lift", post(|console, visit, form| act(console, visit, form, "lift_quarantine")))
        .route("/queue", post(turn_queue))
        .route("/live/websocket", get(connect))
        .route("/assets/{name}", get(assets::serve))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(middleware::map_response(unkept))
        .with_state(console)
}

/// The pages that stay alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tree,
    Events,
    Queues,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Tree, Self::Events, Self::Queues];

    /// The address, which also names the view in sessions.
    fn address(self) -> &'static str {
        match self {
            Self::Tree => "/",
            Self::Events => "/events",
            Self::Queues => "/queues",
        }
    }

    fn access(self) -> Access {
        match self {
            Self::Tree | Self::Queues => Access::Operate,
            Self::Events => Access::Read,
        }
    }
}

/// Makes the view of a page, dead or alive. Access has been checked.
async fn open(
    kind: Kind,
    system: System,
    names: Names,
    visit: Visit,
    notice: Option<Notice>,
) -> Box<dyn View> {
    let Visit { identity, token, viewer, url, is_narrow, .. } = visit;
    match kind {
        Kind::Tree => {
            let watching = Watching::begin(system, identity, token, names).await;
            let page = TreePage::open(viewer, Box::new(watching), &url, is_narrow);
            Box::new(page.with_notice(notice))
        }
        Kind::Events => Box::new(EventsPage::open(&system, identity.org_id).await),
        Kind::Queues => Box::new(QueuesPage::open(system, identity, token, viewer.csrf).await),
    }
}

fn mount(system: System, names: Names) -> MountView<Visit> {
    Arc::new(move |visit: Visit, join: Join| {
        let (system, names) = (system.clone(), names.clone());
        Box::pin(async move {
            let user = visit.identity.user_id.to_string();
            let kind = Kind::ALL.into_iter().find(|kind| kind.address() == join.claims.view);
            let kind = kind.ok_or(Refused::Stale)?;
            // The page was made for one viewer; the cookie may have changed since.
            if join.claims.user != user || !visit.allows(kind.access()) {
                return Err(Refused::Unauthorized);
            }
            let width = join.params["width"].as_u64().unwrap_or(u64::MAX);
            let visit = Visit { url: join.url, is_narrow: is_narrow(width), ..visit };
            Ok(open(kind, system, names, visit, None).await)
        })
    })
}

async fn page(State(console): State<Console>, visit: Visit, kind: Kind) -> Response {
    let notice = query_field(&visit.url, "notice").and_then(|code| match code.as_str() {
        "kill_process" | "lift_quarantine" => {
            Action::of(&code, "", "as said").ok().map(|action| Notice::Done(action.done))
        }
        _ => None,
    });
    render(&console, visit, kind, notice).await
}

async fn render(console: &Console, visit: Visit, kind: Kind, notice: Option<Notice>) -> Response {
    let now = console.system.clock().now();
    let menu = pages::menu(console.system.catalog(), &visit);
    let claims = Claims {
        view: kind.address().to_owned(),
        user: visit.identity.user_id.to_string(),
        org: visit.identity.org_id.to_string(),
        csrf: visit.viewer.csrf.clone(),
        expires_at: now.timestamp() + SESSION_SECONDS,
    };
    let session = console.signer.sign_session(&claims);
    let mut shell = Shell {
        title: "Finnest",
        current: kind.address(),
        viewer: &visit.viewer.clone(),
        theme: visit.theme,
        menu: &menu,
        session: Some(&session),
        now: now.timestamp_millis(),
    };
    if !visit.allows(kind.access()) {
        shell.session = None;
        return Html(shell::document(&shell, &pages::explain(&visit))).into_response();
    }
    let view = open(kind, console.system.clone(), console.names.clone(), visit, notice).await;
    let title = view.title().unwrap_or_default();
    shell.title = &title;
    Html(shell::document(&shell, &view.render().to_html())).into_response()
}

async fn connect(
    State(console): State<Console>,
    visit: Result<Visit, Response>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    match visit {
        Ok(visit) if live::is_same_origin(&headers) => console.endpoint.upgrade(upgrade, visit),
        // A page must not be redirected here; it asks again and in the end loads anew.
        _ => StatusCode::FORBIDDEN.into_response(),
    }
}

async fn sign_out(State(console): State<Console>, visit: Visit, form: String) -> Response {
    if !is_own_form(&visit, &form) {
        return StatusCode::FORBIDDEN.into_response();
    }
    signing::end(&console, &visit).await;
    (keeping(&sign_in::keep_token("")), Redirect::to("/sign-in")).into_response()
}

async fn change_theme(visit: Visit, form: String) -> Response {
    if !is_own_form(&visit, &form) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let form = format!("?{form}");
    let theme = Theme::from_name(&query_field(&form, "theme").unwrap_or_default());
    let back = query_field(&form, "back").unwrap_or_default();
    let to = Redirect::to(sign_in::safe_path(&back));
    (keeping(&sign_in::keep_theme(theme)), to).into_response()
}

/// Kills or lifts without a script.
async fn act(
    State(console): State<Console>,
    visit: Visit,
    form: String,
    operation: &'static str,
) -> Response {
    if !is_own_form(&visit, &form) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let form = format!("?{form}");
    let path = query_field(&form, "path").unwrap_or_default();
    let reason = query_field(&form, "reason").unwrap_or_default();
    let done = match Action::of(operation, &path, &reason) {
        Ok(action) => {
            let scope = visit.identity.scope(uuid::Uuid::now_v7());
            let called = console.system.call(&scope, "operator", operation, action.input).await;
            called.map(drop).map_err(|error| crate::watching::sentence(error.message()))
        }
        Err(problem) => Err(problem),
    };
    let url = format!("/?node={}", in_query(&path));
    match done {
        Ok(()) => Redirect::to(&format!("{url}&notice={operation}")).into_response(),
        Err(problem) => {
            let visit = Visit { url, ..visit };
            let notice = Some(Notice::Refused(problem));
            let status = refused(&visit);
            let page = render(&console, visit, Kind::Tree, notice).await;
            (status, page).into_response()
        }
    }
}

/// Pauses or resumes a queue without a script.
async fn turn_queue(State(console): State<Console>, visit: Visit, form: String) -> Response {
    if !is_own_form(&visit, &form) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let form = format!("?{form}");
    let queue = query_field(&form, "queue").unwrap_or_default();
    let operation = match query_field(&form, "turn").as_deref() {
        Some("pause") => "pause_queue",
        _ => "resume_queue",
    };
    match queues_page::turn(&console.system, &visit.token, operation, &queue).await {
        Ok(()) => Redirect::to("/queues").into_response(),
        Err(problem) => (refused(&visit), problem).into_response(),
    }
}

/// The status of a refused form: for the form, or for who sent it.
fn refused(visit: &Visit) -> StatusCode {
    if visit.allows(Access::Operate) {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::FORBIDDEN
    }
}

pub(crate) fn is_own_form(visit: &Visit, form: &str) -> bool {
    query_field(&format!("?{form}"), "_csrf_token").is_some_and(|csrf| csrf == visit.viewer.csrf)
}

pub(crate) fn keeping(cookie: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(cookie).expect("a possible token is plain text");
    headers.insert(header::SET_COOKIE, value);
    headers
}

/// Pages hold what only their viewer may see. What forbids foreign scripts and frames is said of
/// every page of the platform, by whoever puts the surfaces together.
async fn unkept<B>(mut response: http::Response<B>) -> http::Response<B> {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
