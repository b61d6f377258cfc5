//! TLS on the port: the certificate that is shown, and whose certificates are asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::StartError;
use super::limits::TLS_HANG_UP_PATIENCE;
use crate::tls::{BadPair, Pem, certified_key, provider};

/// What every TLS connection begins with: the kind of its first record, a handshake.
const HANDSHAKE: u8 = 22;

/// What is said to a client that does not speak TLS. HTTP/2 clients see no answer in it.
const UNENCRYPTED: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 39\r\n\r\nThis port speaks TLS only: use https://";

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those that lead to its CA.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The CAs one of which must have signed the client's certificate; `None`: none is asked for.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// What the three flags come to.
    pub(super) fn of(
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
        client_ca: Option<PathBuf>,
    ) -> Result<Option<TlsFiles>, StartError> {
        match (cert, key, client_ca) {
            (Some(cert), Some(key), client_ca) => Ok(Some(TlsFiles {
                cert,
                key,
                client_ca,
            })),
            (None, None, None) => Ok(None),
            (None, Some(_), _) => Err(bad("tls-cert", "must be given with --tls-key".to_owned())),
            (Some(_), None, _) => Err(bad("tls-key", "must be given with --tls-cert".to_owned())),
            (None, None, Some(_)) => Err(bad(
                "tls-client-ca",
                "needs --tls-cert and --tls-key".to_owned(),
            )),
        }
    }

    fn read(&self) -> Result<Material, StartError> {
        let read = |name, path: &Path| Pem::read(path).map_err(|problem| bad(name, problem));
        let client_ca = self.client_ca.as_deref();
        Ok(Material {
            cert: read("tls-cert", &self.cert)?,
            key: read("tls-key", &self.key)?,
            client_ca: client_ca.map(|ca| read("tls-client-ca", ca)).transpose()?,
        })
    }
}

fn bad(name: &'static str, expected: String) -> StartError {
    StartError::Setting { name, expected }
}

/// What was in the files.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    cert: Pem,
    key: Pem,
    client_ca: Option<Pem>,
}

impl Material {
    fn config(&self) -> Result<ServerConfig, StartError> {
        let pair = certified_key(&self.cert, &self.key).map_err(|problem| match problem {
            BadPair::Certificate(problem) => bad("tls-cert", problem),
            BadPair::Key(problem) => bad("tls-key", problem),
        })?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|_| StartError::Defect)?;
        let resolver = Arc::new(SingleCertAndKey::from(pair));
        let mut config = match &self.client_ca {
            None => builder.with_no_client_auth().with_cert_resolver(resolver),
            Some(client_ca) => {
                let refused = |problem| bad("tls-client-ca", problem);
                let roots = Arc::new(client_ca.roots().map_err(refused)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .build()
                    .map_err(|error| refused(error.to_string()))?;
                let mut config = builder
                    .with_client_cert_verifier(verifier)
                    .with_cert_resolver(resolver);
                // A resumed session would not look at the client's certificate again.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                config
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// What connections are encrypted with: that of the files, as they were when they last could be used.
pub(super) struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    /// What was found last, good or bad, so that each change is told once.
    seen: Mutex<Result<Material, String>>,
}

impl Tls {
    /// Reads the files, which blocks.
    pub(super) fn load(files: TlsFiles) -> Result<Tls, StartError> {
        let material = files.read()?;
        Ok(Tls {
            current: RwLock::new(Arc::new(material.config()?)),
            seen: Mutex::new(Ok(material)),
            files,
        })
    }

    /// Reads the files again, which blocks. Where they have changed and can be used, new connections
    /// get what is in them; those that are open go on as they are.
    pub(super) fn refresh(&self) {
        // Certificates are small; and what is in them can't be mistaken, as a time of change can.
        let found = self.files.read().map_err(|error| error.to_string());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == found {
            return;
        }
        let config = match &found {
            Ok(material) => material.config().map_err(|error| error.to_string()),
            Err(problem) => Err(problem.clone()),
        };
        match config {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!("the TLS certificates have changed");
            }
            Err(problem) => {
                tracing::error!(%problem, "the TLS certificates can't be used; those of before stay in use");
            }
        }
        *seen = found;
    }

    /// The handshake. Whom it fails for is told why, and hung up on.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [HANDSHAKE];
        stream.peek(&mut first).await?;
        if first != [HANDSHAKE] {
            // Said if it can be said at once.
            let _ = stream.try_write(UNENCRYPTED);
            hang_up(stream).await;
            return Err(io::Error::other("it does not speak TLS"));
        }
        let acceptor = TlsAcceptor::from(self.current());
        match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, stream)) => {
                hang_up(stream).await;
                Err(error)
            }
        }
    }

    fn current(&self) -> Arc<ServerConfig> {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Ends a connection so that the client gets what was said last: a socket that is closed with
/// something unread in it takes that back.
async fn hang_up(mut stream: TcpStream) {
    let _ = timeout(TLS_HANG_UP_PATIENCE, async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    })
    .await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn replace(files: &TlsFiles) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn a_bad_replacement_leaves_what_was_in_use_until_a_good_one_comes() {
        let temp = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            cert: temp.path().join("cert.pem"),
            key: temp.path().join("key.pem"),
            client_ca: None,
        };
        replace(&files);
        let tls = Tls::load(files.clone()).unwrap();
        let first = tls.current();
        let stays = || {
            // Also when it is looked at again.
            for _ in 0..2 {
                tls.refresh();
                assert!(Arc::ptr_eq(&tls.current(), &first));
            }
        };
        stays();
        let key = std::fs::read(&files.key).unwrap();
        replace(&files);
        // The new certificate with the old key, as between two copies.
        std::fs::write(&files.key, key).unwrap();
        stays();
        std::fs::write(&files.cert, "x").unwrap();
        stays();
        std::fs::remove_file(&files.cert).unwrap();
        stays();
        replace(&files);
        tls.refresh();
        assert!(!Arc::ptr_eq(&tls.current(), &first));
    }

    #[test]
    fn the_answer_to_plain_text_is_as_long_as_it_says() {
        let text = String::from_utf8_lossy(UNENCRYPTED);
        let length = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        assert!(text.contains(&format!("content-length: {}\r\n", length.unwrap_or(0))));
    }
}
