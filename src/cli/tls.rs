//! TLS as a client: who vouches for the server, who to be, and what failed in plain words.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use rustls::{AlertDescription, CertificateError};
use tonic::transport::{ClientTlsConfig, Identity};

use crate::core::Invalid;
use crate::tls::{BadPair, Pem, certified_key, system_roots};

/// What TLS is done with, for addresses with https://.
#[derive(Args, Clone, Debug)]
pub struct TlsArgs {
    /// The CAs one of which must vouch for the server, in PEM [default: the system's]
    ///
    /// Only for addresses that begin with https://, as --cert and --key.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HOLDFAST_CA",
        help_heading = "Server"
    )]
    pub ca: Option<PathBuf>,

    /// The certificate to show to a server that asks for one, in PEM; with --key
    #[arg(
        long = "cert",
        global = true,
        value_name = "FILE",
        env = "HOLDFAST_CERT",
        help_heading = "Server"
    )]
    pub client_cert: Option<PathBuf>,

    /// The private key of --cert, in PEM, without a passphrase
    #[arg(
        long = "key",
        global = true,
        value_name = "FILE",
        env = "HOLDFAST_KEY",
        help_heading = "Server"
    )]
    pub client_key: Option<PathBuf>,
}

impl TlsArgs {
    /// The first of the flags that only TLS has a use for.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("ca", &self.ca),
            ("cert", &self.client_cert),
            ("key", &self.client_key),
        ];
        flags
            .into_iter()
            .find_map(|(name, path)| path.as_ref().map(|_| name))
    }

    /// Reads the files; without `--ca` the system's roots, and where there are none, Mozilla's.
    ///
    /// # Errors
    /// Names the flag and the file.
    pub fn config(&self) -> Result<ClientTlsConfig, Invalid> {
        let read = |name, path: &Path| Pem::read(path).map_err(|why| Invalid::new(name, why));
        let roots = match &self.ca {
            None => system_roots(),
            Some(path) => read("ca", path)?
                .roots()
                .map_err(|why| Invalid::new("ca", why))?,
        };
        let config = ClientTlsConfig::new().trust_anchors(roots.roots);
        match (&self.client_cert, &self.client_key) {
            (None, None) => Ok(config),
            (None, Some(_)) => Err(Invalid::new("cert", "must be given with --key")),
            (Some(_), None) => Err(Invalid::new("key", "must be given with --cert")),
            (Some(cert), Some(key)) => {
                let (cert, key) = (read("cert", cert)?, read("key", key)?);
                certified_key(&cert, &key).map_err(|bad| match bad {
                    BadPair::Certificate(why) => Invalid::new("cert", why),
                    BadPair::Key(why) => Invalid::new("key", why),
                })?;
                Ok(config.identity(Identity::from_pem(cert.bytes(), key.bytes())))
            }
        }
    }
}

/// What of TLS made a connection fail; `None`: something else did.
pub fn cause(error: &(dyn Error + 'static)) -> Option<String> {
    let mut rest = Some(error);
    while let Some(error) = rest {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(inner) = inner {
            // HTTP/2 hands on no more than the text.
            let told = |alert: &AlertDescription| {
                inner.to_string() == rustls::Error::AlertReceived(*alert).to_string()
            };
            if let Some(error) = inner.downcast_ref::<rustls::Error>() {
                return Some(explain(error));
            } else if let Some(alert) = REFUSALS.into_iter().find(told) {
                return Some(explain(&rustls::Error::AlertReceived(alert)));
            }
        }
        rest = error.source();
    }
    None
}

/// What a server says that does not take the client's certificate.
const REFUSALS: [AlertDescription; 7] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
];

fn explain(error: &rustls::Error) -> String {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "its certificate is not trusted: no CA that is known here vouches for it; name its CA with --ca or HOLDFAST_CA".to_owned(),
            Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet".to_owned()
            }
            Bad::NotValidForName => "its certificate is for another name".to_owned(),
            Bad::NotValidForNameContext { expected, presented } => format!(
                "its certificate is not for {} but for {}",
                expected.to_str(),
                presented.join(", ")
            ),
            bad => format!("its certificate is not trusted: {bad}"),
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it asks for a certificate: give one with --cert and --key".to_owned()
        }
        rustls::Error::AlertReceived(alert) if REFUSALS.contains(alert) => {
            format!("it does not take this client's certificate ({alert:?})")
        }
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "it does not speak TLS: its address begins with http://".to_owned()
        }
        error => format!("TLS failed: {error}"),
    }
}
