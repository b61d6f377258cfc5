//! Grant tokens and receipts: secrets that need not be stored.
//!
//! A grant token is the fencing token and a MAC of it, the lock and the namespace under the server
//! key; a receipt has an item's id and the number of its delivery instead. So they can be made again
//! for a retry, they are checked in constant time, and neither the core nor the store ever sees them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::core::{Delivery, LockName, Namespace, QueueName};

/// How much of the MAC a token carries, in bytes: 128 bits can't be guessed.
const MAC_BYTES: usize = 16;

/// Makes and reads grant tokens.
#[derive(Clone)]
pub struct GrantTokens(Hmac<Sha256>);

impl GrantTokens {
    /// Under this server key.
    pub fn new(server_key: &[u8; 32]) -> GrantTokens {
        GrantTokens(keyed(server_key, b"grant\0"))
    }

    /// The token that proves the hold on `lock` with this fencing token.
    pub fn mint(&self, namespace: &Namespace, lock: &LockName, fencing_token: u64) -> String {
        with_mac(
            fencing_token.to_string(),
            self.mac(namespace, lock, fencing_token),
        )
    }

    /// The fencing token that `token` proves for `lock`; `None` when it proves nothing.
    pub fn verify(&self, namespace: &Namespace, lock: &LockName, token: &str) -> Option<u64> {
        let (number, mac) = token.split_once('.')?;
        let fencing_token: u64 = number.parse().ok()?;
        is_of(mac, self.mac(namespace, lock, fencing_token)).then_some(fencing_token)
    }

    fn mac(&self, namespace: &Namespace, lock: &LockName, fencing_token: u64) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&fencing_token.to_be_bytes());
        add_names(&mut mac, namespace, lock.as_str());
        mac
    }
}

/// Makes and reads receipts.
#[derive(Clone)]
pub struct Receipts(Hmac<Sha256>);

impl Receipts {
    /// Under this server key.
    pub fn new(server_key: &[u8; 32]) -> Receipts {
        Receipts(keyed(server_key, b"delivery\0"))
    }

    /// The receipt that proves the right to this delivery.
    pub fn mint(&self, namespace: &Namespace, queue: &QueueName, delivery: Delivery) -> String {
        let Delivery { item, number } = delivery;
        with_mac(
            format!("{item}.{number}"),
            self.mac(namespace, queue, delivery),
        )
    }

    /// The delivery that `receipt` proves the right to; `None` when it proves nothing.
    pub fn verify(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        receipt: &str,
    ) -> Option<Delivery> {
        let (item, rest) = receipt.split_once('.')?;
        let (number, mac) = rest.split_once('.')?;
        let delivery = Delivery {
            item: item.parse().ok()?,
            number: number.parse().ok()?,
        };
        is_of(mac, self.mac(namespace, queue, delivery)).then_some(delivery)
    }

    fn mac(&self, namespace: &Namespace, queue: &QueueName, delivery: Delivery) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&delivery.item.to_be_bytes());
        mac.update(&delivery.number.to_be_bytes());
        add_names(&mut mac, namespace, queue.as_str());
        mac
    }
}

/// A MAC under the server key for one purpose: what it gives for one must not do for another.
pub(super) fn keyed(server_key: &[u8; 32], purpose: &[u8]) -> Hmac<Sha256> {
    // HMAC pads a key that is shorter than a block with zeros; so the result is the standard one.
    let mut block = [0; 64];
    block[..server_key.len()].copy_from_slice(server_key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(purpose);
    mac
}

fn add_names(mac: &mut Hmac<Sha256>, namespace: &Namespace, name: &str) {
    // Neither name can contain a control character, so the separator keeps them apart.
    mac.update(namespace.as_str().as_bytes());
    mac.update(b"\0");
    mac.update(name.as_bytes());
}

fn with_mac(mut text: String, mac: Hmac<Sha256>) -> String {
    let mac = mac.finalize().into_bytes();
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(&mac[..MAC_BYTES], &mut text);
    text
}

/// Whether `text` is the MAC, checked in constant time.
fn is_of(text: &str, mac: Hmac<Sha256>) -> bool {
    let mut bytes = [0; MAC_BYTES];
    let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes);
    read == Ok(MAC_BYTES) && mac.verify_truncated_left(&bytes).is_ok()
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
    fn a_receipt_proves_one_delivery_only() {
        let receipts = Receipts::new(&[7; 32]);
        let (ns, other_ns) = (Namespace::new("a").unwrap(), Namespace::new("b").unwrap());
        let (queue, other) = (QueueName::new("x").unwrap(), QueueName::new("y").unwrap());
        let delivery = Delivery {
            item: 42,
            number: 3,
        };
        let receipt = receipts.mint(&ns, &queue, delivery);
        let verify = |ns, queue, receipt: &str| receipts.verify(ns, queue, receipt);
        assert_eq!(verify(&ns, &queue, &receipt), Some(delivery));
        assert_eq!(verify(&ns, &other, &receipt), None);
        assert_eq!(verify(&other_ns, &queue, &receipt), None);
        assert_eq!(verify(&ns, &queue, &receipt.replace("42.", "43.")), None);
        assert_eq!(verify(&ns, &queue, &receipt.replace(".3.", ".4.")), None);
        assert_eq!(verify(&ns, &queue, &format!("{receipt}A")), None);
        for text in ["", ".", "..", "42.3", "42.3.", "42.3.AAAA", "42..AAAA"] {
            assert_eq!(verify(&ns, &queue, text), None, "{text:?}");
        }
    }

    #[test]
    fn a_grant_token_is_no_receipt() {
        let (ns, lock) = (Namespace::new("a").unwrap(), LockName::new("x").unwrap());
        let token = GrantTokens::new(&[7; 32]).mint(&ns, &lock, 42);
        let (number, mac) = token.split_once('.').unwrap();
        let queue = QueueName::new("x").unwrap();
        let receipt = format!("{number}.1.{mac}");
        assert_eq!(Receipts::new(&[7; 32]).verify(&ns, &queue, &receipt), None);
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
