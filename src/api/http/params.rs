//! The one reader of parameters: the query string, a form, `multipart/form-data` and JSON all end
//! as one object of named values.
//!
//! It must never hold more of a body than its caller allows, and never guess: a value that is
//! not UTF-8, or that is given twice with two meanings, is refused.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::error::HttpError;
use super::fields::{Ttl, read_flag, read_span, read_ttl};
use crate::api::{ApiError, Reason};
use crate::core::limits::VALUE_BYTES_MAX;

/// The largest body that is read, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The largest body that puts a value, in bytes: each byte of the largest value may come as six of
/// JSON (`\u0000`), with as much as any other body has besides.
pub const VALUE_BODY_BYTES_MAX: usize = 6 * VALUE_BYTES_MAX + BODY_BYTES_MAX;

/// The parameters of a request, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(Map<String, Value>);

impl Params {
    /// Reads the query string and a body of at most [`BODY_BYTES_MAX`].
    ///
    /// # Errors
    /// As for [`Params::read_up_to`].
    pub async fn read(request: Request) -> Result<Params, HttpError> {
        Params::read_up_to(request, BODY_BYTES_MAX).await
    }

    /// Reads the query string and a body of at most so many bytes.
    ///
    /// # Errors
    /// `BODY_TOO_LARGE`, `UNSUPPORTED_MEDIA_TYPE`, and `INVALID_ARGUMENT` with the field where one
    /// is at fault.
    pub async fn read_up_to(request: Request, bytes_max: usize) -> Result<Params, HttpError> {
        let (parts, body) = request.into_parts();
        let mut params = Params::default();
        if let Some(query) = parts.uri.query() {
            params.add_form(query.as_bytes())?;
        }
        let bytes = read_body(body, bytes_max).await?;
        params.add_body(&parts.headers, bytes).await?;
        Ok(params)
    }

    /// Turns the parameters into a request type, refusing what it doesn't know.
    pub fn into_request<T: DeserializeOwned>(self) -> Result<T, HttpError> {
        serde_path_to_error::deserialize(Value::Object(self.0)).map_err(|error| {
            let field = error.path().iter().find_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                _ => None,
            });
            let why = error.inner();
            match field {
                Some(field) => HttpError::invalid(field, why),
                None => HttpError::unreadable_body(why),
            }
        })
    }

    /// A value as text; a JSON number or boolean as it would be written.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, HttpError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(_) => Err(HttpError::invalid(name, "must be text")),
        }
    }

    /// A value as a span of time.
    pub fn span(&self, name: &'static str) -> Result<Option<std::time::Duration>, HttpError> {
        self.read_value(name, read_span)
    }

    /// A value as a TTL.
    pub fn ttl(&self, name: &'static str) -> Result<Option<Ttl>, HttpError> {
        self.read_value(name, read_ttl)
    }

    /// A value as true or false.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, HttpError> {
        self.read_value(name, read_flag)
    }

    fn read_value<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, HttpError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .map_err(|expected| HttpError::invalid(name, expected)),
        }
    }

    fn add(&mut self, name: String, value: Value) -> Result<(), HttpError> {
        if self.0.get(&name).is_some_and(|earlier| *earlier != value) {
            return Err(HttpError::invalid(name, "was given twice, with two values"));
        }
        self.0.insert(name, value);
        Ok(())
    }

    async fn add_body(&mut self, headers: &HeaderMap, bytes: Bytes) -> Result<(), HttpError> {
        // Many clients declare a type even where they send nothing.
        if bytes.is_empty() {
            return Ok(());
        }
        let declared = headers.get(CONTENT_TYPE).map(|value| value.to_str());
        let essence = match declared {
            None => FORM.to_owned(),
            Some(Ok(text)) => {
                let essence = text.split(';').next().unwrap_or_default();
                essence.trim().to_ascii_lowercase()
            }
            Some(Err(_)) => String::new(),
        };
        match essence.as_str() {
            // `curl -d '{..}'` declares a form and sends JSON; no form begins like that.
            FORM if !looks_like_json(&bytes) => self.add_form(&bytes),
            FORM | "application/json" => self.add_json(&bytes),
            "multipart/form-data" => self.add_multipart(headers, bytes).await,
            _ => Err(ApiError::new(
                Reason::UnsupportedMediaType,
                "the body must be application/json, application/x-www-form-urlencoded or multipart/form-data",
            )
            .into()),
        }
    }

    fn add_json(&mut self, bytes: &[u8]) -> Result<(), HttpError> {
        match serde_json::from_slice(bytes).map_err(HttpError::unreadable_body)? {
            Value::Object(entries) => entries
                .into_iter()
                .try_for_each(|(name, value)| self.add(name, value)),
            _ => Err(HttpError::unreadable_body("it must be a JSON object")),
        }
    }

    fn add_form(&mut self, bytes: &[u8]) -> Result<(), HttpError> {
        for pair in bytes.split(|byte| *byte == b'&') {
            if pair.is_empty() {
                continue;
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode_form(halves.next().unwrap_or_default())
                .ok_or_else(|| HttpError::unreadable_body("a field's name is not UTF-8"))?;
            let Some(value) = decode_form(halves.next().unwrap_or_default()) else {
                return Err(HttpError::invalid(name, "must be UTF-8"));
            };
            self.add(name, Value::String(value))?;
        }
        Ok(())
    }

    async fn add_multipart(&mut self, headers: &HeaderMap, bytes: Bytes) -> Result<(), HttpError> {
        let mut request = Request::new(Body::from(bytes));
        *request.headers_mut() = headers.clone();
        let mut parts = Multipart::from_request(request, &())
            .await
            .map_err(|rejection| HttpError::unreadable_body(rejection.body_text()))?;
        while let Some(part) = parts
            .next_field()
            .await
            .map_err(|error| HttpError::unreadable_body(error.body_text()))?
        {
            let Some(name) = part.name().map(str::to_owned) else {
                return Err(HttpError::unreadable_body("a part has no name"));
            };
            let bytes = part
                .bytes()
                .await
                .map_err(|error| HttpError::unreadable_body(error.body_text()))?;
            let Ok(value) = String::from_utf8(bytes.into()) else {
                return Err(HttpError::invalid(name, "must be UTF-8"));
            };
            self.add(name, Value::String(value))?;
        }
        Ok(())
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

fn looks_like_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

/// Decodes one half of a form's pair; `None` when it is not UTF-8.
fn decode_form(half: &[u8]) -> Option<String> {
    let spaced: Vec<u8> = half
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let decoded = percent_decode(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, HttpError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if is_too_large(error.as_ref()) => Err(ApiError::new(
            Reason::BodyTooLarge,
            format!("the body must have at most {bytes_max} bytes"),
        )
        .into()),
        Err(_) => Err(HttpError::unreadable_body("it ended too early")),
    }
}

/// Whether a limit was broken, this one or one that the server has set around it.
fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.is::<LengthLimitError>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read(
        query: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Params, HttpError> {
        let mut request = Request::new(Body::from(body.to_vec()));
        *request.uri_mut() = format!("/{query}").parse().unwrap();
        if let Some(content_type) = content_type {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        Params::read(request).await
    }

    fn id_and_token(params: &Params) -> (Option<String>, Option<String>) {
        (params.text("id").unwrap(), params.text("token").unwrap())
    }

    const MULTIPART: &str = "multipart/form-data; boundary=b";

    #[tokio::test]
    async fn every_way_to_send_parameters_reads_alike() {
        let multipart = b"--b\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\na/ \xc3\xa9\r\n--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n1\r\n--b--\r\n";
        let json = "{\"id\":\"a/ é\",\"token\":1}".as_bytes();
        for (query, content_type, body) in [
            ("?id=a%2F+%C3%A9&token=1", None, &b""[..]),
            ("", Some(FORM), b"id=a/%20%C3%A9&token=1"),
            (
                "",
                Some("Application/X-WWW-Form-Urlencoded; charset=utf-8"),
                b"&id=a/+%C3%A9&&token=1&",
            ),
            ("", None, b"id=a/+%C3%A9&token=1"),
            ("", Some("application/json"), json),
            ("", Some("application/json; charset=utf-8"), json),
            ("", Some(FORM), json),
            ("", None, json),
            ("", Some(MULTIPART), multipart),
            ("?token=1", Some(FORM), b"id=a/+%C3%A9"),
            ("?token=1", Some(FORM), b"id=a/+%C3%A9&token=1"),
        ] {
            let params = read(query, content_type, body).await.unwrap();
            let expected = (Some("a/ é".to_owned()), Some("1".to_owned()));
            assert_eq!(id_and_token(&params), expected, "{query} {content_type:?}");
        }
    }

    #[tokio::test]
    async fn nothing_sent_is_nothing_read_whatever_its_type() {
        for content_type in [
            None,
            Some(FORM),
            Some("application/json"),
            Some("text/plain"),
        ] {
            assert_eq!(
                read("", content_type, b"").await.unwrap(),
                Params::default()
            );
        }
    }

    #[tokio::test]
    async fn bad_bodies_are_refused_with_their_reason() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        let large = vec![b'a'; BODY_BYTES_MAX + 1];
        for (content_type, body, reason) in [
            (Some("application/json"), &b"{"[..], Reason::InvalidArgument),
            (Some("application/json"), b"[1]", Reason::InvalidArgument),
            (
                Some("application/json"),
                b"{\"a\":1e999}",
                Reason::InvalidArgument,
            ),
            (
                Some("application/json"),
                b"{\"a\":NaN}",
                Reason::InvalidArgument,
            ),
            (
                Some("application/json"),
                b"{\"a\":\"\xff\"}",
                Reason::InvalidArgument,
            ),
            (
                Some("application/json"),
                deep.as_bytes(),
                Reason::InvalidArgument,
            ),
            (Some(FORM), b"id=%ff", Reason::InvalidArgument),
            (Some(FORM), b"%ff=1", Reason::InvalidArgument),
            (Some(FORM), b"id=1&id=2", Reason::InvalidArgument),
            (Some(MULTIPART), b"--c\r\n", Reason::InvalidArgument),
            (
                Some("multipart/form-data"),
                b"--b--",
                Reason::InvalidArgument,
            ),
            (Some(FORM), &large, Reason::BodyTooLarge),
            (Some("text/plain"), b"x", Reason::UnsupportedMediaType),
            (Some(""), b"x", Reason::UnsupportedMediaType),
        ] {
            let refused = read("", content_type, body).await.unwrap_err();
            assert_eq!(refused.reason, reason, "{content_type:?} {refused:?}");
        }
        let twice = read("?id=1", Some(FORM), b"id=2").await.unwrap_err();
        assert_eq!(twice.field.as_deref(), Some("id"));
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code)]
        owner: Option<String>,
        #[allow(dead_code)]
        wait: Option<super::super::fields::Span>,
    }

    #[tokio::test]
    async fn a_bad_field_is_named() {
        for (json, field) in [
            ("{\"nonsense\":1}", "nonsense"),
            ("{\"owner\":1}", "owner"),
            ("{\"wait\":\"1M\"}", "wait"),
        ] {
            let params = read("", Some("application/json"), json.as_bytes())
                .await
                .unwrap();
            let refused = params.into_request::<Sample>().unwrap_err();
            assert_eq!(refused.field.as_deref(), Some(field));
            assert!(refused.message.contains(field), "{}", refused.message);
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            kind in 0_usize..4,
        ) {
            let content_type = [None, Some(FORM), Some("application/json"), Some(MULTIPART)][kind];
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read("", content_type, &body));
        }
    }
}
