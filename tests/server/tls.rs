//! TLS on the one port: every surface over it, whom it refuses, and how certificates are replaced.

use std::net::SocketAddr;
use std::time::Duration;

use holdfast::proto::v1::lock_service_client::LockServiceClient;
use holdfast::proto::v1::{AcquireLockRequest, GetLockRequest, WatchLockRequest};
use holdfast::server::{Config, Server, StartError, TlsFiles};
use prost::Message as _;
use reqwest::Version;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::certificates::{Ca, Pair, put};
use crate::wire::*;

/// Files of a server that is `localhost`, and a configuration that uses them.
struct Place {
    ca: Ca,
    dir: TempDir,
    config: Config,
}

impl Place {
    fn new() -> Place {
        let (ca, dir) = (Ca::new("ours"), tempfile::tempdir().unwrap());
        let mut config = Config::throw_away();
        config.timers.tls_check = Duration::from_millis(20);
        config.tls = Some(TlsFiles {
            cert: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
            client_ca: None,
        });
        let place = Place { ca, dir, config };
        place.replace(&place.ca.issue("localhost"));
        place
    }

    fn with_client_ca() -> Place {
        let mut place = Place::new();
        let file = put(place.dir.path(), "ca.pem", &place.ca.pem());
        place.config.tls.as_mut().unwrap().client_ca = Some(file);
        place
    }

    fn replace(&self, pair: &Pair) {
        put(self.dir.path(), "cert.pem", &pair.cert);
        put(self.dir.path(), "key.pem", &pair.key);
    }

    async fn start(&self) -> Server {
        start(self.config.clone()).await
    }

    async fn refusal(&self) -> String {
        match Server::start(self.config.clone()).await {
            Ok(_) => panic!("it started"),
            Err(error @ StartError::Setting { .. }) => error.to_string(),
            Err(error) => panic!("{error}"),
        }
    }

    fn client(&self, identity: Option<&Pair>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.ca.pem())).unwrap();
        let builder = ClientConfig::builder_with_provider(holdfast::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![der(&pair.cert)], key)
                    .unwrap()
            }
        }
    }

    async fn channel(
        &self,
        address: SocketAddr,
        identity: Option<&Pair>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.ca.pem()))
            .domain_name("localhost");
        if let Some(pair) = identity {
            tls = tls.identity(Identity::from_pem(&pair.cert, &pair.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

async fn handshake(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    connector.connect(name, connect(address).await).await
}

/// Whether somebody with this certificate gets an answer, and if not, why.
async fn live(address: SocketAddr, config: ClientConfig) -> std::io::Result<String> {
    let talk = async {
        let mut stream = handshake(address, config).await?;
        let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    timeout(PATIENCE, talk).await.expect("the server answers")
}

fn get(lock: &str) -> GetLockRequest {
    GetLockRequest {
        lock: lock.to_owned(),
    }
}

#[tokio::test]
async fn every_surface_is_on_the_one_port() {
    let place = Place::new();
    let server = place.start().await;
    let address = server.local_addr();
    assert!(server.is_encrypted());

    let request = AcquireLockRequest {
        lock: "deploy".to_owned(),
        ..AcquireLockRequest::default()
    };
    let channel = place.channel(address, None).await.unwrap();
    let mut locks = LockServiceClient::new(channel);
    let granted = locks.acquire_lock(request).await.unwrap().into_inner();
    assert_eq!(granted.grant.unwrap().lock, "deploy");

    for (version, alpn) in [(Version::HTTP_11, "http/1.1"), (Version::HTTP_2, "h2")] {
        let mut config = place.client(None);
        config.alpn_protocols = vec![alpn.into()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .resolve("localhost", address)
            .build()
            .unwrap();
        let url = |path: &str| format!("https://localhost:{}{path}", address.port());
        let rest = client
            .get(url("/api/v1/locks/deploy"))
            .send()
            .await
            .unwrap();
        assert_eq!((rest.status().as_u16(), rest.version()), (200, version));
        assert!(rest.text().await.unwrap().contains("\"holders\":["));

        let message = get("deploy").encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let web = client
            .post(url("/holdfast.v1.LockService/GetLock"))
            .header("content-type", "application/grpc-web+proto")
            .body([&[0], &length[..], &message].concat())
            .send()
            .await
            .unwrap();
        assert_eq!((web.status().as_u16(), web.version()), (200, version));
        let body = web.bytes().await.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("grpc-status:0"), "{body}");
    }
}

#[tokio::test]
async fn clients_that_know_only_tls_1_2_are_served() {
    let place = Place::new();
    let server = place.start().await;
    let config = {
        let mut roots = RootCertStore::empty();
        roots.add(der(&place.ca.pem())).unwrap();
        ClientConfig::builder_with_provider(holdfast::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    };
    let answer = live(server.local_addr(), config).await.unwrap();
    assert_eq!(status(&answer), 200);
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_so_and_hung_up_on() {
    let server = Place::new().start().await;
    let answer = ask(server.local_addr(), "GET /livez HTTP/1.1").await;
    assert_eq!(status(&answer), 400);
    assert!(answer.ends_with("use https://"), "{answer}");
    let url = format!("http://{}", server.local_addr());
    let refused = async {
        let mut locks = LockServiceClient::connect(url).await.ok()?;
        locks.get_lock(get("x")).await.ok()
    };
    assert!(timeout(PATIENCE, refused).await.unwrap().is_none());
}

#[tokio::test]
async fn with_mutual_tls_only_who_has_a_good_certificate_gets_in() {
    let place = Place::with_client_ca();
    let server = place.start().await;
    let address = server.local_addr();
    let known = place.ca.issue("client");
    let answer = live(address, place.client(Some(&known))).await.unwrap();
    assert_eq!(status(&answer), 200);
    let channel = place.channel(address, Some(&known)).await.unwrap();
    let mut locks = LockServiceClient::new(channel);
    locks.get_lock(get("x")).await.unwrap();

    let stranger = Ca::new("theirs").issue("client");
    let expired = place.ca.issue_expired("client");
    for (who, alert) in [
        (None, "CertificateRequired"),
        (Some(&stranger), "UnknownCA"),
        (Some(&expired), "CertificateExpired"),
    ] {
        let error = live(address, place.client(who)).await.unwrap_err();
        assert!(error.to_string().contains(alert), "{alert}: {error}");
        let refused = async {
            let channel = place.channel(address, who).await.ok()?;
            LockServiceClient::new(channel)
                .get_lock(get("x"))
                .await
                .ok()
        };
        assert!(timeout(PATIENCE, refused).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn certificates_of_clients_do_for_listening_to_other_machines_and_tls_alone_does_not() {
    let mut place = Place::with_client_ca();
    place.config.listen = "0.0.0.0:0".to_owned();
    let server = place.start().await;
    assert!(server.is_open());
    place.config.tls.as_mut().unwrap().client_ca = None;
    match Server::start(place.config.clone()).await {
        Err(error @ StartError::Unprotected { .. }) => {
            assert!(error.to_string().contains("--tls-client-ca"), "{error}");
        }
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn what_can_not_be_used_is_named_with_its_flag_and_file() {
    let place = Place::with_client_ca();
    let (good, other) = (place.ca.issue("localhost"), place.ca.issue("localhost"));
    let dir = place.dir.path();
    let spoil = |name: &str, text: Option<&str>| match text {
        Some(text) => drop(put(dir, name, text)),
        None => std::fs::remove_file(dir.join(name)).unwrap(),
    };
    for (file, text, told) in [
        ("cert.pem", None, ["tls-cert: ", "cert.pem can't be read"]),
        (
            "cert.pem",
            Some("x"),
            ["tls-cert: ", "cert.pem must have a certificate"],
        ),
        ("key.pem", None, ["tls-key: ", "key.pem can't be read"]),
        (
            "key.pem",
            Some("x"),
            ["tls-key: ", "key.pem must have a private key"],
        ),
        (
            "key.pem",
            Some(&*other.key),
            ["tls-key: ", "cert.pem, but is that of another"],
        ),
        ("ca.pem", None, ["tls-client-ca: ", "ca.pem can't be read"]),
        (
            "ca.pem",
            Some("x"),
            ["tls-client-ca: ", "ca.pem must have a certificate"],
        ),
    ] {
        place.replace(&good);
        put(dir, "ca.pem", &place.ca.pem());
        spoil(file, text);
        let error = place.refusal().await;
        assert!(told.iter().all(|part| error.contains(part)), "{error}");
    }
}

/// What the server shows to a new connection.
async fn shown(place: &Place, address: SocketAddr) -> CertificateDer<'static> {
    let stream = handshake(address, place.client(None)).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn shows(place: &Place, address: SocketAddr, wanted: &Pair) {
    let wanted = der(&wanted.cert);
    let comes = async {
        while shown(place, address).await != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, comes).await.expect("it is shown");
}

#[tokio::test]
async fn new_connections_get_the_new_certificate_and_old_streams_go_on() {
    let place = Place::new();
    let server = place.start().await;
    let address = server.local_addr();
    let channel = place.channel(address, None).await.unwrap();
    let mut locks = LockServiceClient::new(channel);
    let watch = WatchLockRequest {
        lock: "deploy".to_owned(),
    };
    let mut watched = locks.watch_lock(watch).await.unwrap().into_inner();
    watched.message().await.unwrap().expect("the first state");

    let new = place.ca.issue("localhost");
    place.replace(&new);
    shows(&place, address, &new).await;

    let request = AcquireLockRequest {
        lock: "deploy".to_owned(),
        ..AcquireLockRequest::default()
    };
    locks.acquire_lock(request).await.unwrap();
    let told = timeout(PATIENCE, watched.message()).await.unwrap();
    told.unwrap().expect("the change, over the old stream");
}

#[tokio::test]
async fn a_client_that_is_no_longer_vouched_for_is_refused_from_then_on() {
    let place = Place::with_client_ca();
    let server = place.start().await;
    let address = server.local_addr();
    let (known, config) = (place.ca.issue("client"), |pair| place.client(Some(pair)));
    let kept = config(&known);
    live(address, kept.clone()).await.unwrap();
    put(place.dir.path(), "ca.pem", &Ca::new("theirs").pem());
    let refused = async {
        // The same configuration would resume its session.
        while live(address, kept.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("it is refused");
}

#[tokio::test]
async fn slow_handshakes_take_a_place_until_the_timer_ends_them() {
    let mut place = Place::new();
    place.config.timers.head = Duration::from_secs(2);
    place.config.connections_max = 2;
    let server = place.start().await;
    let address = server.local_addr();
    let mut silent = connect(address).await;
    let mut slow = connect(address).await;
    // The head of a message that does not come.
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    // The places are taken, so this one is hung up on.
    let refused = live(address, place.client(None)).await;
    assert!(refused.is_err(), "{refused:?}");
    read_bytes(&mut silent).await;
    read_bytes(&mut slow).await;
    // A place is free again a moment after its connection has ended.
    let comes = async {
        while live(address, place.client(None)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, comes).await.expect("a place is free");
}

#[tokio::test]
async fn a_client_that_says_nothing_after_the_handshake_is_ended_too() {
    let mut place = Place::new();
    place.config.timers.head = Duration::from_millis(500);
    let server = place.start().await;
    let mut stream = handshake(server.local_addr(), place.client(None))
        .await
        .unwrap();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty());
}

#[tokio::test]
async fn the_end_is_told_to_streams_and_idle_connections_do_not_delay_it() {
    let place = Place::new();
    let server = place.start().await;
    let address = server.local_addr();
    let channel = place.channel(address, None).await.unwrap();
    let mut locks = LockServiceClient::new(channel);
    let watch = WatchLockRequest {
        lock: "deploy".to_owned(),
    };
    let mut watched = locks.watch_lock(watch).await.unwrap().into_inner();
    watched.message().await.unwrap().expect("the first state");
    let mut idle = handshake(address, place.client(None)).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let mut half = connect(address).await;
    half.write_all(&[22, 3, 1]).await.unwrap();

    let stopping = tokio::spawn(server.shutdown(Duration::MAX));
    let told = timeout(PATIENCE, watched.message()).await.unwrap();
    assert_eq!(told.unwrap_err().code(), tonic::Code::Unavailable);
    // With the notice that TLS has of an end; else this is an error.
    let mut rest = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
