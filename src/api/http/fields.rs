//! Field types that read alike from JSON, where numbers are numbers, and from forms and queries,
//! where everything is text.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::duration::{duration_from_seconds, parse_duration};
use crate::api::webhook::CallbackInput;
use crate::core::limits::DELIVERIES_MAX_MAX;
use crate::core::{CallbackShape, Mode, Part};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A span of time: text such as `30s`, or a JSON number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A TTL: a span, or `none` for no expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// No expiry.
    None,
    /// So long without a renewal.
    Span(Duration),
}

/// A whole number, 0 to 4,294,967,295.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

/// True or false: a JSON boolean, or its text; `1`, `t`, `0` and `f` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

/// A fencing token: a decimal number of at least 1, as text so that no reader rounds it, or as a
/// JSON number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencingToken(pub u64);

/// A revision of a value: a decimal number, as text so that no reader rounds it, or as a JSON number;
/// 0 stands for no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(pub u64);

/// How many deliveries an item may have: a whole number of at least 1, or `none` for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliveries(pub Option<u32>);

/// `ready`, `delivered` or `dead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartWord(pub Part);

/// Bytes in standard base64, with or without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

/// `EXCLUSIVE` or `SHARED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeWord(pub Mode);

/// Texts by key: a JSON object, or, in a form, the text of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub BTreeMap<String, String>);

/// Whom to call when a turn comes: a JSON object, or, in a form, the text of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Where to post.
    pub url: String,
    /// What to sign with; empty: the namespace's own secret.
    pub secret: String,
    /// How long the receiver has to take its turn.
    pub accept_timeout: Option<Duration>,
}

impl From<Callback> for CallbackInput {
    fn from(callback: Callback) -> CallbackInput {
        CallbackInput {
            url: callback.url,
            secret: callback.secret,
            accept_timeout: callback.accept_timeout,
            shape: CallbackShape::Native,
        }
    }
}

/// Reads a span.
///
/// # Errors
/// What is expected, as the rest of a sentence that begins with the field's name.
pub fn read_span(value: &Value) -> Result<Duration, String> {
    let span = match value {
        Value::String(text) => parse_duration(text),
        Value::Number(number) => number
            .as_f64()
            .ok_or_else(|| "must be a number of seconds that can be read".to_owned())
            .map(duration_from_seconds)?,
        _ => return Err("must be a duration such as \"30s\", or a number of seconds".to_owned()),
    };
    span.map_err(|error| error.to_string())
}

/// Reads a TTL; errors as [`read_span`].
pub fn read_ttl(value: &Value) -> Result<Ttl, String> {
    if value.as_str() == Some("none") {
        return Ok(Ttl::None);
    }
    read_span(value).map(Ttl::Span)
}

fn read_count(value: &Value) -> Result<u32, String> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
        Value::String(text) => parse_digits(text),
        _ => None,
    }
    .ok_or_else(|| "must be a whole number, 0 to 4294967295".to_owned())
}

fn read_deliveries(value: &Value) -> Result<Option<u32>, String> {
    if value.as_str() == Some("none") {
        return Ok(None);
    }
    let number = read_count(value).ok().filter(|number| *number > 0);
    let expected = || format!("must be `none`, or a whole number, 1 to {DELIVERIES_MAX_MAX}");
    number.map(Some).ok_or_else(expected)
}

fn read_part(value: &Value) -> Result<Part, String> {
    match value.as_str() {
        Some("ready") => Ok(Part::Ready),
        Some("delivered") => Ok(Part::Delivered),
        Some("dead") => Ok(Part::Dead),
        _ => Err("must be ready, delivered or dead".to_owned()),
    }
}

/// Reads a flag; errors as [`read_span`].
pub fn read_flag(value: &Value) -> Result<bool, String> {
    let text = match value {
        Value::Bool(flag) => return Ok(*flag),
        Value::String(text) => text.to_ascii_lowercase(),
        _ => String::new(),
    };
    match text.as_str() {
        "true" | "t" | "1" => Ok(true),
        "false" | "f" | "0" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

fn read_fencing_token(value: &Value) -> Result<u64, String> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => parse_digits(text),
        _ => None,
    }
    .filter(|token| *token > 0)
    .ok_or_else(|| "must be a decimal number, at least 1 and of 64 bits".to_owned())
}

fn read_revision(value: &Value) -> Result<u64, String> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => parse_digits(text),
        _ => None,
    }
    .ok_or_else(|| "must be a decimal number of 64 bits".to_owned())
}

fn read_base64(value: &Value) -> Result<Vec<u8>, String> {
    let bytes = value.as_str().and_then(|text| BASE64.decode(text).ok());
    bytes.ok_or_else(|| "must be text in standard base64".to_owned())
}

/// Reads digits and nothing else: `parse` alone would take a sign.
fn parse_digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn read_mode(value: &Value) -> Result<Mode, String> {
    match value.as_str() {
        Some(word) if word.eq_ignore_ascii_case("EXCLUSIVE") => Ok(Mode::Exclusive),
        Some(word) if word.eq_ignore_ascii_case("SHARED") => Ok(Mode::Shared),
        _ => Err("must be EXCLUSIVE or SHARED".to_owned()),
    }
}

fn read_metadata(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let expected = || "must be an object whose values are text".to_owned();
    match value {
        Value::String(text) => serde_json::from_str(text).map_err(|_| expected()),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .ok_or_else(expected),
        _ => Err(expected()),
    }
}

fn read_callback(value: &Value) -> Result<Callback, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Object {
        url: String,
        #[serde(default)]
        secret: String,
        accept_timeout: Option<Span>,
    }
    let read = match value {
        Value::String(text) => serde_json::from_str(text),
        Value::Object(_) => Object::deserialize(value),
        _ => return Err("must be an object with a url".to_owned()),
    };
    let object = read.map_err(|error| format!("must be an object with a url: {error}"))?;
    Ok(Callback {
        url: object.url,
        secret: object.secret,
        accept_timeout: object.accept_timeout.map(|span| span.0),
    })
}

macro_rules! deserialize_with {
    ($($type:ty, $read:path, $wrap:expr;)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = Value::deserialize(deserializer)?;
                $read(&value).map($wrap).map_err(D::Error::custom)
            }
        }
    )*};
}

deserialize_with! {
    Span, read_span, Span;
    Ttl, read_ttl, std::convert::identity;
    Count, read_count, Count;
    Flag, read_flag, Flag;
    FencingToken, read_fencing_token, FencingToken;
    Revision, read_revision, Revision;
    Deliveries, read_deliveries, Deliveries;
    PartWord, read_part, PartWord;
    Base64, read_base64, Base64;
    ModeWord, read_mode, ModeWord;
    Metadata, read_metadata, Metadata;
    Callback, read_callback, std::convert::identity;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn text_and_numbers_read_alike() {
        assert_eq!(read_span(&json!("90s")), Ok(Duration::from_secs(90)));
        assert_eq!(read_span(&json!(90)), Ok(Duration::from_secs(90)));
        assert_eq!(read_span(&json!(0.25)), Ok(Duration::from_millis(250)));
        assert_eq!(read_ttl(&json!("none")), Ok(Ttl::None));
        assert_eq!(read_count(&json!("3")), Ok(3));
        assert_eq!(read_count(&json!(3)), Ok(3));
        for (flag, texts) in [
            (true, ["true", "True", "t", "1"]),
            (false, ["false", "F", "f", "0"]),
        ] {
            assert_eq!(read_flag(&json!(flag)), Ok(flag));
            for text in texts {
                assert_eq!(read_flag(&json!(text)), Ok(flag), "{text}");
            }
        }
        assert_eq!(
            read_fencing_token(&json!("18446744073709551615")),
            Ok(u64::MAX)
        );
        assert_eq!(read_fencing_token(&json!(7)), Ok(7));
        assert_eq!(read_revision(&json!("0")), Ok(0));
        assert_eq!(read_revision(&json!(7)), Ok(7));
        assert_eq!(read_deliveries(&json!("none")), Ok(None));
        assert_eq!(read_deliveries(&json!("3")), Ok(Some(3)));
        assert_eq!(read_deliveries(&json!(3)), Ok(Some(3)));
        assert_eq!(read_part(&json!("dead")), Ok(Part::Dead));
        assert_eq!(read_base64(&json!("/w==")), Ok(vec![255]));
        assert_eq!(read_base64(&json!("/w")), Ok(vec![255]));
        assert_eq!(read_mode(&json!("shared")), Ok(Mode::Shared));
        let metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(read_metadata(&json!({"a": "b"})), Ok(metadata.clone()));
        assert_eq!(read_metadata(&json!("{\"a\":\"b\"}")), Ok(metadata));
        let callback = Callback {
            url: "http://x".to_owned(),
            secret: String::new(),
            accept_timeout: Some(Duration::from_secs(2)),
        };
        let object = json!({"url": "http://x", "accept_timeout": "2s"});
        assert_eq!(
            read_callback(&json!(object.to_string())),
            Ok(callback.clone())
        );
        assert_eq!(read_callback(&object), Ok(callback));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for value in [
            json!("30"),
            json!(-1),
            json!("-1s"),
            json!(true),
            json!(1e300),
            json!([]),
        ] {
            assert!(read_span(&value).is_err(), "{value}");
        }
        for value in [json!("yes"), json!(""), json!(1), json!(null), json!([])] {
            assert!(read_flag(&value).is_err(), "{value}");
        }
        for value in [
            json!(-1),
            json!(1.5),
            json!("+1"),
            json!(""),
            json!(4_294_967_296_u64),
        ] {
            assert!(read_count(&value).is_err(), "{value}");
        }
        for value in [
            json!(0),
            json!("0"),
            json!(""),
            json!("-1"),
            json!("18446744073709551616"),
        ] {
            assert!(read_fencing_token(&value).is_err(), "{value}");
        }
        for value in [json!({"a": 1}), json!("x"), json!([]), json!("{\"a\":1}")] {
            assert!(read_metadata(&value).is_err(), "{value}");
        }
        for value in [
            json!({}),
            json!("http://x"),
            json!([]),
            json!({"url": 1}),
            json!({"url": "http://x", "uri": ""}),
            json!({"url": "http://x", "accept_timeout": "1M"}),
        ] {
            assert!(read_callback(&value).is_err(), "{value}");
        }
        for value in [json!(-1), json!("x"), json!(1.5), json!("+1")] {
            assert!(read_revision(&value).is_err(), "{value}");
        }
        for value in [json!(0), json!("0"), json!(-1), json!("never"), json!(1.5)] {
            assert!(read_deliveries(&value).is_err(), "{value}");
        }
        for value in [json!("READY"), json!(1), json!("")] {
            assert!(read_part(&value).is_err(), "{value}");
        }
        for value in [json!("!"), json!(1), json!("a")] {
            assert!(read_base64(&value).is_err(), "{value}");
        }
        assert!(read_mode(&json!("BOTH")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let value = Value::String(text);
            let _ = read_ttl(&value);
            let _ = read_count(&value);
            let _ = read_fencing_token(&value);
            let _ = read_mode(&value);
            let _ = read_metadata(&value);
            let _ = read_callback(&value);
        }
    }
}
