//! Signatures as Standard Webhooks has them, so that receivers can check them with a library.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use standardwebhooks::Webhook;

use crate::core::limits::{CALLBACK_SECRET_BYTES_MAX, CALLBACK_SECRET_BYTES_MIN};
use crate::core::{CallbackSecret, Invalid, WebhookId};

/// The shortest key, in bytes.
pub const KEY_BYTES_MIN: usize = CALLBACK_SECRET_BYTES_MIN;
/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = CALLBACK_SECRET_BYTES_MAX;

const PREFIX: &str = "whsec_";

/// A key that webhooks are signed with, which the receiver has too. `Debug` hides it.
#[derive(Clone)]
pub struct WebhookSecret(SecretSlice<u8>);

impl WebhookSecret {
    /// Reads `whsec_` and the base64 form of 24 to 64 bytes.
    ///
    /// # Errors
    /// Names the field `secret`; never what was given.
    pub fn parse(text: &str) -> Result<WebhookSecret, Invalid> {
        let key = text
            .strip_prefix(PREFIX)
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .ok_or_else(|| {
                Invalid::new(
                    "secret",
                    format!(
                        "must be {PREFIX} and the base64 form of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} random bytes, such as: echo {PREFIX}$(openssl rand -base64 32)"
                    ),
                )
            })?;
        WebhookSecret::from_key(key)
    }

    /// Keeps a key of 24 to 64 bytes.
    ///
    /// # Errors
    /// Names the field `secret`, and how many bytes there are.
    pub fn from_key(key: Vec<u8>) -> Result<WebhookSecret, Invalid> {
        let key = Zeroizing::new(key);
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
            let expected = format!(
                "must have {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes once decoded, has {}",
                key.len()
            );
            return Err(Invalid::new("secret", expected));
        }
        Ok(WebhookSecret(key.to_vec().into()))
    }

    /// A hash as the key.
    #[must_use]
    pub fn of_hash(hash: [u8; 32]) -> WebhookSecret {
        WebhookSecret(hash.to_vec().into())
    }

    /// The key as the core keeps it.
    ///
    /// # Errors
    /// None: the bounds are the same.
    pub fn to_core(&self) -> Result<CallbackSecret, Invalid> {
        CallbackSecret::new(self.0.expose_secret().to_vec())
    }

    /// The text that [`WebhookSecret::parse`] reads.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        format!("{PREFIX}{}", STANDARD.encode(self.0.expose_secret())).into()
    }

    /// The header `webhook-signature` of an attempt made at `timestamp`, in seconds since 1970;
    /// `None` where the body is not UTF-8.
    #[must_use]
    pub fn sign(&self, id: WebhookId, timestamp: u64, body: &[u8]) -> Option<String> {
        let timestamp = i64::try_from(timestamp).ok()?;
        Webhook::from_bytes(self.0.expose_secret().to_vec())
            .and_then(|key| key.sign(&id.to_string(), timestamp, body))
            .ok()
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_vector_of_the_specification_is_met() {
        let secret = WebhookSecret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let key = Webhook::from_bytes(secret.0.expose_secret().to_vec()).unwrap();
        assert_eq!(
            key.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body)
                .unwrap(),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn a_signature_is_the_hmac_of_id_timestamp_and_body() {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let key = [7; 32];
        let secret = WebhookSecret::from_key(key.to_vec()).unwrap();
        let signed = secret.sign(WebhookId(1), 1_700_000_000, b"{}").unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(b"msg_00000000000000000000000000000001.1700000000.{}");
        let expected = STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(signed, format!("v1,{expected}"));
        assert_eq!(secret.sign(WebhookId(1), 0, b"\xff"), None);
    }

    #[test]
    fn a_secret_comes_and_goes_as_text_and_is_never_shown() {
        let secret = WebhookSecret::parse(TEXT).unwrap();
        assert_eq!(secret.to_text().expose_secret(), TEXT);
        assert_eq!(format!("{secret:?}"), "WebhookSecret(…)");
    }

    #[test]
    fn a_secret_of_another_form_or_length_is_told_without_repeating_it() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![0; bytes]));
        for (text, told) in [
            ("", "must be whsec_"),
            ("hunter2hunter2hunter2hunter2hunter2", "must be whsec_"),
            (&TEXT["whsec_".len()..], "must be whsec_"),
            ("whsec_hunter2!", "must be whsec_"),
            (TEXT.to_uppercase().as_str(), "must be whsec_"),
            (&of(0), "24 to 64 bytes once decoded, has 0"),
            (&of(23), "24 to 64 bytes once decoded, has 23"),
            (&of(65), "24 to 64 bytes once decoded, has 65"),
        ] {
            let invalid = WebhookSecret::parse(text).unwrap_err();
            assert_eq!(invalid.field, "secret");
            assert!(invalid.expected.contains(told), "{invalid}");
            assert!(!invalid.expected.contains("hunter2"), "{invalid}");
        }
        for bytes in [24, 32, 64] {
            WebhookSecret::parse(&of(bytes)).unwrap();
        }
    }
}
