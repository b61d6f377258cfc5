//! What callers stand in line for, as they are told of it.

use std::fmt::{self, Display};

use serde::Serialize;

/// A lock or a FIFO; in JSON a field that is named after which of the two it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Awaited {
    /// A lock, by its name.
    Lock(String),
    /// A FIFO, by its id.
    Fifo(String),
}

impl Awaited {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Awaited::Lock(name) | Awaited::Fifo(name) => name,
        }
    }
}

/// A server that broke off, and will be asked again.
#[derive(Serialize)]
pub struct Retrying {
    event: &'static str,
    #[serde(flatten)]
    awaited: Awaited,
    message: String,
}

impl Retrying {
    /// The waiting goes on, in spite of this.
    pub fn new(awaited: Awaited, message: String) -> Retrying {
        Retrying {
            event: "retrying",
            awaited,
            message,
        }
    }
}

impl Display for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, message) = (self.awaited.name(), &self.message);
        write!(f, "waiting for {name}: asking again, as {message}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn in_json_a_lock_is_a_field_lock_and_a_fifo_a_field_fifo() {
        for (awaited, json) in [
            (
                Awaited::Lock("a".to_owned()),
                r#"{"event":"retrying","lock":"a","message":"m"}"#,
            ),
            (
                Awaited::Fifo("b".to_owned()),
                r#"{"event":"retrying","fifo":"b","message":"m"}"#,
            ),
        ] {
            let retrying = Retrying::new(awaited, "m".to_owned());
            assert_eq!(serde_json::to_string(&retrying).unwrap(), json);
        }
    }
}
