//! Where a webhook is sent, checked as far as its text goes. Whether its address may be called is
//! [`Gate`](super::Gate)'s part.

use std::fmt;

use http::Uri;
use url::{Host, Url};

use crate::core::Invalid;
use crate::core::limits::CALLBACK_URL_BYTES_MAX;

/// A URL that a webhook can be sent to: http or https, with a host, without credentials and without
/// a fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Checks `text` and keeps it in its normal form.
    ///
    /// # Errors
    /// Names `field`, which is what the surface calls the endpoint.
    pub fn parse(field: &'static str, text: &str) -> Result<Endpoint, Invalid> {
        let invalid = |expected: &str| Invalid::new(field, expected);
        check_length(field, text)?;
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("must have no spaces and no control characters"));
        }
        let url = Url::parse(text).map_err(|error| {
            invalid(&format!(
                "must be a URL such as https://ci.example/hook: {error}"
            ))
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid(
                "must have no user name and no password: the receiver knows Holdfast by its signature",
            ));
        }
        if url.fragment().is_some() {
            return Err(invalid("must have no fragment (#...)"));
        }
        if url.port() == Some(0) {
            return Err(invalid("must have a port of 1 to 65535"));
        }
        check_length(field, url.as_str())?;
        // The connection is made to the host that the HTTP library reads, and the address that is
        // judged is that of the host which this reads: they have to agree.
        let uri = url.as_str().parse::<Uri>().ok();
        match (uri.as_ref().and_then(Uri::host), url.host_str()) {
            (Some(called), Some(judged)) if called == judged => Ok(Endpoint(url)),
            _ => Err(invalid("must be a URL with a host name or an address")),
        }
    }

    /// The text, in its normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The host: a name or an address.
    pub(super) fn host(&self) -> Option<Host<&str>> {
        self.0.host()
    }
}

impl fmt::Debug for Endpoint {
    // Paths and queries of webhooks often carry the receiver's secrets, so logs get only the origin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}/…)", self.0.origin().ascii_serialization())
    }
}

fn check_length(field: &'static str, text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > CALLBACK_URL_BYTES_MAX {
        let expected = format!(
            "must have 1 to {CALLBACK_URL_BYTES_MAX} bytes, has {}",
            text.len()
        );
        return Err(Invalid::new(field, expected));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_kept_in_its_normal_form() {
        for (text, kept) in [
            ("https://ci.example/hook?a=b", "https://ci.example/hook?a=b"),
            ("HTTP://CI.Example:80", "http://ci.example/"),
            ("http://127.0.0.1:8080/a/../b", "http://127.0.0.1:8080/b"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            ("http://2130706433/", "http://127.0.0.1/"),
            ("http://0177.0.0.1/", "http://127.0.0.1/"),
            ("http://127.0.0.1./", "http://127.0.0.1/"),
            ("http://１２７.0.0.1/", "http://127.0.0.1/"),
            ("http://[::FFFF:7f00:1]/", "http://[::ffff:7f00:1]/"),
            (
                "https://bücher.example/ü",
                "https://xn--bcher-kva.example/%C3%BC",
            ),
        ] {
            let endpoint = Endpoint::parse("endpoint", text).unwrap();
            assert_eq!(endpoint.as_str(), kept, "{text}");
            assert_eq!(Endpoint::parse("endpoint", kept).unwrap(), endpoint);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_told_with_the_callers_name_of_the_field() {
        let long = format!("https://ci.example/{}", "x".repeat(CALLBACK_URL_BYTES_MAX));
        let grows = format!("https://ci.example/{}", "ü".repeat(500));
        for (text, told) in [
            ("", "1 to 2048 bytes, has 0"),
            (&*long, "1 to 2048 bytes, has 2067"),
            (&*grows, "1 to 2048 bytes, has 3019"),
            ("ci.example/hook", "such as https://ci.example/hook"),
            ("/hook", "such as https://ci.example/hook"),
            ("ftp://ci.example/", "must begin with http"),
            ("file:///etc/passwd", "must begin with http"),
            ("mailto:a@ci.example", "must begin with http"),
            ("http://", "such as https://ci.example/hook"),
            ("http://:80/", "such as https://ci.example/hook"),
            ("http://user@ci.example/", "no user name"),
            ("http://:secret@ci.example/", "no password"),
            ("http://ci.example/#top", "no fragment"),
            ("http://ci.example/#", "no fragment"),
            ("http://ci.example:0/", "port of 1 to 65535"),
            ("http://ci.example:65536/", "invalid port"),
            ("http://1.2.3.256/", "invalid IPv4 address"),
            ("http://[fe80::1%25eth0]/", "invalid IPv6 address"),
            (" http://ci.example/", "no spaces"),
            ("http://ci.exa\tmple/", "no control characters"),
            ("http://ci.example/\r\nx: y", "no control characters"),
            ("http://ci.example/\0", "no control characters"),
        ] {
            let invalid = Endpoint::parse("callback.url", text).unwrap_err();
            assert_eq!(invalid.field, "callback.url");
            assert!(invalid.expected.contains(told), "{text:?}: {invalid}");
        }
    }

    #[test]
    fn logs_get_only_the_origin_of_an_endpoint() {
        let endpoint =
            Endpoint::parse("endpoint", "https://ci.example:8443/T0KEN?key=s3cret").unwrap();
        assert_eq!(
            format!("{endpoint:?}"),
            "Endpoint(https://ci.example:8443/…)"
        );
    }
}
