//! Whose certificates are believed.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::sender::SenderError;

/// The roots that the system's administrator keeps, a company's own among them; where there are none,
/// as in a bare container, Mozilla's, which are built in.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "some of the system's root certificates can't be read");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// TLS by *ring*. It is named here, so that no default of the process has to be set, which only one
/// part of a program could do.
pub(super) fn client_config(roots: RootCertStore) -> Result<ClientConfig, SenderError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SenderError::new)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
