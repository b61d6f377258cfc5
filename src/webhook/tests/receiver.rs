//! What webhooks are sent to.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use tokio::net::TcpListener;

use crate::webhook::{Endpoint, Resolve};

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// An HTTP server on this machine.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Receiver {
    /// Answers the n-th request, from 1, as `answer` says.
    pub(super) async fn start<F, A>(answer: F) -> Receiver
    where
        F: Fn(usize) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().fallback({
            let seen = seen.clone();
            move |method: Method, headers: HeaderMap, body: Bytes| {
                let count = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(Seen {
                        at: Instant::now(),
                        method,
                        headers,
                        body,
                    });
                    seen.len()
                };
                answer(count)
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        Receiver { address, seen }
    }

    /// Answers with the statuses in order, and then always with the last.
    pub(super) async fn answering(statuses: &'static [u16]) -> Receiver {
        Receiver::start(move |count| async move {
            let status = statuses[(count - 1).min(statuses.len() - 1)];
            StatusCode::from_u16(status).unwrap().into_response()
        })
        .await
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        at(&format!("http://{}/hook", self.address))
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

pub(super) fn at(url: &str) -> Endpoint {
    Endpoint::parse("endpoint", url).unwrap()
}

/// A resolver that gives each of its answers once and then always the last, whatever the name.
#[derive(Clone)]
pub(super) struct Names(Arc<Mutex<Vec<Vec<IpAddr>>>>);

impl Names {
    pub(super) fn new(answers: &[&[&str]]) -> Names {
        let address = |text: &&str| text.parse().unwrap();
        let answers = answers.iter().rev();
        Names(Arc::new(Mutex::new(
            answers
                .map(|found| found.iter().map(address).collect())
                .collect(),
        )))
    }
}

impl Resolve for Names {
    fn resolve(&self, _: &str) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let mut answers = self.0.lock().unwrap();
        let found = match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop().unwrap(),
        };
        Box::pin(std::future::ready(Ok(found)))
    }
}
