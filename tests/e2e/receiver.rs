//! A receiver of webhooks on this machine, and a server that may call it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::grpc::soon;
use crate::server::{Server, serve, serve_over};

/// Lets webhooks call receivers on this machine.
pub const ALLOW: [&str; 2] = ["--webhook-allow", "127.0.0.0/8"];

/// A server that may call this machine and keeps nothing.
pub fn calling_server() -> Server {
    let args = ["--store", "memory", "--listen", "127.0.0.1:0"];
    Server::spawn(serve(&args).args(ALLOW))
}

/// The same over a data directory.
pub fn calling_server_over(dir: &Path, listen: &str) -> Server {
    Server::spawn(serve_over(dir, listen).args(ALLOW))
}

/// A post as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its number among those of its path, from 1.
    pub nth: usize,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The grant token, in whichever shape it was posted.
    pub fn token(&self) -> String {
        let body = self.json();
        let token = body["token"]
            .as_str()
            .or(body["data"]["grant_token"].as_str());
        token.unwrap().to_owned()
    }
}

/// Posts that came in, in order.
pub struct Receiver {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// An answer without a body.
pub fn status(code: u16) -> Response {
    StatusCode::from_u16(code).unwrap().into_response()
}

impl Receiver {
    /// Answers each post as `answer` says.
    pub async fn start<F, A>(answer: F) -> Receiver
    where
        F: Fn(Seen) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = seen.clone();
        let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let router = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let path = uri.path().to_owned();
            let nth = {
                let mut counts = counts.lock().unwrap();
                let count = counts.entry(path.clone()).or_default();
                *count += 1;
                *count
            };
            let post = Seen {
                nth,
                path,
                headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            };
            kept.lock().unwrap().push(post.clone());
            answer(post)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Receiver { addr, seen }
    }

    /// Takes every turn.
    pub async fn taking() -> Receiver {
        Receiver::start(async |_| status(200)).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until so many posts have come, and tells the last of them.
    pub async fn nth(&self, count: usize) -> Seen {
        soon(async {
            loop {
                if let Some(post) = self.seen().get(count - 1) {
                    return post.clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    pub fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|post| post.path).collect()
    }
}
