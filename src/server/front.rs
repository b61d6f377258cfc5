//! What every request passes before a surface sees it: health, origin, identity, bounds of its body;
//! and the net below, which turns a panic into an answer.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Limited;
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::Service as _;

use super::body::TimedBody;
use super::health::{self, Lifecycle};
use super::limits::{BODY_BYTES_MAX, Timers};
use super::origin::Origins;
use super::refusal::{Speaks, refuse};
use super::tokens::TokenTable;
use super::{auth, config::Config};
use crate::api::http::paths::rest::WEBHOOK_PREFIX;
use crate::api::{Api, ApiError, Reason, grpc};

/// The way in, shared by all connections.
pub(super) struct Front {
    pub(super) lifecycle: Lifecycle,
    pub(super) tokens: Arc<TokenTable>,
    pub(super) origins: Origins,
    timers: Timers,
    loaded: OnceLock<Loaded>,
}

/// What there is once state is loaded.
struct Loaded {
    api: Api,
    /// The short way of gRPC itself; everything else goes through the router.
    services: grpc::Services,
    router: Router,
}

/// What has to be known of a request to refuse it after it was handed over.
struct Asked {
    uri: Uri,
    content_type: Option<HeaderValue>,
}

impl Front {
    pub(super) fn new(config: &Config, tokens: Arc<TokenTable>, origins: Origins) -> Front {
        Front {
            lifecycle: Lifecycle::new(),
            tokens,
            origins,
            timers: config.timers,
            loaded: OnceLock::new(),
        }
    }

    /// From now on calls are served.
    pub(super) fn open(&self, api: Api, services: grpc::Services, router: Router) {
        // It is opened once, by the one who loads.
        let _ = self.loaded.set(Loaded {
            api,
            services,
            router,
        });
        self.lifecycle.advance(health::Phase::Serving);
    }

    /// Answers a request.
    pub(super) async fn answer(
        self: Arc<Front>,
        request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Ok(self.admit(request).await);
        }
        let (method, uri, started) = (
            request.method().clone(),
            request.uri().clone(),
            Instant::now(),
        );
        let response = self.admit(request).await;
        tracing::debug!(
            %method,
            path = loggable(uri.path()),
            status = response.status().as_u16(),
            took = ?started.elapsed(),
            "answered"
        );
        Ok(response)
    }

    async fn admit(self: Arc<Front>, mut request: Request<Incoming>) -> Response {
        let path = request.uri().path();
        let loaded = self.loaded.get();
        if health::PATHS.contains(&path) {
            return health::answer(&request, self.lifecycle.phase(), loaded.map(|l| &l.api));
        }
        if !self.origins.allow(&request) {
            let error = ApiError::new(
                Reason::PermissionDenied,
                "scripts of this page's origin may not call; the operator can allow it with --allow-origin",
            );
            return refuse(&error, path, content_type(&request));
        }
        if !auth::is_open(path) {
            match auth::identify(&self.tokens, request.headers()) {
                Ok(identity) => request.extensions_mut().insert(identity),
                Err(error) => return refuse(&error, request.uri().path(), content_type(&request)),
            };
        }
        let Some(loaded) = loaded else {
            let error = ApiError::new(
                Reason::Unavailable,
                "the server is loading its state; ask again in a moment",
            );
            return refuse(&error, request.uri().path(), content_type(&request));
        };
        let asked = Asked {
            uri: request.uri().clone(),
            content_type: content_type(&request).cloned(),
        };
        let answer = async {
            let request = match Speaks::of(asked.content_type.as_ref()) {
                // A body that may be a stream has no bounds but those of each message.
                Speaks::Grpc => match loaded.services.answer(request).await {
                    Ok(response) => return response.map(Body::new),
                    Err(request) => request.map(Body::new),
                },
                Speaks::GrpcWeb | Speaks::Http => request.map(|body| {
                    let timed = TimedBody::new(body, self.timers.body);
                    Body::new(Limited::new(timed, BODY_BYTES_MAX))
                }),
            };
            match loaded.router.clone().call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        // The state that a panic may leave behind is the request's own, and is dropped.
        match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(response) => response,
            Err(_panic) => {
                // What it was is logged where it happened.
                let error = ApiError::new(
                    Reason::Internal,
                    "the server has a defect that this call ran into; please report it",
                );
                refuse(&error, asked.uri.path(), asked.content_type.as_ref())
            }
        }
    }
}

fn content_type<B>(request: &Request<B>) -> Option<&HeaderValue> {
    request.headers().get(header::CONTENT_TYPE)
}

/// A path as it may be logged. The ids of leases, tickets and webhooks prove the right to them, so they are
/// left out, and what follows them.
fn loggable(path: &str) -> &str {
    const BEFORE_IDS: [(&str, &str); 5] = [
        ("/api/v1/leases/", ""),
        (WEBHOOK_PREFIX, ""),
        ("/api/v1/fifos/", "/tickets/"),
        ("/fifo/", "/wait/"),
        ("/fifo/", "/done/"),
    ];
    let begin = BEFORE_IDS.iter().find_map(|(root, infix)| {
        let at = path.strip_prefix(root)?.find(infix)?;
        path.get(..root.len() + at + infix.len())
    });
    begin.unwrap_or(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {

    use axum::routing::get;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::core::Namespace;
    use crate::server::serve::Connections;

    fn front() -> Arc<Front> {
        let namespace = Namespace::new("default").unwrap();
        let tokens = TokenTable::load(Vec::new(), None, namespace, true).unwrap();
        let config = Config::throw_away();
        Arc::new(Front::new(&config, Arc::new(tokens), Origins::default()))
    }

    /// Serves one front, and returns how to ask it.
    async fn serve(front: &Arc<Front>) -> impl AsyncFn(&str) -> String + use<> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = front.clone();
        let service = service_fn(move |request| front.clone().answer(request));
        let connections = Connections::new(&Timers::default(), 8, None);
        tokio::spawn(connections.accept(listener, service));
        async move |head: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn while_state_is_loaded_only_health_answers() {
        let ask = serve(&front()).await;
        assert!(ask("GET /livez HTTP/1.1").await.contains(" 200 "));
        let ready = ask("GET /readyz?verbose HTTP/1.1").await;
        assert!(
            ready.contains(" 503 ") && ready.contains("[-]loaded failed"),
            "{ready}"
        );
        let call = ask("GET /api/v1/locks/x HTTP/1.1").await;
        assert!(
            call.contains(" 503 ") && call.contains("retry-after: 1"),
            "{call}"
        );
        let grpc = ask("POST /a/b HTTP/1.1\r\ncontent-type: application/grpc").await;
        assert!(grpc.contains("grpc-status: 14"), "{grpc}");
    }

    #[tokio::test]
    async fn a_panic_is_answered_as_a_defect_and_the_server_goes_on() {
        let front = front();
        let api = Api::in_memory();
        async fn boom() {
            panic!("boom")
        }
        let router = Router::new().route("/boom", get(boom).post(boom));
        let services = grpc::Services::new(&api);
        front.open(api, services, router);
        let ask = serve(&front).await;
        let answer = ask("GET /boom HTTP/1.1").await;
        assert!(
            answer.contains(" 500 ") && answer.contains("INTERNAL"),
            "{answer}"
        );
        assert!(!answer.contains("boom"), "{answer}");
        let grpc = ask("POST /boom HTTP/1.1\r\ncontent-type: application/grpc").await;
        assert!(grpc.contains("grpc-status: 13"), "{grpc}");
        assert!(ask("GET /readyz HTTP/1.1").await.contains(" 200 "));
    }

    #[test]
    fn the_ids_of_leases_and_webhooks_are_not_logged() {
        assert_eq!(loggable("/api/v1/webhooks/msg_5f"), "/api/v1/webhooks/");
        assert_eq!(loggable("/api/v1/leases/5f0c/renew"), "/api/v1/leases/");
        for (path, logged) in [
            ("/api/v1/locks/x", "/api/v1/locks/x"),
            (
                "/api/v1/fifos/x/tickets/5f0c/wait",
                "/api/v1/fifos/x/tickets/",
            ),
            ("/api/v1/fifos/x/tickets", "/api/v1/fifos/x/tickets"),
            ("/fifo/5f0c/wait/28c9", "/fifo/5f0c/wait/"),
            ("/fifo/5f0c/done/28c9/", "/fifo/5f0c/done/"),
            ("/fifo/5f0c/ticket", "/fifo/5f0c/ticket"),
        ] {
            assert_eq!(loggable(path), logged);
        }
    }
}
