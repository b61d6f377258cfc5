//! Reads webhooks as stored. They come behind what they wait in and what they hold.

use std::sync::Arc;
use std::time::Duration;

use super::{Place, Stage, Turned, Webhook};
use crate::core::command::*;
use crate::core::name::*;
use crate::core::record::{Damage, WebhookStage, WebhookValue, read_id};
use crate::core::state::{LockIx, SpaceIx, State};
use crate::core::time::{Time, WallTime};

impl State {
    pub(in crate::core) fn load_webhook(
        &mut self,
        space: &Namespace,
        number: u64,
        value: WebhookValue,
    ) -> Result<(), Damage> {
        let id = WebhookId(read_id(&value.id)?);
        let target = target(&value).map_err(|invalid| damage(number, invalid))?;
        let space = self.space(space);
        let stage = self
            .stored_stage(space, &target, &value)
            .ok_or_else(|| damage(number, "what it is of is not there"))?;
        let callback = callback(&value).map_err(|invalid| damage(number, invalid))?;
        let index = self.insert_webhook(Webhook {
            space,
            number,
            id,
            callback: Arc::new(callback),
            target,
            stage,
            attempts: value.attempts,
            last_attempt: Attempt {
                status: u16::try_from(value.last_status)
                    .ok()
                    .filter(|status| *status > 0),
                error: value.last_error,
            },
            created_at: WallTime(value.created_at_ms),
            since: WallTime(value.since_ms),
        });
        if let Stage::Waiting(Place::Line(waiter)) = stage {
            self.waiters[waiter].ask.webhook = Some(index);
        }
        if let Some(ticket) = stage.ticket() {
            self.set_ticket_webhook(ticket, Some(index));
        }
        Ok(())
    }

    /// Where a stored webhook stands; `None` where what it waits in or holds is not there.
    fn stored_stage(
        &self,
        space: SpaceIx,
        target: &WebhookTarget,
        value: &WebhookValue,
    ) -> Option<Stage> {
        let ends = (value.ends_nanos > 0).then(|| Time::from_nanos(value.ends_nanos));
        Some(match value.stage() {
            WebhookStage::Waiting => Stage::Waiting(match target {
                WebhookTarget::Lock(lock) => {
                    let line = self.locks[self.stored_lock(space, lock)?].line.as_ref()?;
                    Place::Line(*line.places.get(&value.arrival)?)
                }
                WebhookTarget::Ticket { fifo, ticket } => Place::Ticket(self.ticket_in_state(
                    space,
                    fifo,
                    *ticket,
                    TicketState::Waiting,
                )?),
            }),
            WebhookStage::Due => Stage::Due {
                turn: match target {
                    WebhookTarget::Lock(lock) => {
                        let lock = self.stored_lock(space, lock)?;
                        Turned::Grant(self.grant_by_token(lock, value.fencing_token)?)
                    }
                    WebhookTarget::Ticket { fifo, ticket } => {
                        let state = TicketState::Notified;
                        Turned::Ticket(self.ticket_in_state(space, fifo, *ticket, state)?)
                    }
                },
                number: value.due_number,
                ends,
            },
            over => Stage::Over(over.into(), ends.unwrap_or_default()),
        })
    }

    fn stored_lock(&self, space: SpaceIx, lock: &LockName) -> Option<LockIx> {
        self.space_of(space).locks.get(lock).copied()
    }
}

fn damage(number: u64, what: impl std::fmt::Display) -> Damage {
    Damage(format!("the webhook {number}: {what}"))
}

fn target(value: &WebhookValue) -> Result<WebhookTarget, Invalid> {
    if !value.lock.is_empty() {
        return LockName::new(&value.lock).map(WebhookTarget::Lock);
    }
    let ticket = read_id(&value.ticket).map_err(|error| Invalid::new("ticket", error.0))?;
    Ok(WebhookTarget::Ticket {
        fifo: FifoId::new(&value.fifo)?,
        ticket: TicketId(ticket),
    })
}

fn callback(value: &WebhookValue) -> Result<Callback, Invalid> {
    Ok(Callback {
        url: CallbackUrl::new(&value.url)?,
        secret: match value.secret.is_empty() {
            true => None,
            false => Some(CallbackSecret::new(value.secret.clone())?),
        },
        accept_timeout: Duration::from_nanos(value.accept_timeout_nanos),
        shape: match value.webmutex {
            true => CallbackShape::Webmutex,
            false => CallbackShape::Native,
        },
    })
}
