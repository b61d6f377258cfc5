//! How receivers are spoken to over TLS.

use rustls::{ClientConfig, RootCertStore};

use super::sender::SenderError;
use crate::tls;

pub(super) fn client_config(roots: RootCertStore) -> Result<ClientConfig, SenderError> {
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(SenderError::new)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
