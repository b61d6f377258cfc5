//! What callers of every surface may say of FIFOs and tickets.

use std::time::Duration;

use crate::core::limits::{
    ACCEPT_TIMEOUT_DEFAULT, DONE_TIMEOUT_DEFAULT, FIFO_DESTROY_AFTER_DEFAULT, WAIT_TIMEOUT_DEFAULT,
};
use crate::core::{
    FifoId, FifoSettings, Invalid, TicketId, TicketOverrides, TicketTimeouts, check_concurrency,
    check_timeout,
};

/// Timeouts before they are checked. `None`: left out; zero: no end.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeoutsInput {
    /// How long one call waits for a turn.
    pub wait: Option<Duration>,
    /// How long a turn waits to be accepted.
    pub accept: Option<Duration>,
    /// How long the work may take.
    pub done: Option<Duration>,
}

/// What the three timeouts are called where something is wrong with one.
pub struct TimeoutFields {
    /// How long one call waits for a turn.
    pub wait: &'static str,
    /// How long a turn waits to be accepted.
    pub accept: &'static str,
    /// How long the work may take.
    pub done: &'static str,
}

impl TimeoutsInput {
    /// Checks those that were given.
    pub fn check(self, fields: &TimeoutFields) -> Result<TicketOverrides, Invalid> {
        Ok(TicketOverrides {
            wait: timeout(fields.wait, self.wait)?,
            accept: timeout(fields.accept, self.accept)?,
            done: timeout(fields.done, self.done)?,
        })
    }
}

/// A FIFO before it is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct FifoInput {
    /// How long its tickets may take.
    pub timeouts: TimeoutsInput,
    /// `None`: left out; zero: never.
    pub unused_destroy_timeout: Option<Duration>,
    /// Whether a ticket may have timeouts of its own.
    pub allow_overrides: bool,
    /// 0: one at a time.
    pub concurrency: u32,
}

impl FifoInput {
    /// Checks everything, and puts defaults in place of what was left out.
    pub fn check(self, fields: &TimeoutFields) -> Result<FifoSettings, Invalid> {
        let given = self.timeouts.check(fields)?;
        let unused = timeout("unused_destroy_timeout", self.unused_destroy_timeout)?;
        Ok(FifoSettings {
            timeouts: TicketTimeouts {
                wait: given.wait.unwrap_or(Some(WAIT_TIMEOUT_DEFAULT)),
                accept: given.accept.unwrap_or(Some(ACCEPT_TIMEOUT_DEFAULT)),
                done: given.done.unwrap_or(Some(DONE_TIMEOUT_DEFAULT)),
            },
            unused_destroy_timeout: unused.unwrap_or(Some(FIFO_DESTROY_AFTER_DEFAULT)),
            allow_overrides: self.allow_overrides,
            concurrency: check_concurrency(self.concurrency)?,
        })
    }
}

/// Checks a timeout that may be left out; zero stands for no end.
fn timeout(
    field: &'static str,
    span: Option<Duration>,
) -> Result<Option<Option<Duration>>, Invalid> {
    Ok(match span {
        None => None,
        Some(Duration::ZERO) => Some(None),
        Some(span) => Some(Some(check_timeout(field, span)?)),
    })
}

/// Reads the id of a new FIFO, and says whether it was made here because none was given.
pub fn new_fifo_id(text: &str) -> Result<(FifoId, bool), Invalid> {
    if text.is_empty() {
        let id = uuid::Uuid::new_v4().to_string();
        return Ok((FifoId::new(&id)?, true));
    }
    Ok((FifoId::new(text)?, false))
}

/// Reads the id of a ticket: a UUID in any of its usual forms.
pub fn ticket_id(text: &str) -> Result<TicketId, Invalid> {
    text.parse::<uuid::Uuid>()
        .map(|id| TicketId(id.as_u128()))
        .map_err(|_| Invalid::new("ticket", "must be a UUID, as CreateTicket answers it"))
}

/// A fresh id of a ticket.
pub fn fresh_ticket_id() -> TicketId {
    TicketId(uuid::Uuid::new_v4().as_u128())
}
