//! FIFOs and tickets, as JSON with the field names of the REST API, and as text for people.

use std::fmt::{self, Display};

use super::views::seconds;
use crate::api::http::fifo_view::{FifoJson, TicketJson, TimeoutsJson, state_word};
use crate::core::TicketState;
use crate::proto::v1;

fn timeouts_of(timeouts: Option<v1::Timeouts>) -> TimeoutsJson {
    let timeouts = timeouts.unwrap_or_default();
    TimeoutsJson {
        wait_timeout: timeouts.wait.as_ref().map(seconds),
        accept_timeout: timeouts.accept.as_ref().map(seconds),
        done_timeout: timeouts.done.as_ref().map(seconds),
    }
}

fn time(time: Option<prost_types::Timestamp>) -> String {
    time.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// A ticket as the server told it.
pub fn ticket_of(ticket: v1::Ticket) -> TicketJson {
    TicketJson {
        state: match ticket.state() {
            v1::TicketState::Waiting => state_word(TicketState::Waiting),
            v1::TicketState::Notified => state_word(TicketState::Notified),
            v1::TicketState::Accepted => state_word(TicketState::Accepted),
            v1::TicketState::Lapsed => state_word(TicketState::Lapsed),
            v1::TicketState::Unspecified => "UNKNOWN",
        },
        fifo: ticket.fifo,
        id: Some(ticket.id).filter(|id| !id.is_empty()),
        number: ticket.number.to_string(),
        position: ticket.position,
        time_to_go: ticket.time_to_go.as_ref().map(seconds),
        lapses_in: ticket.lapses_in.as_ref().map(seconds),
        timeouts: timeouts_of(ticket.timeouts),
        owner: ticket.owner,
        metadata: ticket.metadata,
        create_time: time(ticket.create_time),
        state_time: time(ticket.state_time),
        webhook: Some(ticket.webhook).filter(|id| !id.is_empty()),
    }
}

/// A FIFO as the server told it, with its line.
pub fn fifo_of(fifo: v1::Fifo) -> FifoJson {
    FifoJson {
        id: fifo.id,
        timeouts: timeouts_of(fifo.timeouts),
        unused_destroy_timeout: fifo.unused_destroy_timeout.as_ref().map(seconds),
        allow_overrides: fifo.allow_overrides,
        concurrency: fifo.concurrency,
        create_time: time(fifo.create_time),
        serving_count: fifo.serving_count as usize,
        waiting_count: fifo.waiting_count as usize,
        mean_turn: fifo.mean_turn.as_ref().map(seconds),
        tickets: Some(fifo.tickets.into_iter().map(ticket_of).collect()),
    }
}

impl Display for TicketJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.state)?;
        if self.position > 0 {
            write!(f, " position={}", self.position)?;
        }
        if let Some(seconds) = self.time_to_go {
            write!(f, " time_to_go={seconds}")?;
        }
        if let Some(seconds) = self.lapses_in {
            write!(f, " lapses_in={seconds}")?;
        }
        write!(f, " since={}", self.state_time)?;
        if !self.owner.is_empty() {
            write!(f, " owner={}", self.owner)?;
        }
        for (key, value) in &self.metadata {
            write!(f, " {key}={value}")?;
        }
        if let Some(webhook) = &self.webhook {
            write!(f, " webhook={webhook}")?;
        }
        match &self.id {
            Some(id) => write!(f, " id={id}"),
            None => Ok(()),
        }
    }
}

impl Display for FifoJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} serving={} waiting={}",
            self.id, self.serving_count, self.waiting_count
        )?;
        if let Some(seconds) = self.mean_turn {
            write!(f, " mean_turn={seconds}")?;
        }
        let shown = self.tickets.as_deref().unwrap_or_default();
        for ticket in shown {
            write!(f, "\n  {ticket}")?;
        }
        let hidden = (self.serving_count + self.waiting_count).saturating_sub(shown.len());
        match hidden {
            hidden if hidden > 0 && !shown.is_empty() => write!(f, "\n  and {hidden} more"),
            _ => Ok(()),
        }
    }
}
