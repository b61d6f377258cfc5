//! The secrets of namespaces: what their webhooks are signed with unless the subscriber brought a
//! secret of its own. They are made from the server key, so that none is stored.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::api::grant_token::keyed;
use crate::core::Namespace;
use crate::webhook::WebhookSecret;

/// Makes the secrets of namespaces.
#[derive(Clone)]
pub struct WebhookSecrets(Hmac<Sha256>);

impl WebhookSecrets {
    /// Under this server key.
    pub fn new(server_key: &[u8; 32]) -> WebhookSecrets {
        WebhookSecrets(keyed(server_key, b"webhook\0"))
    }

    /// The secret of a namespace: always the same.
    pub fn of(&self, namespace: &Namespace) -> WebhookSecret {
        let mut mac = self.0.clone();
        mac.update(namespace.as_str().as_bytes());
        WebhookSecret::of_hash(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn each_namespace_and_each_server_has_a_secret_of_its_own() {
        let of = |key: u8, namespace: &str| {
            let secrets = WebhookSecrets::new(&[key; 32]);
            let secret = secrets.of(&Namespace::new(namespace).unwrap());
            secret.to_text().expose_secret().to_owned()
        };
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
        assert_ne!(of(1, "a"), of(2, "a"));
        assert!(WebhookSecret::parse(&of(1, "a")).is_ok());
    }
}
