//! Webhooks: places in line whose turn is told by a call back.
//!
//! Invariant: a webhook comes due in the commit that makes its grant or gives its ticket the turn, and
//! that stands or falls with it: the receiver takes it in time, or it ends and the next one is served,
//! in one commit.
//! Invariant: what is due is posted until it is settled or its time is over, also after a restart,
//! and always under the same id.

mod load;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::core::command::*;
use crate::core::limits::*;
use crate::core::name::{RequestId, WebhookId};
use crate::core::page;
use crate::core::record::{Key, Value, WebhookStage, WebhookValue, nanos};
use crate::core::request::{Done, Kind, Recall};
use crate::core::state::*;
use crate::core::time::{Time, WallTime};
use crate::core::timer::Timer;

/// All webhooks of a shard.
#[derive(Debug, Default)]
pub(in crate::core) struct Webhooks {
    pub(in crate::core) table: Table<WebhookIx, Webhook>,
    pub(in crate::core) by_id: HashMap<WebhookId, WebhookIx, foldhash::fast::RandomState>,
    /// Those that are due, by their due number.
    pub(in crate::core) due: BTreeMap<u64, WebhookIx>,
    /// Those that are due, by their grants.
    pub(in crate::core) by_grant: HashMap<GrantIx, WebhookIx, foldhash::fast::RandomState>,
    /// Who posts what is due.
    pub(in crate::core) follower: Option<CallId>,
}

/// A place in line whose turn is told by a call back.
#[derive(Debug)]
pub(in crate::core) struct Webhook {
    pub(in crate::core) space: SpaceIx,
    pub(in crate::core) number: u64,
    pub(in crate::core) id: WebhookId,
    pub(in crate::core) callback: Arc<Callback>,
    pub(in crate::core) target: WebhookTarget,
    pub(in crate::core) stage: Stage,
    pub(in crate::core) attempts: u32,
    pub(in crate::core) last_attempt: Attempt,
    pub(in crate::core) created_at: WallTime,
    pub(in crate::core) since: WallTime,
}

/// Where a webhook stands.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) enum Stage {
    Waiting(Place),
    Due {
        turn: Turned,
        number: u64,
        /// `None`: the ticket's own end counts.
        ends: Option<Time>,
    },
    Over(WebhookState, Time),
    /// Its place in line is being taken: for the time of one application only.
    New,
}

/// In what a webhook waits.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) enum Place {
    Line(WaiterIx),
    Ticket(TicketIx),
}

/// Whose turn has come.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) enum Turned {
    Grant(GrantIx),
    Ticket(TicketIx),
}

impl Webhook {
    fn state(&self) -> WebhookState {
        match self.stage {
            Stage::New | Stage::Waiting(_) => WebhookState::Waiting,
            Stage::Due { .. } => WebhookState::Due,
            Stage::Over(state, _) => state,
        }
    }

    fn timer(&self) -> Option<Time> {
        match self.stage {
            Stage::New | Stage::Waiting(_) => None,
            Stage::Due { ends, .. } => ends,
            Stage::Over(_, ends) => Some(ends),
        }
    }
}

impl Stage {
    /// The ticket that it waits in, or whose turn it is.
    fn ticket(self) -> Option<TicketIx> {
        match self {
            Stage::Waiting(Place::Ticket(ticket))
            | Stage::Due {
                turn: Turned::Ticket(ticket),
                ..
            } => Some(ticket),
            _ => None,
        }
    }
}

impl State {
    pub(in crate::core) fn webhook(
        &mut self,
        call: CallId,
        space: SpaceIx,
        command: WebhookCommand,
        out: &mut Out,
    ) {
        match command {
            WebhookCommand::Get { id } => match self.find_webhook(space, id) {
                Some(index) => {
                    let view = WebhookAnswer::Webhook(self.view_webhook(index));
                    out.answer(call, Answer::Webhook(view));
                }
                None => out.refuse(call, Refusal::WebhookNotFound(id)),
            },
            WebhookCommand::List { after, limit } => {
                let from = after.map_or(0, |after| after.saturating_add(1));
                let found = self.space_of(space).webhooks.range(from..);
                let (webhooks, more) =
                    page::page(found, limit, |(_, index)| self.view_webhook(*index));
                let answer = WebhookAnswer::Webhooks { webhooks, more };
                out.answer(call, Answer::Webhook(answer));
            }
            WebhookCommand::Cancel { id, request_id } => {
                self.cancel_webhook(call, space, id, request_id, out);
            }
            WebhookCommand::Follow => {
                if let Some(before) = self.webhooks.follower.replace(call) {
                    self.calls.remove(&before);
                }
                self.calls.insert(call, CallRole::WebhookFollower);
                out.effects.push(Effect::WebhooksDue(call));
            }
            WebhookCommand::Due { after, limit } => {
                let due = self.webhooks.due.range(after.saturating_add(1)..);
                let jobs = due
                    .take(limit)
                    .filter_map(|(_, index)| self.webhook_job(*index))
                    .collect();
                out.answer(call, Answer::Webhook(WebhookAnswer::Due(jobs)));
            }
            WebhookCommand::Attempted { id, attempt } => {
                if let Some(index) = self.due_webhook(space, id) {
                    self.note_attempt(index, attempt);
                    self.put_webhook(index, out);
                }
            }
            WebhookCommand::Settled { id, taken, attempt } => {
                if let Some(index) = self.due_webhook(space, id) {
                    self.note_attempt(index, attempt);
                    self.settle_webhook(index, taken, out);
                }
            }
        }
    }

    /// Takes a place in line, or the lock, for a callback, and answers.
    pub(in crate::core) fn subscribe(
        &mut self,
        call: CallId,
        lock: LockIx,
        ask: Ask,
        subscribe: Subscribe,
        wait: Duration,
        out: &mut Out,
    ) {
        let space = self.locks[lock].space;
        if let Err(refusal) = self.has_room_for_webhook(space) {
            self.settle(lock, out);
            return out.refuse(call, refusal);
        }
        let request = ask.request.clone();
        let id = subscribe.id;
        let target = WebhookTarget::Lock(self.locks[lock].name.clone());
        let webhook = self.new_webhook(space, subscribe, target);
        let ask = Ask {
            request: None,
            session: None,
            webhook: Some(webhook),
            ..ask
        };
        if self.must_wait(lock, &ask) {
            match self.take_place(lock, ask, &[], wait, out) {
                Ok((waiter, _)) => self.enter_stage(webhook, Stage::Waiting(Place::Line(waiter))),
                Err(refusal) => {
                    self.remove_webhook(webhook);
                    return out.refuse(call, refusal);
                }
            }
            self.put_webhook(webhook, out);
        } else {
            self.grant(lock, ask, &[], out);
        }
        self.remember(space, request, Done::Subscribed(id), out);
        let answer = WebhookAnswer::Subscribed(id);
        out.answer(call, Answer::Webhook(answer));
    }

    pub(in crate::core) fn has_room_for_webhook(&self, space: SpaceIx) -> Result<(), Refusal> {
        let space = self.space_of(space);
        if space.webhooks.len() - space.webhooks_over.len() >= WEBHOOKS_PER_NAMESPACE_MAX {
            return Err(Refusal::LimitReached {
                what: "webhooks that are not over in one namespace",
                max: WEBHOOKS_PER_NAMESPACE_MAX,
            });
        }
        Ok(())
    }

    /// A webhook whose place in line is about to be taken, without committing it.
    pub(in crate::core) fn new_webhook(
        &mut self,
        space: SpaceIx,
        subscribe: Subscribe,
        target: WebhookTarget,
    ) -> WebhookIx {
        self.last_arrival += 1;
        self.insert_webhook(Webhook {
            space,
            number: self.last_arrival,
            id: subscribe.id,
            callback: subscribe.callback,
            target,
            stage: Stage::New,
            attempts: 0,
            last_attempt: Attempt::default(),
            created_at: self.wall,
            since: self.wall,
        })
    }

    /// A webhook's turn has come: it is to be posted.
    pub(in crate::core) fn webhook_is_due(
        &mut self,
        index: WebhookIx,
        turn: Turned,
        out: &mut Out,
    ) {
        self.last_arrival += 1;
        let number = self.last_arrival;
        let ends = match turn {
            Turned::Grant(_) => Some(self.now + self.webhooks.table[index].callback.accept_timeout),
            Turned::Ticket(_) => None,
        };
        self.enter_stage(index, Stage::Due { turn, number, ends });
        self.put_webhook(index, out);
        if let Some(call) = self.webhooks.follower {
            out.effects.push(Effect::WebhooksDue(call));
        }
    }

    /// Nothing will come of a webhook any more.
    pub(in crate::core) fn webhook_is_over(
        &mut self,
        index: WebhookIx,
        state: WebhookState,
        out: &mut Out,
    ) {
        let stage = self.webhooks.table[index].stage;
        let was_due = matches!(stage, Stage::Due { .. });
        if let Some(ticket) = stage.ticket() {
            self.set_ticket_webhook(ticket, None);
        }
        let forget = self.now + WEBHOOK_OVER_MEMORY;
        self.enter_stage(index, Stage::Over(state, forget));
        self.put_webhook(index, out);
        let webhook = &self.webhooks.table[index];
        if let Some(call) = self.webhooks.follower
            && was_due
        {
            out.effects.push(Effect::WebhookOver(call, webhook.id));
        }
        let space = &self.spaces[usize::from(webhook.space)];
        if space.webhooks_over.len() > WEBHOOKS_OVER_MAX
            && let Some((_, number)) = space.webhooks_over.first()
            && let Some(oldest) = space.webhooks.get(number)
        {
            self.forget_webhook(*oldest, out);
        }
    }

    /// A grant has ended: if its webhook was not taken, that is over.
    pub(in crate::core) fn webhook_grant_ended(
        &mut self,
        grant: GrantIx,
        cause: EndCause,
        out: &mut Out,
    ) {
        if self.webhooks.by_grant.is_empty() {
            return;
        }
        if let Some(index) = self.webhooks.by_grant.get(&grant) {
            self.webhook_is_over(*index, cause.into(), out);
        }
    }

    pub(in crate::core) fn webhook_timer_is_due(&mut self, index: WebhookIx, out: &mut Out) {
        let Some(webhook) = self.webhooks.table.get(index) else {
            return;
        };
        match webhook.stage {
            Stage::Due {
                turn: Turned::Grant(grant),
                ends: Some(ends),
                ..
            } if ends <= self.now => self.end_untaken(grant, EndCause::CallbackTimedOut, out),
            Stage::Over(_, forget) if forget <= self.now => self.forget_webhook(index, out),
            _ => {}
        }
    }

    /// When a grant that its webhook has not taken yet can't end before.
    pub(in crate::core) fn untaken_until(&self, grant: GrantIx) -> Option<Time> {
        let index = self.webhooks.by_grant.get(&grant)?;
        match self.webhooks.table[*index].stage {
            Stage::Due { ends, .. } => ends,
            _ => None,
        }
    }

    fn cancel_webhook(
        &mut self,
        call: CallId,
        space: SpaceIx,
        id: WebhookId,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let request = match self.recall(call, space, request_id, Kind::CancelWebhook, id, out) {
            Recall::New(request) => request,
            Recall::Done(Done::WebhookCancelled) => {
                return out.answer(call, Answer::Webhook(WebhookAnswer::Cancelled));
            }
            _ => return,
        };
        let Some(index) = self.find_webhook(space, id) else {
            return out.refuse(call, Refusal::WebhookNotFound(id));
        };
        let Stage::Waiting(place) = self.webhooks.table[index].stage else {
            return out.refuse(call, Refusal::WebhookNotWaiting(id));
        };
        self.remember(space, request, Done::WebhookCancelled, out);
        out.answer(call, Answer::Webhook(WebhookAnswer::Cancelled));
        match place {
            Place::Line(waiter) => {
                let lock = self.leave_line(waiter, out).lock;
                self.webhook_is_over(index, WebhookState::Cancelled, out);
                self.settle(lock, out);
            }
            Place::Ticket(ticket) => self.give_up_ticket(ticket, out),
        }
    }

    fn settle_webhook(&mut self, index: WebhookIx, taken: bool, out: &mut Out) {
        let Stage::Due { turn, .. } = self.webhooks.table[index].stage else {
            return;
        };
        let grant = match turn {
            Turned::Grant(grant) => grant,
            Turned::Ticket(ticket) => return self.settle_turn(ticket, taken, out),
        };
        if !taken {
            return self.end_untaken(grant, EndCause::CallbackRefused, out);
        }
        self.webhook_is_over(index, WebhookState::Taken, out);
        self.start_anew(grant, out);
    }

    fn end_untaken(&mut self, grant: GrantIx, cause: EndCause, out: &mut Out) {
        let lock = self.grants[grant].lock;
        self.end_grant(grant, cause, None, out);
        self.settle(lock, out);
    }

    fn note_attempt(&mut self, index: WebhookIx, mut attempt: Attempt) {
        let end = attempt.error.floor_char_boundary(ATTEMPT_ERROR_BYTES_MAX);
        attempt.error.truncate(end);
        let webhook = &mut self.webhooks.table[index];
        webhook.attempts = webhook.attempts.saturating_add(1);
        webhook.last_attempt = attempt;
    }

    fn find_webhook(&self, space: SpaceIx, id: WebhookId) -> Option<WebhookIx> {
        let index = *self.webhooks.by_id.get(&id)?;
        (self.webhooks.table[index].space == space).then_some(index)
    }

    fn due_webhook(&self, space: SpaceIx, id: WebhookId) -> Option<WebhookIx> {
        let index = self.find_webhook(space, id)?;
        (self.webhooks.table[index].state() == WebhookState::Due).then_some(index)
    }

    /// Puts a webhook where it belongs, without committing it.
    pub(in crate::core) fn insert_webhook(&mut self, webhook: Webhook) -> WebhookIx {
        let (space, number, id, stage) = (webhook.space, webhook.number, webhook.id, webhook.stage);
        let index = self.webhooks.table.insert(Webhook {
            stage: Stage::New,
            ..webhook
        });
        self.webhooks.by_id.insert(id, index);
        self.space_mut(space).webhooks.insert(number, index);
        self.place_stage(index, stage);
        index
    }

    fn remove_webhook(&mut self, index: WebhookIx) {
        self.unplace_stage(index);
        let webhook = self.webhooks.table.remove(index);
        self.webhooks.by_id.remove(&webhook.id);
        self.space_mut(webhook.space)
            .webhooks
            .remove(&webhook.number);
    }

    fn forget_webhook(&mut self, index: WebhookIx, out: &mut Out) {
        out.delete(self.webhook_key(index));
        self.remove_webhook(index);
    }

    pub(in crate::core) fn enter_stage(&mut self, index: WebhookIx, stage: Stage) {
        self.unplace_stage(index);
        self.webhooks.table[index].since = self.wall;
        self.place_stage(index, stage);
    }

    fn place_stage(&mut self, index: WebhookIx, stage: Stage) {
        let webhook = &mut self.webhooks.table[index];
        webhook.stage = stage;
        let (space, over) = (webhook.space, webhook.number);
        if let Some(at) = webhook.timer() {
            self.timers.set(at, Timer::Webhook(index));
        }
        match stage {
            Stage::New | Stage::Waiting(_) => {}
            Stage::Due { turn, number, .. } => {
                self.webhooks.due.insert(number, index);
                if let Turned::Grant(grant) = turn {
                    self.webhooks.by_grant.insert(grant, index);
                }
            }
            Stage::Over(_, forget) => {
                self.space_mut(space).webhooks_over.insert((forget, over));
            }
        }
    }

    fn unplace_stage(&mut self, index: WebhookIx) {
        let webhook = &self.webhooks.table[index];
        let (space, over, stage) = (webhook.space, webhook.number, webhook.stage);
        if let Some(at) = webhook.timer() {
            self.timers.unset(at, Timer::Webhook(index));
        }
        match stage {
            Stage::New | Stage::Waiting(_) => {}
            Stage::Due { turn, number, .. } => {
                self.webhooks.due.remove(&number);
                if let Turned::Grant(grant) = turn {
                    self.webhooks.by_grant.remove(&grant);
                }
            }
            Stage::Over(_, forget) => {
                self.space_mut(space).webhooks_over.remove(&(forget, over));
            }
        }
    }

    fn webhook_key(&self, index: WebhookIx) -> Key {
        let webhook = &self.webhooks.table[index];
        Key::Webhook(self.space_of(webhook.space).name.clone(), webhook.number)
    }

    pub(in crate::core) fn put_webhook(&self, index: WebhookIx, out: &mut Out) {
        let record = Value::Webhook(self.webhook_value(index));
        out.put(self.webhook_key(index), record);
    }

    /// Every webhook's record.
    pub(in crate::core) fn webhook_records(&self) -> impl Iterator<Item = (Key, Value)> {
        let table = &self.webhooks.table;
        table.iter().map(|(index, _)| {
            (
                self.webhook_key(index),
                Value::Webhook(self.webhook_value(index)),
            )
        })
    }

    fn webhook_value(&self, index: WebhookIx) -> WebhookValue {
        let webhook = &self.webhooks.table[index];
        let callback = &webhook.callback;
        let mut value = WebhookValue {
            id: webhook.id.0.to_be_bytes().to_vec(),
            url: callback.url.to_string(),
            secret: callback
                .secret
                .as_ref()
                .map(|secret| secret.bytes().clone())
                .unwrap_or_default(),
            accept_timeout_nanos: nanos(callback.accept_timeout),
            webmutex: callback.shape == CallbackShape::Webmutex,
            attempts: webhook.attempts,
            last_status: webhook.last_attempt.status.map_or(0, u32::from),
            last_error: webhook.last_attempt.error.clone(),
            created_at_ms: webhook.created_at.0,
            since_ms: webhook.since.0,
            ..WebhookValue::default()
        };
        match &webhook.target {
            WebhookTarget::Lock(lock) => value.lock = lock.to_string(),
            WebhookTarget::Ticket { fifo, ticket } => {
                value.fifo = fifo.to_string();
                value.ticket = ticket.0.to_be_bytes().to_vec();
            }
        }
        let stage = match webhook.stage {
            Stage::New => WebhookStage::Waiting,
            Stage::Waiting(place) => {
                if let Place::Line(waiter) = place {
                    value.arrival = self.waiters[waiter].arrival;
                }
                WebhookStage::Waiting
            }
            Stage::Due { turn, number, ends } => {
                if let Turned::Grant(grant) = turn {
                    value.fencing_token = self.grants[grant].fencing_token;
                }
                value.due_number = number;
                value.ends_nanos = ends.map_or(0, Time::as_nanos);
                WebhookStage::Due
            }
            Stage::Over(state, forget) => {
                value.ends_nanos = forget.as_nanos();
                state.into()
            }
        };
        value.stage = stage.into();
        value
    }

    fn view_webhook(&self, index: WebhookIx) -> WebhookView {
        let webhook = &self.webhooks.table[index];
        WebhookView {
            id: webhook.id,
            number: webhook.number,
            target: webhook.target.clone(),
            url: webhook.callback.url.clone(),
            state: webhook.state(),
            attempts: webhook.attempts,
            last_attempt: webhook.last_attempt.clone(),
            accept_in: self.accept_in(webhook),
            created_at: webhook.created_at,
            since: webhook.since,
        }
    }

    fn accept_in(&self, webhook: &Webhook) -> Option<Duration> {
        match webhook.stage {
            Stage::Due {
                turn: Turned::Ticket(ticket),
                ..
            } => self.ticket_lapses_in(ticket),
            Stage::Due { ends, .. } => ends.map(|ends| ends.since(self.now)),
            _ => None,
        }
    }

    pub(in crate::core) fn webhook_id(&self, index: WebhookIx) -> WebhookId {
        self.webhooks.table[index].id
    }

    fn webhook_job(&self, index: WebhookIx) -> Option<WebhookJob> {
        let webhook = &self.webhooks.table[index];
        let Stage::Due { turn, number, .. } = webhook.stage else {
            return None;
        };
        Some(WebhookJob {
            namespace: self.space_of(webhook.space).name.clone(),
            id: webhook.id,
            due_number: number,
            callback: webhook.callback.clone(),
            turn: match turn {
                Turned::Grant(grant) => Turn::Granted(self.view_granted(grant)),
                Turned::Ticket(ticket) => Turn::Ready(self.view_ticket(ticket)),
            },
            accept_in: self.accept_in(webhook),
            due_at: webhook.since,
        })
    }
}
