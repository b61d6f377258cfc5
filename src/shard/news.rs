//! News on their way from the core to whoever they are for.
//!
//! Telling never waits and never wakes: it says who has to be woken, because a waker may run
//! anything, and here mutexes are held. News that reach nobody are followed up: a grant that nobody
//! knows of is given back.

use std::sync::Arc;
use std::task::{Context, Waker};

use smallvec::SmallVec;

use super::Failure;
use super::call::{Outcome, Slot};
use super::session::{Outbox, SessionNews};
use super::watch::{Feed, Pushed, WatchNews};
use crate::core::{
    Answer, CallId, Command, Delivered, Effect, FifoAnswer, FifoCommand, Namespace, QueueAnswer,
    QueueCommand, Standing,
};

/// How the shard reaches whoever called.
pub(super) enum Caller {
    Call(Arc<Slot>),
    Watch(Arc<Feed>),
    /// A session as such, not one of its calls.
    Session(Arc<Outbox>),
    SessionCall(Arc<Outbox>, u64),
}

impl Caller {
    pub(super) fn namespace(&self) -> &Namespace {
        match self {
            Caller::Call(slot) => slot.namespace(),
            Caller::Watch(feed) => feed.namespace(),
            Caller::Session(outbox) | Caller::SessionCall(outbox, _) => outbox.namespace(),
        }
    }

    /// Whether it is a session as such: what ends it is its last news, behind those of its calls.
    pub(super) fn is_session(&self) -> bool {
        matches!(self, Caller::Session(_))
    }

    /// An effect of its call, as news; `None` for one that such a caller is not told.
    pub(super) fn news(&self, call: CallId, effect: Effect) -> Option<News> {
        Some(match (self, effect) {
            (Caller::Call(slot), Effect::Reply(_, outcome)) => {
                News::Done(slot.clone(), outcome.map_err(Failure::from))
            }
            (Caller::Call(slot), Effect::Queued(_, _, position)) => {
                let standing = Standing {
                    position,
                    time_to_go: None,
                };
                News::Queued(slot.clone(), standing)
            }
            (Caller::Call(slot), Effect::InLine(_, standing)) => {
                News::Queued(slot.clone(), standing)
            }
            (Caller::Watch(feed), Effect::Watching(_, view)) => {
                News::Watch(feed.clone(), call, WatchNews::State(view))
            }
            (Caller::Watch(feed), Effect::Changed(_, event)) => {
                News::Watch(feed.clone(), call, WatchNews::Changed(event))
            }
            (Caller::Watch(feed), Effect::WatchingValue(_, value)) => {
                News::Watch(feed.clone(), call, WatchNews::ValueState(value))
            }
            (Caller::Watch(feed), Effect::ValueChanged(_, event)) => {
                News::Watch(feed.clone(), call, WatchNews::ValueChanged(event))
            }
            (Caller::Watch(feed), Effect::Delivered(_, item)) => {
                News::Watch(feed.clone(), call, WatchNews::Item(item))
            }
            (Caller::Watch(feed), Effect::Recalled(_, delivery)) => {
                News::Watch(feed.clone(), call, WatchNews::Recalled(delivery))
            }
            (Caller::Watch(feed), Effect::WebhooksDue(_)) => {
                News::Watch(feed.clone(), call, WatchNews::WebhooksDue)
            }
            (Caller::Watch(feed), Effect::WebhookOver(_, id)) => {
                News::Watch(feed.clone(), call, WatchNews::WebhookOver(id))
            }
            (Caller::Watch(feed), Effect::Reply(_, Err(refusal))) => {
                News::Watch(feed.clone(), call, WatchNews::Failed(refusal.into()))
            }
            (Caller::SessionCall(outbox, number), Effect::Reply(_, outcome)) => {
                let outcome = outcome.map_err(Failure::from);
                News::Session(outbox.clone(), SessionNews::Reply(*number, outcome))
            }
            (Caller::SessionCall(outbox, number), Effect::Queued(_, lock, position)) => {
                News::Session(outbox.clone(), SessionNews::Queued(*number, lock, position))
            }
            (Caller::Session(outbox), Effect::SessionOpened { lease, resumed, .. }) => {
                News::Session(outbox.clone(), SessionNews::Opened { lease, resumed })
            }
            (
                Caller::Session(outbox),
                Effect::Lost {
                    lock,
                    fencing_token,
                    cause,
                    ..
                },
            ) => News::Session(
                outbox.clone(),
                SessionNews::Lost {
                    lock,
                    fencing_token,
                    cause,
                },
            ),
            (
                Caller::Session(outbox),
                Effect::SessionEnded { why, .. } | Effect::Reply(_, Err(why)),
            ) => News::Session(outbox.clone(), SessionNews::Ended(why.into())),
            _ => return None,
        })
    }

    /// That its call, watch or session has failed, as its last news.
    pub(super) fn failed(self, call: CallId, failure: Failure) -> News {
        match self {
            Caller::Call(slot) => News::Done(slot, Err(failure)),
            Caller::Watch(feed) => News::Watch(feed, call, WatchNews::Failed(failure)),
            Caller::Session(outbox) => News::Session(outbox, SessionNews::Ended(failure)),
            Caller::SessionCall(outbox, number) => {
                News::Session(outbox, SessionNews::Reply(number, Err(failure)))
            }
        }
    }
}

/// One piece of news, and for whom.
pub(super) enum News {
    Done(Arc<Slot>, Outcome),
    Queued(Arc<Slot>, Standing),
    Watch(Arc<Feed>, CallId, WatchNews),
    Session(Arc<Outbox>, SessionNews),
}

impl News {
    /// Tells it. Returns what has to be done where it reached nobody.
    pub(super) fn tell(self, wakers: &mut Wakers) -> Option<Amends> {
        match self {
            News::Done(slot, outcome) => match slot.done(outcome) {
                Reached::Reader(waker) => {
                    wakers.add(waker);
                    None
                }
                Reached::Nobody(outcome) => Amends::of_outcome(slot.namespace(), &outcome),
            },
            News::Queued(slot, standing) => {
                wakers.add(slot.queued(standing));
                None
            }
            News::Watch(feed, call, news) => match feed.push(news) {
                Pushed::Reader(waker) => {
                    wakers.add(waker);
                    None
                }
                Pushed::CutOff(waker) => {
                    wakers.add(waker);
                    Some(Amends::cancel(&feed, call))
                }
                Pushed::Nobody(WatchNews::Item(item)) => Some(Amends::of_item(&feed, &item)),
                Pushed::Nobody(_) => None,
            },
            News::Session(outbox, news) => match outbox.push(news) {
                Reached::Reader(waker) => {
                    wakers.add(waker);
                    None
                }
                Reached::Nobody(SessionNews::Reply(_, outcome)) => {
                    Amends::of_outcome(outbox.namespace(), &outcome)
                }
                Reached::Nobody(_) => None,
            },
        }
    }

    /// Says instead that the store failed. Whoever may yet be told something else is not meant: it
    /// is told by way of the table of callers. Returns what has to be done about a grant that was
    /// never told and may be there all the same.
    pub(super) fn fail(self, failure: Failure, wakers: &mut Wakers) -> Option<Amends> {
        let (instead, amends) = match self {
            News::Done(slot, outcome) => {
                let amends = Amends::of_outcome(slot.namespace(), &outcome);
                (News::Done(slot, Err(failure)), amends)
            }
            News::Session(outbox, SessionNews::Reply(number, outcome)) => {
                let amends = Amends::of_outcome(outbox.namespace(), &outcome);
                let news = SessionNews::Reply(number, Err(failure));
                (News::Session(outbox, news), amends)
            }
            News::Session(outbox, SessionNews::Ended(_)) => {
                (News::Session(outbox, SessionNews::Ended(failure)), None)
            }
            News::Watch(feed, call, WatchNews::Failed(_)) => {
                (News::Watch(feed, call, WatchNews::Failed(failure)), None)
            }
            News::Watch(feed, _, WatchNews::Item(item)) => {
                return Some(Amends::of_item(&feed, &item));
            }
            News::Queued(..) | News::Watch(..) | News::Session(..) => return None,
        };
        // A failure that reaches nobody leaves nothing to be done.
        drop(instead.tell(wakers));
        amends
    }
}

/// Whom a piece of news reached.
pub(super) enum Reached<T> {
    /// Its reader, who has to be woken if it waits.
    Reader(Option<Waker>),
    /// Nobody: here it is back.
    Nobody(T),
}

/// A command that makes good for news that reached nobody.
pub(super) struct Amends {
    pub(super) namespace: Namespace,
    pub(super) command: Command,
}

impl Amends {
    /// Ends a watch that was cut off.
    pub(super) fn cancel(feed: &Feed, call: CallId) -> Amends {
        Amends {
            namespace: feed.namespace().clone(),
            command: Command::Cancel { call },
        }
    }

    fn of_item(feed: &Feed, item: &Delivered) -> Amends {
        Amends {
            namespace: feed.namespace().clone(),
            command: give_item_back(item),
        }
    }

    fn of_outcome(namespace: &Namespace, outcome: &Outcome) -> Option<Amends> {
        give_back(outcome).map(|command| Amends {
            namespace: namespace.clone(),
            command,
        })
    }
}

/// Takes back the grant, turn or delivery of an outcome that reached nobody, if there is one.
pub(super) fn give_back(outcome: &Outcome) -> Option<Command> {
    match outcome {
        Ok(
            Answer::Granted(granted)
            | Answer::Put {
                granted,
                created: true,
            },
        ) => Some(Command::GiveBack {
            lock: granted.lock.clone(),
            fencing_token: granted.holder.fencing_token,
        }),
        Ok(Answer::Queue(QueueAnswer::Delivered(item))) => Some(give_item_back(item)),
        Ok(Answer::Fifo(FifoAnswer::Ready(ticket))) => {
            Some(Command::Fifo(FifoCommand::GiveBack { ticket: ticket.id }))
        }
        _ => None,
    }
}

/// Ends the delivery of an item that reached nobody.
pub(super) fn give_item_back(item: &Delivered) -> Command {
    Command::Queue(QueueCommand::GiveBack {
        queue: item.queue.clone(),
        item: item.item.clone(),
        is_final: item.delivery.is_none(),
    })
}

/// Those who have to be woken once no mutex is held.
#[derive(Default)]
pub(super) struct Wakers(SmallVec<[Waker; 4]>);

impl Wakers {
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Wakes and forgets them.
    pub(super) fn wake(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

/// Notes who polls. Returns whom it replaced, to be dropped once the mutex is free.
pub(super) fn replace_waker(place: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => None,
        _ => place.replace(cx.waker().clone()),
    }
}
