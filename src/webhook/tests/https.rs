use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::CertifiedKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A receiver over TLS as `ci.example` that speaks only HTTP/2, and the roots that vouch for it.
async fn receiver() -> (Endpoint, RootCertStore) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["ci.example".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = crate::tls::provider();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let answer = async |_| {
                    let body = Full::new(Bytes::from(vec![b'x'; 1024 * 1024]));
                    Ok::<_, std::convert::Infallible>(Response::new(body))
                };
                let _ = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    (at(&format!("https://ci.example:{port}/")), roots)
}

async fn attempt(endpoint: Endpoint, roots: RootCertStore) -> AttemptOutcome {
    let policy = AddressPolicy::parse(["127.0.0.0/8"]).unwrap();
    let gate = Gate::new(policy, Names::new(&[&["127.0.0.1"]]));
    let sender = Sender::build(gate, roots).unwrap();
    sender.attempt(&delivery(endpoint), now(), PLENTY).await
}

#[tokio::test]
async fn a_receiver_that_a_root_vouches_for_is_called_also_over_http2() {
    let (endpoint, roots) = receiver().await;
    let outcome = attempt(endpoint, roots).await;
    assert_eq!(outcome, AttemptOutcome::Accepted { status: 200 });
}

#[tokio::test]
async fn a_receiver_that_nobody_vouches_for_is_not() {
    let (endpoint, _) = receiver().await;
    let reason = reason(attempt(endpoint, crate::tls::system_roots()).await);
    assert!(
        reason.starts_with("no connection: ") && reason.contains("certificate"),
        "{reason}"
    );
}
