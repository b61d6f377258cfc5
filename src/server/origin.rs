//! Which web pages' scripts may call.
//!
//! A server on this machine that asks for no token is within reach of every page that a browser on
//! it shows; and some dialects change locks on GET, which a mere image can send. So whatever comes
//! from a page of another origin is refused, unless the operator allows that origin.

use http::{HeaderName, HeaderValue, Request, header};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use super::StartError;
use super::limits::CORS_MAX_AGE;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a page's script may read of an answer, beyond what it always may.
const EXPOSED: [HeaderName; 5] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
];

/// The origins that the operator allows.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    any: bool,
    listed: Vec<HeaderValue>,
}

impl Origins {
    /// Reads what the operator gave: origins as browsers send them, or `*`.
    pub(super) fn new(given: &[String]) -> Result<Origins, StartError> {
        let mut origins = Origins::default();
        for origin in given {
            if origin == "*" {
                origins.any = true;
                continue;
            }
            let uri = origin.parse::<http::Uri>().ok();
            let is_origin = uri.is_some_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.authority().is_some()
                    && !origin.ends_with('/')
                    && uri.path_and_query().is_none_or(|rest| rest == "/")
            });
            let value = HeaderValue::from_str(origin).ok().filter(|_| is_origin);
            origins.listed.push(value.ok_or_else(|| StartError::Setting {
                name: "allow-origin",
                expected: format!("must be * or an origin such as https://ci.example, without a path; is {origin:?}"),
            })?);
        }
        Ok(origins)
    }

    /// What answers browsers' questions in advance and marks answers as readable; `None` where no
    /// origin is allowed, for then browsers are to be told nothing.
    pub(super) fn cors(&self) -> Option<CorsLayer> {
        let allow = if self.any {
            AllowOrigin::any()
        } else if self.listed.is_empty() {
            return None;
        } else {
            AllowOrigin::list(self.listed.clone())
        };
        Some(
            CorsLayer::new()
                .allow_origin(allow)
                .allow_headers(AllowHeaders::mirror_request())
                .allow_methods(AllowMethods::mirror_request())
                .expose_headers(EXPOSED)
                .max_age(CORS_MAX_AGE),
        )
    }

    /// Whether a request is not from a page of a strange origin.
    pub(super) fn allow<B>(&self, request: &Request<B>) -> bool {
        let headers = request.headers();
        let origin = headers.get(header::ORIGIN);
        if self.any || origin.is_some_and(|origin| self.listed.contains(origin)) {
            return true;
        }
        if let Some(site) = headers.get(SEC_FETCH_SITE) {
            return site == "same-origin" || site == "none";
        }
        let Some(origin) = origin else {
            return true;
        };
        // Browsers that don't say where a request comes from still say its origin.
        let own = match request.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok()),
        };
        let from = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"));
        from.is_some_and(|(_, authority)| Some(authority) == own)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().header("host", "localhost:4653");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn scripts_of_other_pages_are_refused_and_programs_are_not() {
        let none = Origins::default();
        for (headers, allowed) in [
            (&[][..], true),
            (&[("sec-fetch-site", "none")], true),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "http://localhost:4653"),
                ],
                true,
            ),
            (&[("origin", "http://localhost:4653")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("origin", "http://evil.example")], false),
            (&[("origin", "http://localhost:4654")], false),
            (&[("origin", "null")], false),
        ] {
            assert_eq!(none.allow(&request(headers)), allowed, "{headers:?}");
        }
    }

    #[test]
    fn an_allowed_origin_is_let_in_and_no_other() {
        let one = Origins::new(&["https://ci.example".to_owned()]).unwrap();
        let from = |origin| request(&[("origin", origin), ("sec-fetch-site", "cross-site")]);
        assert!(one.allow(&from("https://ci.example")));
        assert!(!one.allow(&from("https://ci.example.evil.example")));
        let any = Origins::new(&["*".to_owned()]).unwrap();
        assert!(any.allow(&from("https://evil.example")));
        assert!(any.cors().is_some() && Origins::default().cors().is_none());
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in [
            "",
            "ci.example",
            "https://ci.example/",
            "https://ci.example/a",
            "ftp://x",
            "https://",
        ] {
            assert!(Origins::new(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }
}
