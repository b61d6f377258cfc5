//! TLS: whom the client trusts, and what it shows of itself. A proxy speaks TLS for the server.

use std::net::SocketAddr;
use std::sync::Arc;

use holdfast_client::{Client, Error};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::server::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// A proxy before the server that wants to see a certificate of this authority, and shows one.
async fn tls_before(server: SocketAddr, authority: &Authority) -> String {
    let (certificate, key) = authority.sign("localhost");
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(near).await else {
                    return;
                };
                let mut far = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn a_client_trusts_its_authority_and_shows_its_certificate() {
    let server = Server::start();
    let (authority, other) = (Authority::new(), Authority::new());
    let address = tls_before(server.addr, &authority).await;
    let (certificate, key) = authority.sign("me");
    let builder = Client::builder(&address)
        .ca(authority.0.pem())
        .client_certificate(certificate.pem(), key.serialize_pem());
    let client = builder.connect().await.unwrap();
    let grant = client.lock("x").acquire().await.unwrap();
    grant.release().await.unwrap();

    // Neither another authority nor the system's roots know the server.
    for builder in [
        Client::builder(&address).ca(other.0.pem()),
        Client::builder(&address),
    ] {
        let refused = soon(builder.connect()).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    let refused = soon(Client::builder(&address).ca("no certificate").connect()).await;
    assert!(refused.is_err());
}
