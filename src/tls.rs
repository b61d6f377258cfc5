//! What both ends of TLS need: the cryptography, root certificates, and files in PEM.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// The largest file of certificates that is read, in bytes: the roots of a whole system take a
/// quarter of it.
pub const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// *ring*. It is named wherever TLS is set up, so that no default of the process has to be set, which
/// only one part of a program could do.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The roots that the system's administrator keeps, a company's own among them; where there are none,
/// as in a bare container, Mozilla's, which are built in. Reads files, which blocks.
#[must_use]
pub fn system_roots() -> RootCertStore {
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

/// A file in PEM, as it was read. Errors are one sentence that names the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Which part of a certificate with its key can't be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPair {
    /// The certificate.
    Certificate(String),
    /// The key.
    Key(String),
}

impl Pem {
    /// Reads a file of at most [`PEM_BYTES_MAX`]; blocks.
    ///
    /// # Errors
    /// It can't be read, or is larger.
    pub fn read(path: &Path) -> Result<Pem, String> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
        if bytes.len() as u64 > PEM_BYTES_MAX {
            return Err(format!(
                "{} must be at most {PEM_BYTES_MAX} bytes",
                path.display()
            ));
        }
        Ok(Pem {
            path: path.to_owned(),
            bytes,
        })
    }

    /// What was read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The certificates in the file, in their order: at least one.
    ///
    /// # Errors
    /// There is none, or one can't be read.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.must("have a certificate in PEM (BEGIN CERTIFICATE)")),
            Err(error) => Err(self.must(&format!("be certificates in PEM: {error}"))),
        }
    }

    /// The certificates in the file, as those whose signatures are believed.
    ///
    /// # Errors
    /// As [`Pem::certificates`].
    pub fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .map_err(|error| self.must(&format!("be certificates of CAs: {error}")))?;
        }
        Ok(roots)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|_| {
            self.must("have a private key in PEM, without a passphrase (BEGIN PRIVATE KEY)")
        })
    }

    fn must(&self, what: &str) -> String {
        format!("{} must {what}", self.path.display())
    }
}

/// A certificate, with those that lead to its CA behind it, and its key.
///
/// # Errors
/// One of them can't be used, or they are not of one pair.
pub fn certified_key(certificate: &Pem, key: &Pem) -> Result<CertifiedKey, BadPair> {
    let chain = certificate.certificates().map_err(BadPair::Certificate)?;
    let private = key.key().map_err(BadPair::Key)?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InvalidCertificate(_) => {
            BadPair::Certificate(certificate.must(&format!("be certificates in PEM: {error}")))
        }
        rustls::Error::InconsistentKeys(_) => BadPair::Key(key.must(&format!(
            "be the key of the certificate in {}, but is that of another",
            certificate.path.display()
        ))),
        error => BadPair::Key(key.must(&format!("be a key that is known here: {error}"))),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pem(text: &str) -> Pem {
        Pem {
            path: PathBuf::from("some.pem"),
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn pair() -> (Pem, Pem) {
        let made = rcgen::generate_simple_self_signed(["ci.example".to_owned()]).unwrap();
        (
            pem(&made.cert.pem()),
            pem(&made.signing_key.serialize_pem()),
        )
    }

    #[test]
    fn a_certificate_goes_with_its_key_and_no_other() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        assert!(certified_key(&certificate, &key).is_ok());
        let refused = certified_key(&certificate, &other).unwrap_err();
        assert!(
            matches!(&refused, BadPair::Key(why) if why.contains("that of another")),
            "{refused:?}"
        );
    }

    #[test]
    fn what_is_no_pem_is_refused_by_the_name_of_its_file() {
        let (certificate, key) = pair();
        let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in ["", "hello", no_der] {
            let refused = certified_key(&pem(bad), &key).unwrap_err();
            assert!(
                matches!(&refused, BadPair::Certificate(why) if why.starts_with("some.pem must")),
                "{bad}: {refused:?}"
            );
            assert!(pem(bad).roots().unwrap_err().starts_with("some.pem must"));
        }
        for bad in ["", "hello", no_der] {
            let refused = certified_key(&certificate, &pem(bad)).unwrap_err();
            assert!(
                matches!(&refused, BadPair::Key(why) if why.starts_with("some.pem must")),
                "{bad}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_too_large_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.pem");
        assert!(
            Pem::read(&path)
                .err()
                .unwrap()
                .contains("a.pem can't be read")
        );
        let large = File::create(&path).unwrap();
        large.set_len(PEM_BYTES_MAX + 1).unwrap();
        assert!(Pem::read(&path).err().unwrap().contains("at most"));
        large.set_len(PEM_BYTES_MAX).unwrap();
        assert!(Pem::read(&path).is_ok());
    }

    #[test]
    fn there_are_roots_on_every_system() {
        assert!(!system_roots().is_empty());
    }
}
