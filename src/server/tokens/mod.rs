//! API tokens: who may do what.
//!
//! A token is 32 random bytes that its owner alone keeps. What is stored, compared and listed is its
//! SHA-256, which gives nothing away; so a stolen file of tokens lets nobody in.

mod file;
mod table;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

pub use file::{TokensError, TokensFile};
pub use table::{Found, TokenTable};

use crate::api::{Identity, Role};
use crate::core::Namespace;

/// What every token begins with, so that one that leaks is recognised for what it is.
const PREFIX: &str = "hf_";
/// How many random bytes follow: nobody guesses 256 bits.
const SECRET_BYTES: usize = 32;
/// How many hexadecimal digits of a hash stand for the token in lists.
const ID_DIGITS: usize = 12;

/// A fresh token.
///
/// # Errors
/// The operating system has no randomness.
pub fn fresh_token() -> Result<SecretString, getrandom::Error> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    let mut token = PREFIX.to_owned();
    URL_SAFE_NO_PAD.encode_string(secret, &mut token);
    Ok(token.into())
}

/// The SHA-256 of a token: what may be stored of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of this token.
    #[must_use]
    pub fn of(token: &SecretString) -> TokenHash {
        TokenHash(Sha256::digest(token.expose_secret().as_bytes()).into())
    }

    /// What stands for the token in lists: the first digits of the hash.
    #[must_use]
    pub fn id(&self) -> String {
        self.to_string().chars().take(ID_DIGITS).collect()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({}…)", self.id())
    }
}

impl std::str::FromStr for TokenHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<TokenHash, &'static str> {
        const EXPECTED: &str = "must be a SHA-256 in 64 hexadecimal digits";
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: &[[u8; 2]; 32] = pairs.try_into().map_err(|_| EXPECTED)?;
        if !rest.is_empty() {
            return Err(EXPECTED);
        }
        let mut hash = [0; 32];
        for (byte, [high, low]) in hash.iter_mut().zip(bytes) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or(EXPECTED);
            let value = digit(*high)? * 16 + digit(*low)?;
            *byte = u8::try_from(value).map_err(|_| EXPECTED)?;
        }
        Ok(TokenHash(hash))
    }
}

/// One token as it is stored: in the configuration file and in the data directory alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// For people to tell tokens apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The namespace that it belongs to.
    #[serde(
        serialize_with = "write_namespace",
        deserialize_with = "read_namespace"
    )]
    pub namespace: Namespace,
    /// What it allows there.
    #[serde(
        default = "default_role",
        serialize_with = "write_role",
        deserialize_with = "read_role"
    )]
    pub role: Role,
    /// Its hash.
    #[serde(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub sha256: TokenHash,
}

impl TokenEntry {
    /// Whom it stands for.
    fn identity(&self) -> Identity {
        Identity {
            namespace: self.namespace.clone(),
            role: self.role,
        }
    }

    /// Whether people mean it by `text`: its name, or at least [`ID_DIGITS`] digits of its hash.
    fn answers_to(&self, text: &str) -> bool {
        self.name.as_deref() == Some(text)
            || (text.len() >= ID_DIGITS && self.sha256.to_string().starts_with(text))
    }
}

/// The word for a role.
#[must_use]
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Use => "use",
        Role::Admin => "admin",
    }
}

fn default_role() -> Role {
    Role::Use
}

fn write_namespace<S: Serializer>(namespace: &Namespace, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(namespace.as_str())
}

fn read_namespace<'de, D: Deserializer<'de>>(from: D) -> Result<Namespace, D::Error> {
    Namespace::new(&String::deserialize(from)?).map_err(D::Error::custom)
}

fn write_role<S: Serializer>(role: &Role, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(role_name(*role))
}

fn read_role<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
    match String::deserialize(from)?.as_str() {
        "use" => Ok(Role::Use),
        "admin" => Ok(Role::Admin),
        other => Err(D::Error::custom(format!(
            "role: must be use or admin, is {other:?}"
        ))),
    }
}

fn write_hash<S: Serializer>(hash: &TokenHash, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(hash)
}

fn read_hash<'de, D: Deserializer<'de>>(from: D) -> Result<TokenHash, D::Error> {
    String::deserialize(from)?
        .parse()
        .map_err(|expected| D::Error::custom(format!("sha256: {expected}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_random_and_marked() {
        let (one, two) = (fresh_token().unwrap(), fresh_token().unwrap());
        assert!(one.expose_secret().starts_with("hf_"));
        assert_eq!(one.expose_secret().len(), 3 + 43);
        assert_ne!(one.expose_secret(), two.expose_secret());
        assert!(!format!("{one:?}").contains(one.expose_secret()));
    }

    #[test]
    fn a_hash_is_read_back_as_written_and_nothing_else_is_read() {
        let hash = TokenHash::of(&"secret".to_owned().into());
        let text = hash.to_string();
        assert_eq!(
            text,
            "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
        );
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(text.to_uppercase().parse(), Ok(hash));
        for bad in [
            "",
            "2b",
            &text[1..],
            &format!("{text}0"),
            &text.replace('2', "g"),
        ] {
            assert!(bad.parse::<TokenHash>().is_err(), "{bad}");
        }
    }
}
