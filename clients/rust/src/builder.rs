//! How to reach a server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::client::Client;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::limits::*;
use crate::retry::Backoff;

/// How to reach a server: made by [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    address: String,
    token: Option<String>,
    ca: Option<Vec<u8>>,
    identity: Option<Keys>,
    tls: Option<ClientTlsConfig>,
    config: Settings,
}

/// A client certificate and its key.
#[derive(Clone)]
struct Keys {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// What the builder was told about times and names.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) session_ttl: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    backoff_min: Duration,
    backoff_max: Duration,
    pub(crate) owner: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// All that a client needs to connect again and again.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    settings: Settings,
    endpoint: Endpoint,
    authorization: Option<MetadataValue<Ascii>>,
}

impl std::ops::Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

impl Config {
    pub(crate) async fn connect(&self) -> Result<Channel> {
        self.endpoint.connect().await.map_err(|error| {
            let mut message = format!("{} can't be reached", self.endpoint.uri());
            let mut source: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = source {
                let cause = format!(": {error}");
                // Each layer names the same cause once more.
                if !message.ends_with(&cause) {
                    message.push_str(&cause);
                }
                source = error.source();
            }
            Error::unavailable(message)
        })
    }

    /// A request with this client's token.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(value) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        request
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.backoff_min, self.backoff_max)
    }
}

impl Builder {
    pub(crate) fn new(address: impl Into<String>) -> Builder {
        Builder {
            address: address.into(),
            token: None,
            ca: None,
            identity: None,
            tls: None,
            config: Settings {
                session_ttl: SESSION_TTL_DEFAULT,
                call_timeout: CALL_TIMEOUT_DEFAULT,
                connect_timeout: CONNECT_TIMEOUT_DEFAULT,
                backoff_min: BACKOFF_MIN_DEFAULT,
                backoff_max: BACKOFF_MAX_DEFAULT,
                owner: String::new(),
                metadata: BTreeMap::new(),
                clock: Arc::new(SystemClock::new()),
            },
        }
    }

    /// The API token, where the server asks for one.
    pub fn token(mut self, token: impl Into<String>) -> Builder {
        self.token = Some(token.into());
        self
    }

    /// The certificate authority to trust, in PEM form, instead of the system's. For `https`.
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Builder {
        self.ca = Some(pem.into());
        self
    }

    /// The certificate to show to the server and its key, both in PEM form. For `https`.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Builder {
        self.identity = Some(Keys {
            certificate: certificate.into(),
            key: key.into(),
        });
        self
    }

    /// All about TLS at once, instead of [`Builder::ca`] and [`Builder::client_certificate`]. For
    /// `https`.
    pub fn tls(mut self, tls: ClientTlsConfig) -> Builder {
        self.tls = Some(tls);
        self
    }

    /// How long the session's lease lasts without a renewal: 100 ms to 30 d. Default: 30 s. So long
    /// the locks of a client that died stay taken, and so long a client may be cut off and keep them.
    pub fn session_ttl(mut self, ttl: Duration) -> Builder {
        self.config.session_ttl = ttl;
        self
    }

    /// How long a call that does not wait may take, its retries included. Default: 10 s. What waits
    /// has this on top of its wait.
    pub fn call_timeout(mut self, timeout: Duration) -> Builder {
        self.config.call_timeout = timeout;
        self
    }

    /// How long one attempt to connect may take. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.config.connect_timeout = timeout;
        self
    }

    /// The first and the longest pause between attempts. Default: 50 ms and 2 s.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Builder {
        self.config.backoff_min = min;
        self.config.backoff_max = max.max(min);
        self
    }

    /// Who this is, for people to read: at most 512 bytes. Locks and tickets may say otherwise.
    pub fn owner(mut self, owner: impl Into<String>) -> Builder {
        self.config.owner = owner.into();
        self
    }

    /// What the client says of its session: at most 32 entries and 4 KiB in all.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Builder {
        self.config.metadata.insert(key.into(), value.into());
        self
    }

    /// Another clock than the system's, for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Builder {
        self.config.clock = clock;
        self
    }

    /// Connects. Needs a tokio runtime, on which the client's tasks then run.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an address, token or certificate that can't be one;
    /// [`Error::Unavailable`] when the server can't be reached.
    pub async fn connect(self) -> Result<Client> {
        let config = self.config()?;
        let connecting = config.connect();
        let channel = tokio::time::timeout(config.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("the server did not answer in time")))?;
        Ok(Client::new(config, channel))
    }

    pub(crate) fn config(self) -> Result<Config> {
        let authorization = self
            .token
            .map(|token| format!("Bearer {token}").parse::<MetadataValue<Ascii>>())
            .transpose()
            .map_err(|_| Error::invalid("token", "must be of visible ASCII characters"))?
            .map(|mut value| {
                value.set_sensitive(true);
                value
            });
        let mut endpoint = Endpoint::from_shared(self.address.clone())
            .ok()
            .filter(|endpoint| matches!(endpoint.uri().scheme_str(), Some("http" | "https")))
            .ok_or_else(|| {
                let address = &self.address;
                Error::invalid(
                    "address",
                    format!("must be http(s)://host:port, is {address}"),
                )
            })?
            .connect_timeout(self.config.connect_timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .tcp_nodelay(true);
        if endpoint.uri().scheme_str() == Some("https") {
            let mut tls = match (self.tls, self.ca) {
                (Some(tls), _) => tls,
                (None, Some(pem)) => {
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
                }
                (None, None) => ClientTlsConfig::new().with_native_roots(),
            };
            if let Some(keys) = self.identity {
                tls = tls.identity(Identity::from_pem(keys.certificate, keys.key));
            }
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| Error::invalid("certificate", error))?;
        }
        Ok(Config {
            settings: self.config,
            endpoint,
            authorization,
        })
    }
}
