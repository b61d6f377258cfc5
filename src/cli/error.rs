//! What went wrong, as the command line tells it: one sentence, a stable reason, an exit code.
//!
//! The reasons are those of [`crate::api::error`]; only the exit codes are chosen here.

use std::collections::HashMap;
use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::api::Reason;
use crate::core::Invalid;
use crate::proto::v1::CallError;

/// What the exit code of a client command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The answer is no, or the server refused for a reason without a code of its own.
    No = 1,
    /// A value can't be read or is out of its bounds.
    BadValue = 64,
    /// The server can't be reached, or can't serve now.
    Unavailable = 69,
    /// A defect, here or in the server.
    Internal = 70,
    /// The answer could not be written.
    Output = 74,
    /// The lock could not be had, the ticket's turn did not come, or no item came, in time.
    NotAcquired = 75,
    /// The lock was lost while the command of `holdfast run` ran.
    Lost = 76,
    /// The API token is missing, unknown or not good for this.
    Denied = 77,
    /// The command of `holdfast run` can't be run.
    NotRunnable = 126,
    /// The command of `holdfast run` can't be found.
    NotFound = 127,
    /// Ended by Ctrl-C.
    Interrupted = 130,
    /// Ended by a request to terminate.
    Terminated = 143,
}

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "Exit codes:
  0    done
  1    `lock check` says no; the server refused for another reason
  2    the command line can't be read
  64   a value can't be read or is out of its bounds
  69   the server can't be reached, or can't serve now
  70   a defect, here or in the server
  74   the answer could not be written
  75   the lock could not be had: it is held, or was not granted in time; the ticket's turn did not
       come in time; the queue had no item
  77   the API token is missing, unknown or not good for this
  130  interrupted while waiting (143: terminated)";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct CliError {
    /// The stable word.
    pub reason: Reason,
    /// The exit code.
    pub exit: Exit,
    message: String,
    field: Option<String>,
    holder: Option<Box<Holder>>,
    /// The revision of a value that has another than was expected.
    revision: Option<String>,
    silent: bool,
}

/// The first holder of a lock that could not be had, as a status tells it.
#[derive(Debug, Serialize)]
struct Holder {
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    fencing_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
}

impl Holder {
    fn from_details(about: &HashMap<String, String>) -> Option<Holder> {
        let seconds = |text: &String| text.strip_suffix('s')?.parse().ok();
        Some(Holder {
            owner: about.get("owner").cloned(),
            fencing_token: about.get("fencing_token")?.clone(),
            expires_in: about.get("expires_in").and_then(seconds),
        })
    }
}

impl CliError {
    /// With the exit code that goes with the reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> CliError {
        CliError {
            reason,
            exit: exit_of(reason),
            message: message.into(),
            field: None,
            holder: None,
            revision: None,
            silent: false,
        }
    }

    /// The answer could not be written to standard output. A reader that has gone away, as behind
    /// `| head`, needs no telling.
    pub fn output(error: &std::io::Error) -> CliError {
        CliError {
            exit: Exit::Output,
            silent: error.kind() == std::io::ErrorKind::BrokenPipe,
            ..CliError::new(
                Reason::Internal,
                format!("cannot write the answer: {error}"),
            )
        }
    }

    /// A signal ended the command.
    pub fn interrupted(exit: Exit, message: impl Into<String>) -> CliError {
        CliError {
            exit,
            ..CliError::new(Reason::Cancelled, message)
        }
    }

    /// Whether nobody is to be told.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// What the server at `addr` answered, or what became of the connection to it.
    pub fn from_status(addr: &str, status: &Status) -> CliError {
        // Only a failure on this side of the wire has a source.
        if let Some(source) = std::error::Error::source(status) {
            let cause = root_cause(source);
            let message = format!("the connection to {addr} failed: {cause}");
            return CliError::new(Reason::Unavailable, message);
        }
        let details = status.get_error_details();
        let named = details.error_info().and_then(|info| {
            let reason = Reason::ALL.iter().find(|r| r.as_str() == info.reason)?;
            Some((*reason, &info.metadata))
        });
        let Some((reason, about)) = named else {
            let message = format!(
                "{addr} did not answer as Holdfast does: {}",
                status.message()
            );
            return CliError::new(reason_of(status.code()), message);
        };
        CliError {
            field: about.get("field").cloned(),
            holder: Holder::from_details(about).map(Box::new),
            revision: about.get("revision").cloned(),
            ..CliError::new(reason, status.message())
        }
    }

    /// What became of one of many calls on a stream.
    pub fn from_call(error: CallError) -> CliError {
        let reason = Reason::ALL.iter().find(|r| r.as_str() == error.reason);
        CliError {
            field: Some(error.field).filter(|field| !field.is_empty()),
            ..CliError::new(reason.copied().unwrap_or(Reason::Internal), error.message)
        }
    }

    /// What the Rust client says.
    pub fn from_client(error: holdfast_client::Error) -> CliError {
        use holdfast_client::Error as Failed;
        let details = error.details();
        let named = Reason::ALL.iter().find(|r| r.as_str() == details.reason);
        let reason = named.copied().unwrap_or(match &error {
            Failed::Held(_) => Reason::LockHeld,
            Failed::WaitTimedOut(_) => Reason::WaitTimedOut,
            Failed::Unavailable(_) => Reason::Unavailable,
            Failed::Unauthenticated(_) => Reason::Unauthenticated,
            Failed::PermissionDenied(_) => Reason::PermissionDenied,
            Failed::Invalid { .. } => Reason::InvalidArgument,
            _ => Reason::Internal,
        });
        let message = details.message.clone();
        CliError {
            field: match error {
                Failed::Invalid { field, .. } => Some(field).filter(|field| !field.is_empty()),
                _ => None,
            },
            ..CliError::new(reason, message)
        }
    }

    /// With another exit code.
    pub fn with_exit(self, exit: Exit) -> CliError {
        CliError { exit, ..self }
    }

    /// When the call may be tried again; `None`: it would not help, or come after `until`.
    pub fn retry_at(&self, until: Option<Instant>) -> Option<Instant> {
        let at = Instant::now().checked_add(self.reason.retry_after()?)?;
        until.is_none_or(|until| at < until).then_some(at)
    }

    /// Says in front where it happened.
    pub fn at(mut self, place: &str) -> CliError {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Says more behind.
    pub fn adding(mut self, more: &str) -> CliError {
        self.message.push_str(more);
        self
    }

    /// Adds that nobody knows whether the call was done.
    pub fn of_unknown_outcome(self) -> CliError {
        self.adding("; whether the call was done is not known")
    }

    /// The error as JSON, in the shape of the REST API's errors.
    pub fn to_json(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Body<'a> {
            code: u16,
            reason: &'static str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            holders: Option<[&'a Holder; 1]>,
            #[serde(skip_serializing_if = "Option::is_none")]
            current: Option<serde_json::Value>,
        }
        serde_json::json!({ "error": Body {
            code: self.reason.http_status().as_u16(),
            reason: self.reason.as_str(),
            message: &self.message,
            field: self.field.as_deref(),
            holders: self.holder.as_ref().map(|holder| [&**holder]),
            current: self
                .revision
                .as_ref()
                .map(|revision| serde_json::json!({ "revision": revision })),
        }})
    }
}

impl From<Invalid> for CliError {
    fn from(invalid: Invalid) -> CliError {
        CliError {
            field: Some(invalid.field.to_owned()),
            ..CliError::new(Reason::InvalidArgument, invalid.to_string())
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.reason.as_str())
    }
}

fn exit_of(reason: Reason) -> Exit {
    match (reason, reason.grpc_code()) {
        (Reason::LockHeld | Reason::WaitTimedOut | Reason::TurnTimedOut, _) => Exit::NotAcquired,
        (_, Code::InvalidArgument) => Exit::BadValue,
        (_, Code::Unavailable) => Exit::Unavailable,
        (_, Code::Unauthenticated | Code::PermissionDenied) => Exit::Denied,
        (_, Code::Internal | Code::Unimplemented) => Exit::Internal,
        _ => Exit::No,
    }
}

/// The reason for a status that names none: it comes from something between here and the server,
/// or from what is no Holdfast server.
fn reason_of(code: Code) -> Reason {
    Reason::ALL
        .iter()
        .copied()
        .find(|reason| {
            reason.grpc_code() == code && !matches!(code, Code::NotFound | Code::FailedPrecondition)
        })
        .unwrap_or(Reason::Internal)
}

/// The innermost of a chain of errors, which names the cause.
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(cause) = super::tls::cause(error) {
        return cause;
    }
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<std::io::Error>() {
        Some(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        _ => cause.to_string(),
    }
}
