//! FIFOs and tickets as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::view::{rfc3339, seconds};
use crate::api::openapi::{
    DecimalText, FifoIdText, MomentText, SecondsNumber, TicketIdText, TicketStateWord,
};
use crate::core::{FifoView, TicketState, TicketTimeouts, TicketView};

/// How long a ticket may take, in seconds; what has no end is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = Timeouts)]
pub struct TimeoutsJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    pub(crate) wait_timeout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    pub(crate) accept_timeout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    pub(crate) done_timeout: Option<f64>,
}

impl From<TicketTimeouts> for TimeoutsJson {
    fn from(timeouts: TicketTimeouts) -> TimeoutsJson {
        TimeoutsJson {
            wait_timeout: timeouts.wait.map(seconds),
            accept_timeout: timeouts.accept.map(seconds),
            done_timeout: timeouts.done.map(seconds),
        }
    }
}

/// A ticket's state as a word.
pub fn state_word(state: TicketState) -> &'static str {
    match state {
        TicketState::Waiting => "WAITING",
        TicketState::Notified => "NOTIFIED",
        TicketState::Accepted => "ACCEPTED",
        TicketState::Lapsed => "LAPSED",
    }
}

/// A ticket as it stands.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Ticket)]
pub struct TicketJson {
    #[schema(value_type = FifoIdText)]
    pub(crate) fifo: String,
    /// It proves the right to the ticket: of other people's tickets only the role admin sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TicketIdText)]
    pub(crate) id: Option<String>,
    /// Tickets have their turns in the order of their numbers.
    #[schema(value_type = DecimalText)]
    pub(crate) number: String,
    #[schema(value_type = TicketStateWord)]
    pub(crate) state: &'static str,
    /// Its place in line, counted from 1; 0: it does not stand in line any more.
    pub(crate) position: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    pub(crate) time_to_go: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    pub(crate) lapses_in: Option<f64>,
    #[serde(flatten)]
    pub(crate) timeouts: TimeoutsJson,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) owner: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[schema(value_type = MomentText)]
    pub(crate) create_time: String,
    #[schema(value_type = MomentText)]
    pub(crate) state_time: String,
    /// What calls back when it is its turn, until that is over. Seen by whom the id is seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook: Option<String>,
}

impl From<&TicketView> for TicketJson {
    fn from(view: &TicketView) -> TicketJson {
        let about = view.about.as_deref();
        TicketJson {
            fifo: view.fifo.to_string(),
            id: Some(view.id.to_string()),
            number: view.number.to_string(),
            state: state_word(view.state),
            position: view.position,
            time_to_go: view.time_to_go.map(seconds),
            lapses_in: view.lapses_in.map(seconds),
            timeouts: view.timeouts.into(),
            owner: about
                .map(|about| about.owner().to_owned())
                .unwrap_or_default(),
            metadata: about
                .map(|about| about.metadata().clone())
                .unwrap_or_default(),
            create_time: rfc3339(view.created_at),
            state_time: rfc3339(view.since),
            webhook: view.webhook.map(|id| id.to_string()),
        }
    }
}

impl TicketJson {
    /// A ticket that may be another's: its id, and its webhook's, only where `shows_ids`.
    pub fn of_others(view: &TicketView, shows_ids: bool) -> TicketJson {
        let mut ticket = TicketJson::from(view);
        ticket.id = ticket.id.filter(|_| shows_ids);
        ticket.webhook = ticket.webhook.filter(|_| shows_ids);
        ticket
    }
}

/// A FIFO as it stands.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Fifo)]
pub struct FifoJson {
    #[schema(value_type = FifoIdText)]
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) timeouts: TimeoutsJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    pub(crate) unused_destroy_timeout: Option<f64>,
    pub(crate) allow_overrides: bool,
    pub(crate) concurrency: u32,
    #[schema(value_type = MomentText)]
    pub(crate) create_time: String,
    pub(crate) serving_count: usize,
    pub(crate) waiting_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    pub(crate) mean_turn: Option<f64>,
    /// The line; left out in a listing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tickets: Option<Vec<TicketJson>>,
}

impl From<&FifoView> for FifoJson {
    /// Without the line.
    fn from(view: &FifoView) -> FifoJson {
        let unused: Option<Duration> = view.settings.unused_destroy_timeout;
        FifoJson {
            id: view.id.to_string(),
            timeouts: view.settings.timeouts.into(),
            unused_destroy_timeout: unused.map(seconds),
            allow_overrides: view.settings.allow_overrides,
            concurrency: view.settings.concurrency,
            create_time: rfc3339(view.created_at),
            serving_count: view.serving_count,
            waiting_count: view.waiting_count,
            mean_turn: view.mean_turn.map(seconds),
            tickets: None,
        }
    }
}

impl FifoJson {
    /// With the line: the tickets' ids only where `shows_ids`.
    pub fn with_line(view: &FifoView, shows_ids: bool) -> FifoJson {
        let tickets = view.tickets.iter();
        let tickets = tickets.map(|ticket| TicketJson::of_others(ticket, shows_ids));
        FifoJson {
            tickets: Some(tickets.collect()),
            ..FifoJson::from(view)
        }
    }
}
