//! `/openapi.json` and `/docs`: what the HTTP surfaces serve, for programs and for people.
//!
//! The page is made from the document by the server and asks for nothing else: it works offline, and
//! without scripts.

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value};
use utoipa::openapi::path::HttpMethod;

use super::health;
use crate::api::dialects::DialectOptions;
use crate::api::http::method_not_allowed;
use crate::api::openapi::{AnyObject, Described, Operation, PlainText, document};
use crate::api::{dialects, rest};

const DOCUMENT: &str = "/openapi.json";
const PAGE: &str = "/docs";
/// The paths that are answered here.
pub(super) const PATHS: [&str; 2] = [DOCUMENT, PAGE];

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
/// They change only with the server: a cache may keep them, and asks again soon after an update.
const CACHE: &str = "public, max-age=300";
/// The page has one style and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Serves both. They are written once.
pub(super) fn routes(options: &DialectOptions) -> Result<Router, serde_json::Error> {
    let described = rest::described()
        .into_described()
        .merge(dialects::described(options))
        .merge(health::described())
        .merge(described());
    let document = serde_json::to_value(document(described))?;
    let json = Bytes::from(serde_json::to_vec(&document)?);
    let page = Bytes::from(page(&document).into_string());
    Ok(Router::new()
        .route(DOCUMENT, get(async move || answer(JSON, json.clone())))
        .route(PAGE, get(async move || answer(HTML, page.clone())))
        .method_not_allowed_fallback(method_not_allowed))
}

fn described() -> Described {
    let mut described = Described::default();
    let operation = |id, summary, kind| {
        Operation::open("server", id, summary, "It works offline.").answers_with::<PlainText>(
            http::StatusCode::OK,
            kind,
            "The description.",
        )
    };
    let page = operation("docs", "Describes the HTTP surfaces to people", HTML);
    described.add(HttpMethod::Get, PAGE, page);
    let document = Operation::open(
        "server",
        "openapi",
        "Describes the HTTP surfaces to programs",
        "This document, in OpenAPI 3.1.",
    )
    .answers_with::<AnyObject>(http::StatusCode::OK, JSON, "The description.");
    described.add(HttpMethod::Get, DOCUMENT, document);
    described
}

fn answer(kind: &'static str, body: Bytes) -> Response {
    let mut response = body.into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, CACHE),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .5rem; background: color-mix(in srgb, currentColor 8%, transparent); }
details { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: .4rem 0; }
summary { cursor: pointer; }
table { border-collapse: collapse; } td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
:root { color-scheme: light dark; }
";

/// The page: operations by their tags, then the schemas.
fn page(document: &Value) -> Markup {
    let info = &document["info"];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (text(&info["title"])) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (text(&info["title"])) " " (text(&info["version"])) }
                p { (text(&info["description"])) }
                p { "For programs: " a href=(DOCUMENT) { (DOCUMENT) } }
                @for tag in document["tags"].as_array().into_iter().flatten() {
                    h2 { (text(&tag["name"])) }
                    p { (text(&tag["description"])) }
                    @for (path, method, operation) in operations(document) {
                        @if operation["tags"][0] == tag["name"] {
                            (shown(path, method, operation))
                        }
                    }
                }
                h2 { "schemas" }
                @for (name, schema) in entries(&document["components"]["schemas"]) {
                    details id=(name) {
                        summary { code { (name) } " " (text(&schema["description"])) }
                        (pretty(schema))
                    }
                }
            }
        }
    }
}

fn shown(path: &str, method: &str, operation: &Value) -> Markup {
    html! {
        details {
            summary {
                code { (method.to_uppercase()) " " (path) }
                " " (text(&operation["summary"]))
            }
            p { (text(&operation["description"])) }
            table {
                @for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    tr {
                        td { code { (text(&parameter["name"])) } }
                        td { "in the " (text(&parameter["in"])) }
                        td { (text(&parameter["description"])) }
                    }
                }
                @for (kind, content) in entries(&operation["requestBody"]["content"]) {
                    tr { td { "body" } td { (kind) } td { (schema_of(content)) } }
                }
                @for (status, answer) in entries(&operation["responses"]) {
                    tr {
                        td { (status) }
                        td {
                            @for (kind, content) in entries(&answer["content"]) {
                                (kind) " " (schema_of(content)) br;
                            }
                        }
                        td { (text(&answer["description"])) }
                    }
                }
            }
        }
    }
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    entries(&document["paths"]).flat_map(|(path, item)| {
        entries(item).map(move |(method, operation)| (path, method, operation))
    })
}

/// A link to the schema that is referred to.
fn schema_of(content: &Value) -> Markup {
    let name = text(&content["schema"]["$ref"]).rsplit('/').next();
    html! { @if let Some(name) = name { a href={ "#" (name) } { (name) } } }
}

fn pretty(value: &Value) -> Markup {
    html! { pre { (format!("{value:#}")) } }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}
