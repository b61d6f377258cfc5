//! What is to be held, and how: the arguments, read and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::owner::default_owner;
use super::{OnLost, RunArgs};
use crate::cli::error::CliError;
use crate::cli::input::{self, Wait};
use crate::core::Invalid;

/// The longest time between TERM and KILL: the server holds a lock back for an hour at most.
const GRACE_MAX: Duration = Duration::from_secs(59 * 60);
/// What KILL may take to do its work.
pub const KILL_MARGIN: Duration = Duration::from_secs(1);

/// What is to be held, and how.
#[derive(Debug)]
pub struct Plan {
    /// What is to be held.
    pub what: What,
    /// How long it stays held without a word of this process.
    pub ttl: Duration,
    /// How long to wait for all of it.
    pub wait: Wait,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The time between TERM and KILL.
    pub grace: Duration,
    /// What becomes of the command when it is lost.
    pub on_lost: OnLost,
    /// Who holds.
    pub owner: String,
    /// What to say of the holder besides.
    pub metadata: BTreeMap<String, String>,
}

/// What is to be held.
#[derive(Debug)]
pub enum What {
    /// Locks, taken in this order: so two that want the same never wait for each other.
    Locks {
        /// Their names.
        names: BTreeSet<String>,
        /// Whether they are held together with others.
        shared: bool,
        /// The most that may hold each; 0: no bound.
        max: u32,
    },
    /// The turn of a ticket of this FIFO.
    Fifo(String),
}

impl Plan {
    /// Reads the arguments.
    ///
    /// # Errors
    /// Names the one that can't be read or is out of its bounds.
    pub fn new(args: &RunArgs) -> Result<Plan, CliError> {
        let grace = input::duration("grace", &args.grace)?;
        if grace > GRACE_MAX {
            let expected = format!("must be 0s to 59m, is {:?}", args.grace);
            return Err(Invalid::new("grace", expected).into());
        }
        Ok(Plan {
            what: match &args.fifo {
                Some(id) => What::Fifo(id.clone()),
                None => What::Locks {
                    names: args.locks.iter().cloned().collect(),
                    shared: args.shared || args.max.is_some(),
                    max: args.max.unwrap_or_default(),
                },
            },
            ttl: input::duration("ttl", &args.ttl)?,
            wait: input::wait(&args.wait)?,
            timeout: input::duration("timeout", &args.connect.timeout)?,
            grace,
            on_lost: args.on_lost,
            owner: args.owner.clone().unwrap_or_else(default_owner),
            metadata: input::metadata(&args.metadata)?,
        })
    }

    /// How long it takes at most, once it is lost, until nothing of the command runs.
    pub fn release_delay(&self) -> Duration {
        match self.on_lost {
            OnLost::Term => self.grace + KILL_MARGIN,
            OnLost::Kill => KILL_MARGIN,
            OnLost::Ignore => Duration::ZERO,
        }
    }
}
