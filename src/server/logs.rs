//! Structured logs on stderr, as text or JSON.
//!
//! No secret is ever logged: API tokens and grant tokens never reach a log statement, and the types
//! that hold them don't print them.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{fmt, registry};

use super::StartError;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// What is logged when nothing else is said.
const DEFAULT_FILTER: &str = "info";

/// Starts logging for this process. The filter is a level, or levels of targets as [`Targets`] reads
/// them.
///
/// # Errors
/// [`StartError::Setting`] when the filter can't be read.
pub fn start(filter: Option<&str>, format: LogFormat) -> Result<(), StartError> {
    let filter: Targets = filter.unwrap_or(DEFAULT_FILTER).parse().map_err(|error| {
        StartError::Setting {
            name: "log",
            expected: format!(
                "must be a level (error, warn, info, debug, trace) or a filter such as info,holdfast=debug ({error})"
            ),
        }
    })?;
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Fails only where logging was started before, and then it goes on as it was.
    let _ = registry().with(filter).with(lines).try_init();
    // A defect is logged like everything else, and by its place alone: its message may hold anything.
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(place) => tracing::error!(%place, "the server has a defect (panic)"),
        None => tracing::error!("the server has a defect (panic)"),
    }));
    Ok(())
}
