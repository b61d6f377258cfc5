//! Who is let in, and what the others are told.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast::api::Role;
use holdfast::core::Namespace;
use holdfast::server::Config;
use holdfast::server::config::StoreKind;
use holdfast::server::tokens::{TokenEntry, TokenHash, TokensFile, fresh_token};
use secrecy::{ExposeSecret as _, SecretString};

use crate::wire::*;

fn entry(token: &SecretString, namespace: &str, role: Role) -> TokenEntry {
    TokenEntry {
        name: None,
        namespace: Namespace::new(namespace).unwrap(),
        role,
        sha256: TokenHash::of(token),
    }
}

fn over(dir: &Path) -> Config {
    Config {
        data_dir: Some(dir.to_owned()),
        ..Config::throw_away()
    }
}

fn bearer(head: &str, token: &SecretString) -> String {
    format!("{head}\r\nauthorization: Bearer {}", token.expose_secret())
}

const GET: &str = "GET /api/v1/locks/x HTTP/1.1";

#[tokio::test]
async fn a_running_server_learns_of_tokens_and_of_their_end() {
    let temp = tempfile::tempdir().unwrap();
    let file = TokensFile::new(temp.path());
    let server = start(over(temp.path())).await;
    let address = server.local_addr();
    assert_eq!(status(&ask(address, GET).await), 200);

    let token = fresh_token().unwrap();
    file.add(entry(&token, "ci", Role::Use)).unwrap();
    // At once, and from then on anonymous callers are refused.
    assert_eq!(status(&ask(address, &bearer(GET, &token)).await), 200);
    assert_eq!(status(&ask(address, GET).await), 401);
    let other = fresh_token().unwrap();
    assert_eq!(status(&ask(address, &bearer(GET, &other)).await), 401);

    file.revoke(&TokenHash::of(&token).id()).unwrap();
    let gone = async {
        while status(&ask(address, &bearer(GET, &token)).await) != 401 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(status(&ask(address, GET).await), 401);
}

#[tokio::test]
async fn tokens_can_be_made_before_the_first_start() {
    let temp = tempfile::tempdir().unwrap();
    let token = fresh_token().unwrap();
    let file = TokensFile::new(temp.path());
    file.add(entry(&token, "ci", Role::Use)).unwrap();
    let server = start(Config {
        store: StoreKind::Embedded,
        listen: "0.0.0.0:0".to_owned(),
        ..over(temp.path())
    })
    .await;
    assert!(!server.is_open());
    let address = ([127, 0, 0, 1], server.local_addr().port()).into();
    assert_eq!(status(&ask(address, GET).await), 401);
    assert_eq!(status(&ask(address, &bearer(GET, &token)).await), 200);
}

#[tokio::test]
async fn tokens_keep_namespaces_apart_and_roles_too() {
    let (ci, ops) = (fresh_token().unwrap(), fresh_token().unwrap());
    let server = start(Config {
        tokens: vec![entry(&ci, "ci", Role::Use), entry(&ops, "ops", Role::Admin)],
        ..Config::throw_away()
    })
    .await;
    let address = server.local_addr();
    let acquire = "POST /api/v1/locks/deploy/acquire HTTP/1.1";
    assert_eq!(status(&ask(address, &bearer(acquire, &ci)).await), 200);
    assert_eq!(status(&ask(address, &bearer(acquire, &ci)).await), 423);
    assert_eq!(status(&ask(address, &bearer(acquire, &ops)).await), 200);
    let list = "GET /api/v1/locks HTTP/1.1";
    assert_eq!(status(&ask(address, &bearer(list, &ci)).await), 403);
    assert_eq!(status(&ask(address, &bearer(list, &ops)).await), 200);
}

#[tokio::test]
async fn a_token_may_be_the_user_name_of_basic_authentication() {
    let token = fresh_token().unwrap();
    let server = start(Config {
        tokens: vec![entry(&token, "ci", Role::Use)],
        ..Config::throw_away()
    })
    .await;
    let basic = |text: String| format!("{GET}\r\nauthorization: Basic {}", STANDARD.encode(text));
    let right = basic(format!("{}:", token.expose_secret()));
    assert_eq!(status(&ask(server.local_addr(), &right).await), 200);
    let wrong = basic(format!("{}:x", token.expose_secret()));
    assert_eq!(status(&ask(server.local_addr(), &wrong).await), 401);
}

#[tokio::test]
async fn each_surface_says_unauthenticated_in_its_own_shape() {
    let token = fresh_token().unwrap();
    let server = start(Config {
        tokens: vec![entry(&token, "ci", Role::Use)],
        ..Config::throw_away()
    })
    .await;
    let address = server.local_addr();
    let rest = ask(address, GET).await;
    assert_eq!(status(&rest), 401);
    assert!(rest.contains("www-authenticate: Bearer"), "{rest}");
    assert!(rest.contains("\"reason\":\"UNAUTHENTICATED\""), "{rest}");
    for path in [
        "/v1/acquire/x",
        "/v1/67f2c3a0-3d84-4c5d-9c6e-6a4b7a8f0d11",
        "/status/x",
        "/nothing",
    ] {
        let answer = ask(address, &format!("GET {path} HTTP/1.1")).await;
        assert_eq!(status(&answer), 401, "{answer}");
        assert!(answer.contains("www-authenticate: "), "{answer}");
        assert!(
            answer.contains("content-type: application/json"),
            "{answer}"
        );
    }
    for kind in ["application/grpc", "application/grpc-web+proto"] {
        let call =
            format!("POST /holdfast.v1.LockService/GetLock HTTP/1.1\r\ncontent-type: {kind}");
        let answer = ask(address, &call).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(answer.contains("grpc-status: 16"), "{answer}");
        assert!(answer.contains("grpc-status-details-bin: "), "{answer}");
        assert!(
            answer.contains(&format!("content-type: {kind}\r\n")),
            "{answer}"
        );
    }
    for open in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(
            status(&ask(address, &format!("GET {open} HTTP/1.1")).await),
            200
        );
    }
}
