//! Where the deliberate bugs of [`Fault`] are built in, between the world and the core.

use std::time::Duration;

use holdfast::core::*;

use crate::fault::Fault;
use crate::world::World;

impl World {
    /// Bends what the core is asked.
    pub fn bend_request(&mut self, request: &mut Request) {
        let Some(fault) = self.fault else {
            return;
        };
        let space = request.namespace.clone();
        match (&mut request.command, fault) {
            (Command::Acquire(acquire), Fault::ShareExclusive) => acquire.mode = Mode::Shared,
            (Command::Fifo(FifoCommand::Create { settings, .. }), Fault::ServeOneMore) => {
                settings.concurrency += 1;
            }
            (Command::Acquire(acquire), Fault::ShortAcceptTime) => {
                if let Some(subscribe) = &mut acquire.subscribe {
                    let mut callback = Callback::clone(&subscribe.callback);
                    callback.accept_timeout /= 2;
                    subscribe.callback = std::sync::Arc::new(callback);
                }
            }
            (Command::Acquire(acquire), Fault::IgnoreReleaseDelay) => {
                acquire.release_delay = ReleaseDelay::default();
            }
            (Command::Acquire(acquire), Fault::IgnoreMaxShared) => acquire.max_shared = None,
            (Command::Acquire(acquire), Fault::ForgetRequestId) => {
                let known = |id: &RequestId| {
                    self.oracle
                        .book()
                        .requests
                        .contains_key(&(space.clone(), id.clone()))
                };
                if acquire.request_id.as_ref().is_some_and(known) {
                    acquire.request_id = None;
                }
            }
            (
                Command::Release { lock, proof, .. } | Command::Renew { lock, proof, .. },
                Fault::ObeyStale,
            ) => {
                let holders = self.oracle.book().locks.get(&(space, lock.clone()));
                if let Some((token, _)) = holders.and_then(|lock| lock.holders.first_key_value()) {
                    *proof = Proof::Token(*token);
                }
            }
            (
                Command::Queue(
                    QueueCommand::Acknowledge {
                        queue, delivery, ..
                    }
                    | QueueCommand::Return {
                        queue, delivery, ..
                    },
                ),
                Fault::ObeyStaleReceipt,
            ) => {
                let key = Key::Delivery(space, queue.clone(), delivery.item);
                if let Some(Value::Delivery(fares)) = self.store.records().get(&key) {
                    delivery.number = fares.deliveries;
                }
            }
            (Command::Touch { answered, .. }, Fault::KeepAnswered) => answered.clear(),
            (Command::Renew { lock, proof, .. }, Fault::IgnoreRenewal) => {
                let id = (space, lock.clone());
                if self.oracle.book().proven(&id, *proof).is_some() {
                    request.command = Command::GetLock { lock: lock.clone() };
                }
            }
            _ => {}
        }
    }

    /// Bends what the core wants told.
    pub fn bend_effects(&mut self) {
        match self.fault {
            Some(Fault::SwallowTimeOut) => self.out.effects.retain(|effect| {
                !matches!(effect, Effect::Reply(_, Err(Refusal::WaitTimedOut(_))))
            }),
            Some(Fault::PostOtherToken) => {
                for effect in &mut self.out.effects {
                    if let Effect::Reply(_, Ok(Answer::Webhook(WebhookAnswer::Due(jobs)))) = effect
                    {
                        for job in jobs {
                            if let Turn::Granted(granted) = &mut job.turn {
                                granted.holder.fencing_token += 1;
                            }
                        }
                    }
                }
            }
            Some(Fault::SwallowLoss) => {
                self.out
                    .effects
                    .retain(|effect| !matches!(effect, Effect::Lost { .. }));
            }
            Some(Fault::SwallowTurn) => {
                let oracle = &self.oracle;
                self.out
                    .effects
                    .retain(|effect| !(is_ready(effect) && oracle.waits_for_turn(effect.call())));
            }
            Some(Fault::TurnToAnother) => {
                let mut calls = self.calls.keys().rev();
                let last = calls.find(|call| self.oracle.waits_for_turn(**call));
                for effect in &mut self.out.effects {
                    if is_ready(effect)
                        && self.oracle.waits_for_turn(effect.call())
                        && let Effect::Reply(call, _) = effect
                        && let Some(last) = last
                    {
                        *call = *last;
                    }
                }
            }
            Some(Fault::ServeOneMore) => {
                for effect in &mut self.out.effects {
                    if let Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Fifo(view)))) = effect {
                        view.settings.concurrency -= 1;
                    }
                }
            }
            Some(Fault::IgnoreRenewal) => {
                for effect in &mut self.out.effects {
                    if let Effect::Reply(call, reply @ Ok(Answer::Lock(_))) = effect
                        && let Some(asked) = self.calls.get(call)
                        && matches!(asked.request.command, Command::Renew { .. })
                    {
                        let expires_in = Some(Duration::from_secs(900));
                        *reply = Ok(Answer::Renewed { expires_in });
                    }
                }
            }
            Some(Fault::ShareExclusive) => {
                for effect in &mut self.out.effects {
                    if let Effect::Reply(call, Ok(Answer::Granted(granted))) = effect
                        && let Some(asked) = self.calls.get(call)
                        && let Command::Acquire(acquire) = &asked.request.command
                    {
                        granted.holder.mode = acquire.mode;
                    }
                }
            }
            Some(Fault::WrongConsumer) => {
                let queue_of = |call: &CallId| match &self.calls.get(call)?.request {
                    Request {
                        namespace,
                        command: Command::Queue(QueueCommand::Dequeue { queue, .. }),
                        ..
                    } => Some((namespace.clone(), queue.clone())),
                    _ => None,
                };
                for effect in &mut self.out.effects {
                    if let Effect::Reply(call, Ok(Answer::Queue(QueueAnswer::Delivered(_)))) =
                        effect
                        && let Some(queue) = queue_of(call)
                        && let Some(last) = self.calls.keys().rev().find(|other| {
                            queue_of(other).as_ref() == Some(&queue)
                                && self.calls[other].unread.is_empty()
                        })
                    {
                        *call = *last;
                    }
                }
            }
            Some(Fault::Overtake) => {
                let book = self.oracle.book();
                for effect in &mut self.out.effects {
                    if let Effect::Reply(call, Ok(Answer::Granted(_))) = effect
                        && let Some(place) = book.place_of_call.get(call)
                        && let Some(lock) = book.locks.get(&book.places[place].lock)
                        && let Some(last) = lock.line.back()
                        && let Some(last) = book.places[last].calls.first()
                    {
                        *call = *last;
                    }
                }
            }
            _ => {}
        }
    }

    /// Bends what a crash leaves behind.
    pub fn bend_store(&mut self) {
        match self.fault {
            Some(Fault::ForgetRequests) => self.store.lose(|key| matches!(key, Key::Request(..))),
            Some(Fault::RewindTokens) => self.count_anew(
                |key, _| match key {
                    Key::Grant(_, _, token) => Some(*token),
                    _ => None,
                },
                |shard, token| shard.last_fencing_token = token,
            ),
            Some(Fault::RewindRevisions) => self.count_anew(
                |_, value| match value {
                    Value::Value(kept) => Some(kept.revision),
                    _ => None,
                },
                |shard, revision| shard.last_revision = revision,
            ),
            Some(Fault::ReviveLapsed) => self.bend_records(|value| {
                if let Value::Ticket(ticket) = value
                    && ticket.state == TicketValue::LAPSED
                {
                    ticket.state = TicketValue::ACCEPTED;
                }
            }),
            Some(Fault::RewindItems) => self.count_anew(
                |key, _| match key {
                    Key::Item(_, _, number) | Key::Waiter(_, _, number) => Some(*number),
                    _ => None,
                },
                |shard, number| shard.last_arrival = number,
            ),
            Some(Fault::ForgetLapsed) => self.store.lose(|key| matches!(key, Key::Lapsed(..))),
            Some(Fault::ForgetReleaseDelay) => self.bend_records(|value| match value {
                Value::Grant(hold) | Value::Waiter(hold) => hold.release_delay_millis = 0,
                _ => {}
            }),
            Some(Fault::ProlongReleaseDelay) => self.bend_records(|value| {
                if let Value::Lapsed(hold) = value {
                    hold.ends_nanos += 10_000_000_000;
                }
            }),
            Some(Fault::ForgetRenewals) => self.bend_records(|value| {
                if let Value::Lease(lease) = value {
                    lease.ends_nanos = 0;
                }
            }),
            _ => {}
        }
    }

    /// Changes records in the store.
    fn bend_records(&mut self, bend: impl Fn(&mut Value)) {
        let records = self.store.records().iter();
        let bent: Vec<Record> = records
            .filter_map(|(key, value)| {
                let mut bent = value.clone();
                bend(&mut bent);
                let key = key.clone();
                (bent != *value).then_some(Record { key, value: bent })
            })
            .collect();
        bent.into_iter().for_each(|record| self.store.put(record));
    }

    /// Makes a counter what the records there are come to, as if it were not kept by itself.
    fn count_anew(
        &mut self,
        number: impl Fn(&Key, &Value) -> Option<u64>,
        set: impl FnOnce(&mut ShardValue, u64),
    ) {
        let records = self.store.records();
        let highest = records.iter().filter_map(|(key, value)| number(key, value));
        let highest = highest.max().unwrap_or(0);
        if let Some(Value::Shard(shard)) = records.get(&Key::Shard) {
            let mut shard = shard.clone();
            set(&mut shard, highest);
            self.store.put(Record {
                key: Key::Shard,
                value: Value::Shard(shard),
            });
        }
    }
}

fn is_ready(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Reply(_, Ok(Answer::Fifo(FifoAnswer::Ready(_))))
    )
}
