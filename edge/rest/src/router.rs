//! The router: the catalog's operations, and what a load balancer and a monitor ask.

use std::sync::Arc;

use axum::extract::FromRequestParts as _;
use axum::extract::{Query, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use axum::{Json, Router, middleware};
use platform::{Answer, Budget, Error, System, Verb};
use serde_json::{Value, json};

use crate::answer::{budgeted, deprecated, success};
use crate::auth::admit;
use crate::condition::expect_version;
use crate::input::{Pieces, merge};
use crate::limits::{self, ANSWER_WITHIN, Places};
use crate::metrics::HttpMetrics;
use crate::problem::Problem;
use crate::problems::{self, PROBLEMS};
use crate::request::{Asked, Template, envelope};
use crate::route::{API, Route};
use crate::{docs, openapi, page};

/// What every handler needs.
#[derive(Clone)]
struct Rest {
    system: System,
    places: Places,
}

/// The REST surface of a system: `/api/v1/…`, `/api/openapi.json`, `/health`, `/ready`, `/metrics`.
pub fn router(system: System) -> Router {
    let routes = Route::all(system.catalog().operations());
    let document = openapi::document_at(system.catalog(), system.address().said());
    let printed: Arc<str> = document.to_string().into();
    let docs = Router::new()
        .route("/docs", get(docs::index))
        .route("/docs/style.css", get(page::style))
        .route("/docs/{domain}", get(docs::domain))
        .with_state(Arc::new(document));
    let metrics = HttpMetrics::new(system.telemetry().registry());
    let rest = Rest { system, places: Places::new() };

    let mut api = Router::new();
    for route in routes {
        let (pattern, filter) = (route.pattern(), filter(route.verb));
        let (rest, route) = (rest.clone(), Arc::new(route));
        let handler = move |request: Request| serve(rest.clone(), Arc::clone(&route), request);
        api = api.route(&pattern, on(filter, handler));
    }
    let api = api
        .route("/openapi.json", get(move || async move { openapi_document(&printed) }))
        .merge(docs)
        .fallback(|| async { Problem::bare(StatusCode::NOT_FOUND) });
    Router::new()
        .nest(API, api)
        .route(PROBLEMS, get(problems::index))
        .route("/problems/{code}", get(problems::one))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(measurements))
        .layer(middleware::from_fn_with_state(metrics, envelope))
        .with_state(rest)
}

/// The answer at an address that no surface has, for whoever puts the surfaces together.
pub async fn nowhere() -> Response {
    Problem::bare(StatusCode::NOT_FOUND).into_response()
}

const fn filter(verb: Verb) -> MethodFilter {
    match verb {
        Verb::Read | Verb::Internal => MethodFilter::GET,
        Verb::Create | Verb::Invoke => MethodFilter::POST,
        Verb::Replace => MethodFilter::PUT,
        Verb::Remove => MethodFilter::DELETE,
    }
}

/// Answers a request for an operation.
async fn serve(rest: Rest, route: Arc<Route>, request: Request) -> Response {
    let mut budget = None;
    let Asked(uri) = request.extensions().get().cloned().expect("the outermost layer says it");
    let asked = request.headers().clone();
    let mut response = match call(&rest, &route, request, &mut budget).await {
        Ok(answer) => success(&route, &answer, &asked, &uri),
        Err(problem) => problem.into_response(),
    };
    deprecated(response.headers_mut(), &route);
    if let Some(budget) = budget {
        budgeted(response.headers_mut(), budget);
    }
    response.extensions_mut().insert(Template(route.template.as_str().into()));
    response
}

/// `budget` is told even where the request is refused afterwards.
async fn call(
    rest: &Rest,
    route: &Route,
    request: Request,
    budget: &mut Option<Budget>,
) -> Result<Answer, Problem> {
    let (mut parts, body) = request.into_parts();
    let _place = rest.places.enter()?;
    let (scope, left) = admit(&rest.system, route.access, &parts).await?;
    *budget = Some(left);
    let path = path_fields(route, &mut parts).await?;
    let query = query_fields(&parts)?;
    let key = if route.takes_key() { idempotency_key(&parts.headers)? } else { None };
    let body =
        if route.takes_body() { Some(limits::read(&parts.headers, body).await?) } else { None };
    let pieces = Pieces { path: &path, query: &query, body: body.as_deref() };
    let mut input = merge(&pieces, &route.input_schema)?;
    if route.verb != Verb::Read {
        expect_version(&mut input, route.versioning, &parts.headers)?;
    }
    let calling = async {
        if let Some(key) = &key {
            return rest.system.call_once(&scope, route.domain, route.name, input, key).await;
        }
        let value = rest.system.call(&scope, route.domain, route.name, input).await?;
        Ok(Answer { value, is_replayed: false })
    };
    let called: Result<Answer, Error> =
        tokio::time::timeout(ANSWER_WITHIN, calling).await.map_err(|_| limits::too_slow())?;
    Ok(called?)
}

async fn path_fields(route: &Route, parts: &mut Parts) -> Result<Vec<(String, String)>, Problem> {
    let params = RawPathParams::from_request_parts(parts, &()).await.map_err(|rejection| {
        tracing::debug!(%rejection, "an address is no text");
        let detail = "an escape of the path (`%…`) is no text in UTF-8";
        Problem::new(StatusCode::BAD_REQUEST, "malformed_path", detail)
    })?;
    let values = params.iter().map(|(_, value)| value.to_owned());
    Ok(route.path_parameters().map(str::to_owned).zip(values).collect())
}

fn query_fields(parts: &Parts) -> Result<Vec<(String, String)>, Problem> {
    Query::try_from_uri(&parts.uri).map(|Query(fields)| fields).map_err(|rejection| {
        Problem::new(StatusCode::BAD_REQUEST, "malformed_query", rejection.body_text())
    })
}

/// The platform checks the key's form; here it only has to be text, and one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(key)), None) => Ok(Some(key.to_owned())),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_idempotency_key",
            "send one Idempotency-Key, of visible ASCII characters",
        )),
    }
}

fn openapi_document(document: &str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_owned()).into_response()
}

/// Whether the process lives. Touches nothing, so that a slow database does not get it killed.
async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Whether calls can be answered.
async fn ready(State(rest): State<Rest>) -> Result<Json<Value>, Problem> {
    rest.system.ready().await?;
    Ok(Json(json!({ "status": "ready" })))
}

async fn measurements(State(rest): State<Rest>) -> Response {
    let text = rest.system.metrics_text().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
