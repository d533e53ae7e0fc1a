//! The reference for people: `/api/docs`, a page per domain, written from the OpenAPI document.
//!
//! What the page says is what the document says; there is nothing else it could know. It is plain
//! HTML: it needs no script and nothing from elsewhere, is found by a browser's own search, and
//! weighs what it says.

mod schema;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::page::{self, paragraphs, words};
use crate::problem::Problem;

/// The document, shared by its pages.
pub(crate) type Document = Arc<Value>;

/// The domains, with what they can be asked.
pub(crate) async fn index(State(document): State<Document>) -> Response {
    let body = html! {
        h1 { "Finnest API" }
        p.soft { "Version " (text(&document["info"]["version"])) }
        (paragraphs(text(&document["info"]["description"])))
        @for tag in list(&document["tags"]) {
            @let name = text(&tag["name"]);
            h2 { a href={ "/api/docs/" (name) } { (title(name)) } }
            p { (words(text(&tag["description"]))) }
            ul.list {
                @for one in of_domain(&document, name) {
                    li.line {
                        (method(one.method))
                        a href={ "/api/docs/" (name) "#" (one.name()) } { (one.name()) }
                        span.soft { (words(text(&one.operation["summary"]))) }
                    }
                }
            }
        }
    };
    page::answer("Reference", &body)
}

/// Everything one domain can be asked.
pub(crate) async fn domain(
    State(document): State<Document>,
    Path(domain): Path<String>,
) -> Response {
    let tag = list(&document["tags"]).find(|tag| tag["name"] == domain.as_str());
    let Some(tag) = tag else {
        return Problem::bare(StatusCode::NOT_FOUND).into_response();
    };
    let body = html! {
        h1 { (title(&domain)) }
        p { (words(text(&tag["description"]))) }
        details {
            summary { "On this page" }
            ul.list {
                @for one in of_domain(&document, &domain) {
                    li.line { (method(one.method)) a href={ "#" (one.name()) } { (one.name()) } }
                }
            }
        }
        @for one in of_domain(&document, &domain) { (one.show(&document)) }
    };
    page::answer(title(&domain).as_str(), &body)
}

/// An operation at its address.
struct One<'a> {
    method: &'a str,
    path: &'a str,
    operation: &'a Value,
}

impl One<'_> {
    /// Its name within the domain.
    fn name(&self) -> &str {
        let id = text(&self.operation["operationId"]);
        let domain = text(&self.operation["tags"][0]);
        id.strip_prefix(domain).map_or(id, |name| name.trim_start_matches('_'))
    }

    fn show(&self, document: &Value) -> Markup {
        let body = &self.operation["requestBody"]["content"]["application/json"];
        html! {
            section.operation id=(self.name()) {
                h2 { (self.name()) }
                p.line { (method(self.method)) code { (self.path) } }
                (paragraphs(text(&self.operation["description"])))
                (self.parameters(document))
                @if body.is_object() {
                    h3 { "Body" }
                    (schema::fields(document, &body["schema"], html! { span.must { "required" } }))
                }
                (self.answers(document))
                details {
                    summary { "Example" }
                    pre { code { (self.command(body)) } }
                }
            }
        }
    }

    fn parameters(&self, document: &Value) -> Markup {
        let parameters: Vec<&Value> = list(&self.operation["parameters"])
            .map(|parameter| schema::resolved(document, parameter))
            .collect();
        let own = parameters.iter().filter(|parameter| parameter["in"] != "header");
        let headers = parameters.iter().filter(|parameter| parameter["in"] == "header");
        let headers: Vec<&str> = headers.map(|header| text(&header["name"])).collect();
        html! {
            @if own.clone().next().is_some() {
                h3 { "Parameters" }
                ul.fields {
                    @for parameter in own {
                        li {
                            code { (text(&parameter["name"])) } " "
                            span.soft {
                                (schema::kind(document, &parameter["schema"]))
                                ", in the " (text(&parameter["in"]))
                            }
                            @if parameter["required"] == true { " " span.must { "required" } }
                            p { (words(text(&parameter["description"]))) }
                        }
                    }
                }
            }
            p.soft {
                "Headers: "
                @for (place, name) in headers.iter().enumerate() {
                    @if place > 0 { ", " }
                    code { (name) }
                }
            }
        }
    }

    fn answers(&self, document: &Value) -> Markup {
        let answers = self.operation["responses"].as_object().into_iter().flatten();
        let (good, problems): (Vec<_>, Vec<_>) =
            answers.partition(|(status, _)| status.starts_with('2'));
        html! {
            @for (status, answer) in good {
                @let media = &answer["content"]["application/json"];
                h3 { "Answer " (status) }
                p { (words(text(&answer["description"]))) }
                @if media.is_object() {
                    (schema::fields(document, &media["schema"], html! { span.soft { "· always" } }))
                    @if let Some(example) = media.get("example") {
                        details {
                            summary { "Example of an answer" }
                            pre { code { (pretty(example)) } }
                        }
                    }
                }
            }
            p.soft {
                "Problems: "
                @for (place, (status, _)) in problems.iter().enumerate() {
                    @if place > 0 { ", " }
                    (status)
                }
                ". " a href="/problems" { "What they mean" }
            }
        }
    }

    /// The request as a command to type.
    fn command(&self, body: &Value) -> String {
        let mut path = self.path.to_owned();
        let mut query = Vec::new();
        for parameter in list(&self.operation["parameters"]) {
            let Some(example) = parameter.get("example") else { continue };
            let value = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            match text(&parameter["in"]) {
                "path" => {
                    let name = format!("{{{}}}", text(&parameter["name"]));
                    path = path.replace(&name, &value);
                }
                "query" => query.push(format!("{}={value}", text(&parameter["name"]))),
                _ => {}
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let mut command = format!("curl -X {} \"$FINNEST_URL{path}\"", self.method.to_uppercase());
        if self.operation["security"] != json!([]) {
            command += " \\\n  -H \"Authorization: Bearer $FINNEST_TOKEN\"";
        }
        if let Some(example) = body.get("example") {
            command += " \\\n  -H 'Content-Type: application/json' \\\n  --data '";
            command += &pretty(example).replace('\'', r"'\''");
            command += "'";
        }
        command
    }
}

/// The operations of a domain, in the order of their addresses.
fn of_domain<'a>(document: &'a Value, domain: &'a str) -> impl Iterator<Item = One<'a>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods.map(move |(method, operation)| One { method, path, operation })
        })
        .filter(move |one| one.operation["tags"][0] == domain)
}

fn method(method: &str) -> Markup {
    html! { span class={ "method " (method) } { (method.to_uppercase()) } }
}

fn title(domain: &str) -> String {
    let mut letters = domain.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
