//! Who a request comes from: its API token, in whatever form the surface sends it.
//!
//! It decides who somebody is, never what a call may do: that is the adapters' part.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use secrecy::SecretString;

use super::tokens::{Found, TokenTable};
use crate::api::{ApiError, Identity, Reason};

/// What is open to everyone: whether the server lives, and what it serves.
const OPEN_PREFIXES: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// Whether a path needs no token.
pub(super) fn is_open(path: &str) -> bool {
    super::health::PATHS.contains(&path)
        || super::docs::PATHS.contains(&path)
        || OPEN_PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// Whom the request comes from.
///
/// # Errors
/// [`Reason::Unauthenticated`]; the message tells what to send.
pub(super) fn identify(tokens: &TokenTable, headers: &HeaderMap) -> Result<Identity, ApiError> {
    let found = match headers.get(header::AUTHORIZATION) {
        None => tokens.anonymous(),
        Some(value) => match value.to_str().ok().and_then(token_in) {
            Some(token) => tokens.find(&token),
            None => {
                return Err(unauthenticated(
                    "the authorization header has no API token: send `Bearer TOKEN`, or basic authentication with the token as user name and no password",
                ));
            }
        },
    };
    match found {
        Found::Caller(identity) => Ok(identity),
        Found::Missing => Err(unauthenticated(
            "an API token is needed: send `authorization: Bearer TOKEN`",
        )),
        Found::Unknown => Err(unauthenticated("the API token is not known here")),
    }
}

fn unauthenticated(message: &str) -> ApiError {
    ApiError::new(Reason::Unauthenticated, message)
}

/// The token in the value of an authorization header.
fn token_in(value: &str) -> Option<SecretString> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    let rest = rest.trim();
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        rest.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        if !password.is_empty() {
            return None;
        }
        user.to_owned()
    } else {
        return None;
    };
    (!token.is_empty()).then(|| token.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn read(value: &str) -> Option<String> {
        token_in(value).map(|token| token.expose_secret().to_owned())
    }

    #[test]
    fn a_token_is_read_in_every_form_that_surfaces_send() {
        assert_eq!(read("Bearer hf_x").unwrap(), "hf_x");
        assert_eq!(read("bearer  hf_x ").unwrap(), "hf_x");
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read(&basic("hf_x:")).unwrap(), "hf_x");
        for none in [
            "",
            "hf_x",
            "Bearer",
            "Bearer ",
            "Digest hf_x",
            "Basic hf_x",
            &basic("hf_x"),
            &basic(":"),
            &basic(":hf_x"),
            &basic("hf_x:password"),
        ] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    #[test]
    fn only_health_and_the_descriptions_are_open() {
        for open in [
            "/healthz",
            "/livez",
            "/readyz",
            "/openapi.json",
            "/docs",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(is_open(open), "{open}");
        }
        for closed in [
            "/",
            "/healthz/",
            "/healthzz",
            "/docs/",
            "/openapi.jsonx",
            "/api/v1/locks",
            "/holdfast.v1.LockService/GetLock",
            "//healthz",
        ] {
            assert!(!is_open(closed), "{closed}");
        }
    }
}
