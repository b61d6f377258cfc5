//! The OpenAPI document against what it describes: the running server.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::http::{self, Answer, request};
use crate::server::{Server, serve};
use crate::tenants::token;

const UUID: &str = "28c9c1be-7bb8-4e8c-b22e-c16402a421d5";
const WEBHOOK: &str = "msg_28c9c1be7bb84e8cb22ec16402a421d5";
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

async fn document(server: &Server) -> Value {
    let answer = http::get(server.addr, "/openapi.json").await;
    assert_eq!(answer.status, 200);
    answer.json()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    entries(&document["paths"])
        .flat_map(|(path, item)| entries(item).map(move |(method, op)| (path, method, op)))
}

/// A path with something in every capture.
fn filled(path: &str) -> String {
    let path = path.replace("/webhooks/{id}", &format!("/webhooks/{WEBHOOK}"));
    ["name", "key", "id", "fifo", "ticket", "queue"]
        .iter()
        .fold(path, |path, capture| {
            path.replace(&format!("{{{capture}}}"), UUID)
        })
}

/// What a method on a path answers to a body that no operation takes, so that nothing happens.
async fn probe(server: &Server, method: &str, path: &str) -> Answer {
    let headers = ["content-type: text/plain"];
    let bytes = request(
        &method.to_uppercase(),
        filled(path).as_bytes(),
        &headers,
        b"x",
    );
    http::send(server.addr, &bytes).await
}

#[tokio::test]
async fn what_is_described_is_served_and_nothing_else_under_its_paths() {
    let server = Server::memory();
    let document = document(&server).await;
    let watches = |path: &str| path.ends_with("/watch");
    let mut paths = 0;
    for (path, item) in entries(&document["paths"]) {
        paths += 1;
        for method in METHODS {
            if method == "get" && watches(path) {
                continue;
            }
            let answer = probe(&server, method, path).await;
            let described = item.get(method).is_some();
            assert_eq!(
                answer.status != 405,
                described,
                "{method} {path}: {}",
                answer.status
            );
            let reason = answer.json()["error"]["reason"].clone();
            assert_ne!(reason, "NO_SUCH_PATH", "{method} {path}");
            if described {
                let status = answer.status.to_string();
                let known = item[method]["responses"].get(&status).is_some();
                assert!(known, "{method} {path} answers {status}");
            } else {
                let allowed: BTreeSet<String> = answer
                    .header("allow")
                    .unwrap_or_else(|| panic!("{method} {path} tells no allow"))
                    .split(',')
                    .map(|name| name.trim().to_lowercase())
                    .filter(|name| name != "head")
                    .collect();
                let listed = entries(item).map(|(name, _)| name.clone()).collect();
                assert_eq!(allowed, listed, "{path}");
            }
        }
    }
    assert!(paths > 55, "only {paths}");
}

#[tokio::test]
async fn a_path_of_a_dialect_is_the_same_with_a_slash_behind_it() {
    let server = Server::memory();
    let document = document(&server).await;
    let mut found = 0;
    for (path, method, operation) in operations(&document) {
        let tag = operation["tags"][0].as_str().unwrap();
        if tag.starts_with("dialect") {
            found += 1;
            let plain = probe(&server, method, path).await;
            let slashed = probe(&server, method, &format!("{path}/")).await;
            assert_eq!(plain.status, slashed.status, "{method} {path}");
            assert_eq!(plain.text(), slashed.text(), "{method} {path}");
        }
    }
    assert!(found > 25, "only {found}");
}

#[tokio::test]
async fn the_document_is_sound() {
    let server = Server::memory();
    let document = document(&server).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["info"]["license"]["identifier"], "Apache-2.0");
    let tags: BTreeSet<_> = (document["tags"].as_array().unwrap().iter())
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let statuses: BTreeSet<String> = holdfast::api::Reason::ALL
        .iter()
        .map(|reason| reason.http_status().as_str().to_owned())
        .chain(["200", "201", "202", "204"].map(str::to_owned))
        .collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap()),
            "{at}"
        );
        for text in ["summary", "description"] {
            assert!(
                operation[text].as_str().is_some_and(|t| !t.is_empty()),
                "{at}"
            );
        }
        assert!(
            tags.contains(operation["tags"][0].as_str().unwrap()),
            "{at}"
        );
        let in_path: BTreeSet<_> = (operation["parameters"].as_array().into_iter().flatten())
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let captures: BTreeSet<_> = (path.split('/'))
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        assert_eq!(in_path, captures, "{at}");
        let mut told = 0;
        for (status, answer) in entries(&operation["responses"]) {
            told += 1;
            assert!(statuses.contains(status), "{at}: {status}");
            let empty = status == "204" || status == "200" && is_turn_of_sync(path);
            assert_eq!(answer["content"].is_object(), !empty, "{at}: {status}");
            let challenge = answer["headers"].get("www-authenticate").is_some();
            assert_eq!(challenge, status == "401", "{at}: {status}");
        }
        assert!(told > 0, "{at}");
        let open = is_open(operation);
        assert_eq!(operation["security"].is_null(), open, "{at}");
    }
    references_resolve(&document, &document);
}

/// Whether a path answers by its status alone.
fn is_turn_of_sync(path: &str) -> bool {
    ["/fifo/{fifo}/wait/{ticket}", "/fifo/{fifo}/done/{ticket}"].contains(&path)
}

fn is_open(operation: &Value) -> bool {
    operation["tags"][0] == "server"
}

fn references_resolve(document: &Value, value: &Value) {
    if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let inner: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(entries) => entries.values().collect(),
        _ => Vec::new(),
    };
    for value in inner {
        references_resolve(document, value);
    }
}

#[tokio::test]
async fn the_page_shows_every_operation_and_asks_for_nothing_else() {
    let server = Server::memory();
    let document = document(&server).await;
    let page = http::get(server.addr, "/docs").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.header("cache-control").is_some());
    let text = page.text();
    for (path, method, _) in operations(&document) {
        let shown = format!("<code>{} {path}</code>", method.to_uppercase());
        assert!(text.contains(&shown), "{shown}");
    }
    for outside in ["<script", "<link", "<img", "src=", "//"] {
        assert!(!text.contains(outside), "{outside}");
    }
    let refused = probe(&server, "POST", "/docs").await;
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, Some("GET,HEAD"))
    );
}

#[tokio::test]
async fn a_dialect_that_is_switched_off_is_not_described() {
    let server = Server::spawn(&mut serve(&[
        "--store",
        "memory",
        "--listen",
        "127.0.0.1:0",
        "--disable-dialect",
        "webmutex",
    ]));
    let document = document(&server).await;
    assert!(document["paths"].get("/grab").is_none());
    assert!(document["paths"].get("/v1/{id}").is_some());
}

#[tokio::test]
async fn who_has_no_token_reads_the_description_and_is_refused_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    token(dir.path(), "a", "use");
    let server = Server::over(dir.path());
    assert_eq!(http::get(server.addr, "/docs").await.status, 200);
    let document = document(&server).await;
    let mut refused = 0;
    for (path, method, operation) in operations(&document) {
        if is_open(operation) {
            continue;
        }
        refused += 1;
        let answer = probe(&server, method, path).await;
        assert_eq!(answer.status, 401, "{method} {path}");
        assert!(answer.header("www-authenticate").is_some());
        let content = &operation["responses"]["401"]["content"];
        let kind = answer.header("content-type").unwrap();
        assert!(content.get(kind).is_some(), "{method} {path}: {kind}");
    }
    assert!(refused > 70, "only {refused}");
}
