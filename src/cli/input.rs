//! What callers give on the command line: durations, metadata, secrets, and who they are.
//!
//! Bounds are the server's to check; here is checked only what can't be put into a message.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Read};
use std::os::unix::process::parent_id;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::error::CliError;
use crate::api::http::duration::parse_duration;
use crate::core::Invalid;
use crate::core::limits::VALUE_BYTES_MAX;

/// A grant token or lease id on standard input is longer than this only by mistake.
const STDIN_SECRET_BYTES_MAX: u64 = 4096;

/// Keeps a secret of the command line from being printed.
pub fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}

/// Reads a secret: all of `input` without the line break at its end.
pub fn read_secret(input: impl Read, bytes_max: u64) -> io::Result<SecretString> {
    let mut text = String::new();
    let read = input.take(bytes_max + 1).read_to_string(&mut text)?;
    if read as u64 > bytes_max {
        return Err(io::Error::other(format!(
            "it has more than {bytes_max} bytes"
        )));
    }
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(text.into())
}

/// The secret that an argument gives: itself, or what stands on standard input where it is `-`.
pub fn secret_or_stdin(field: &'static str, argument: &SecretString) -> Result<String, CliError> {
    if argument.expose_secret() != "-" {
        return Ok(argument.expose_secret().to_owned());
    }
    let read = read_secret(io::stdin().lock(), STDIN_SECRET_BYTES_MAX)
        .map_err(|error| Invalid::new(field, format!("cannot be read from stdin: {error}")))?;
    Ok(read.expose_secret().to_owned())
}

/// Reads a value, and little of what lies behind the largest one.
pub fn read_value(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = VALUE_BYTES_MAX as u64 + 1;
    input.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks what was read as a value: it must not be sent in vain, and what lies behind the bound was
/// never read.
pub fn value(read: Result<Vec<u8>, String>) -> Result<Vec<u8>, CliError> {
    let bytes = read.map_err(|expected| Invalid::new("value", expected))?;
    if bytes.len() > VALUE_BYTES_MAX {
        let expected = format!("must have at most {VALUE_BYTES_MAX} bytes, has more");
        return Err(Invalid::new("value", expected).into());
    }
    Ok(bytes)
}

/// The value that an argument gives: itself, or what stands on standard input where it is `-` or
/// missing.
pub fn value_or_stdin(argument: Option<String>) -> Result<Vec<u8>, CliError> {
    value(match argument {
        Some(text) if text != "-" => Ok(text.into_bytes()),
        _ => read_value(io::stdin().lock())
            .map_err(|error| format!("cannot be read from stdin: {error}")),
    })
}

/// Reads a duration such as `30s`, `1h45m`, `1.5h`, `300ms`, `2d` or `0`.
pub fn duration(field: &'static str, text: &str) -> Result<Duration, CliError> {
    parse_duration(text).map_err(|error| {
        let expected = format!("{error}, is {text:?}");
        Invalid::new(field, expected).into()
    })
}

/// The same for a message.
pub fn proto_duration(field: &'static str, text: &str) -> Result<prost_types::Duration, CliError> {
    to_proto(field, duration(field, text)?)
}

/// How long to stand in line.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// So long.
    For(Duration),
    /// However long it takes.
    Forever,
}

impl Wait {
    /// When it is over, for who begins now; `None`: never.
    pub fn until(self) -> Option<Instant> {
        match self {
            Wait::For(span) => Instant::now().checked_add(span),
            Wait::Forever => None,
        }
    }
}

/// Reads how long to stand in line: a duration, or `forever`.
pub fn wait(text: &str) -> Result<Wait, CliError> {
    match text {
        "forever" => Ok(Wait::Forever),
        text => duration("wait", text).map(Wait::For),
    }
}

/// Puts a duration into a message.
pub fn to_proto(field: &'static str, span: Duration) -> Result<prost_types::Duration, CliError> {
    span.try_into()
        .map_err(|_| Invalid::new(field, format!("is too long: {span:?}")).into())
}

/// Reads `KEY=VALUE` pairs.
pub fn metadata(pairs: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut metadata = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Invalid::new("metadata", format!("must be KEY=VALUE, is {pair:?}")))?;
        if metadata.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Invalid::new("metadata", format!("has the key {key:?} twice")).into());
        }
    }
    Ok(metadata)
}

/// Who asks, for people to read: `user@host:pid`. The process is this one's parent, the script or
/// shell that goes on holding when this one has ended.
pub fn default_owner() -> String {
    user_at_host(parent_id())
}

/// `user@host:pid`.
pub fn user_at_host(pid: u32) -> String {
    let user = whoami::username().unwrap_or_else(|_| "unknown".to_owned());
    let host = whoami::hostname().unwrap_or_else(|_| "unknown".to_owned());
    let owner = format!("{user}@{host}:{pid}");
    owner.chars().filter(|c| !c.is_control()).collect()
}
