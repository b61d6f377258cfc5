//! Grant tokens: secrets that need not be stored.
//!
//! A grant token is the fencing token and a MAC of it, the lock and the namespace under the server
//! key. So it can be made again for a retry, it is checked in constant time, and neither the core
//! nor the store ever sees it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::core::{LockName, Namespace};

/// How much of the MAC a token carries, in bytes: 128 bits can't be guessed.
const MAC_BYTES: usize = 16;

/// Makes and reads grant tokens.
#[derive(Clone)]
pub struct GrantTokens(Hmac<Sha256>);

impl GrantTokens {
    /// Under this server key.
    pub fn new(server_key: &[u8; 32]) -> GrantTokens {
        // HMAC pads a key that is shorter than a block with zeros; so the result is the standard one.
        let mut block = [0; 64];
        block[..server_key.len()].copy_from_slice(server_key);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        // What else may ever be derived from the key must not give a grant token.
        mac.update(b"grant\0");
        GrantTokens(mac)
    }

    /// The token that proves the hold on `lock` with this fencing token.
    pub fn mint(&self, namespace: &Namespace, lock: &LockName, fencing_token: u64) -> String {
        let mac = self
            .mac(namespace, lock, fencing_token)
            .finalize()
            .into_bytes();
        let mut text = fencing_token.to_string();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(&mac[..MAC_BYTES], &mut text);
        text
    }

    /// The fencing token that `token` proves for `lock`; `None` when it proves nothing.
    pub fn verify(&self, namespace: &Namespace, lock: &LockName, token: &str) -> Option<u64> {
        let (number, mac) = token.split_once('.')?;
        let fencing_token: u64 = number.parse().ok()?;
        let mut bytes = [0; MAC_BYTES];
        let read = URL_SAFE_NO_PAD.decode_slice(mac, &mut bytes).ok()?;
        if read != MAC_BYTES {
            return None;
        }
        self.mac(namespace, lock, fencing_token)
            .verify_truncated_left(&bytes)
            .ok()
            .map(|()| fencing_token)
    }

    fn mac(&self, namespace: &Namespace, lock: &LockName, fencing_token: u64) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&fencing_token.to_be_bytes());
        // Neither name can contain a control character, so the separator keeps them apart.
        mac.update(namespace.as_str().as_bytes());
        mac.update(b"\0");
        mac.update(lock.as_str().as_bytes());
        mac
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_proves_one_hold_only() {
        let tokens = GrantTokens::new(&[7; 32]);
        let (ns, other_ns) = (Namespace::new("a").unwrap(), Namespace::new("b").unwrap());
        let (lock, other) = (LockName::new("x").unwrap(), LockName::new("y").unwrap());
        let token = tokens.mint(&ns, &lock, 42);
        assert_eq!(tokens.verify(&ns, &lock, &token), Some(42));
        assert_eq!(tokens.verify(&ns, &other, &token), None);
        assert_eq!(tokens.verify(&other_ns, &lock, &token), None);
        assert_eq!(
            tokens.verify(&ns, &lock, &token.replace("42.", "43.")),
            None
        );
        assert_eq!(GrantTokens::new(&[8; 32]).verify(&ns, &lock, &token), None);
    }

    #[test]
    fn what_is_no_token_proves_nothing() {
        let tokens = GrantTokens::new(&[7; 32]);
        let (ns, lock) = (Namespace::new("a").unwrap(), LockName::new("x").unwrap());
        let token = tokens.mint(&ns, &lock, 1);
        for text in [
            "",
            ".",
            "1",
            "1.",
            "1.AAAA",
            "x.AAAAAAAAAAAAAAAAAAAAAA",
            &token[..token.len() - 1],
        ] {
            assert_eq!(tokens.verify(&ns, &lock, text), None, "{text:?}");
        }
        assert_eq!(tokens.verify(&ns, &lock, &format!("{token}A")), None);
    }
}
