//! What administrators do to many items at once: at most [`PURGE_MAX`] with each command, so that
//! no commit takes long.

use super::super::command::*;
use super::super::limits::*;
use super::super::name::{Invalid, QueueName, RequestId};
use super::super::request::{Done, Kind, Recall};
use super::super::state::{ItemIx, Out, QueueIx, SpaceIx, State};

/// How many items were meant, and whether there are more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Swept {
    pub(in crate::core) count: usize,
    pub(in crate::core) more: bool,
}

impl Swept {
    fn purged(self) -> Answer {
        let Swept { count, more } = self;
        Answer::Queue(QueueAnswer::Purged { count, more })
    }

    fn redriven(self) -> Answer {
        let Swept { count, more } = self;
        Answer::Queue(QueueAnswer::Redriven { count, more })
    }
}

const NOTHING: Swept = Swept {
    count: 0,
    more: false,
};

impl State {
    pub(super) fn delete_queue(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: QueueName,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let request = match self.recall(call, space, request_id, Kind::DeleteQueue, &name, out) {
            Recall::New(request) => request,
            Recall::Done(Done::QueueDeleted(swept)) => return out.answer(call, swept.purged()),
            _ => return,
        };
        let mut swept = NOTHING;
        if let Some(queue) = self.find_queue(space, &name) {
            if self.queues[queue].configured.take().is_some() {
                out.delete(self.queue_key(queue));
            }
            let (items, more) =
                self.first_items(queue, &[Part::Ready, Part::Delivered, Part::Dead]);
            swept = self.remove_items(&items, more, out);
            self.settle_queue(queue, out);
        }
        self.remember(space, request, Done::QueueDeleted(swept), out);
        out.answer(call, swept.purged());
    }

    pub(super) fn purge(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: QueueName,
        part: Part,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        if part == Part::Delivered {
            let expected = "must be the items that wait, or the dead letters";
            let invalid = Invalid::new("part", expected);
            return out.refuse(call, Refusal::Invalid(invalid));
        }
        let asked = (&name, part);
        let request = match self.recall(call, space, request_id, Kind::Purge, asked, out) {
            Recall::New(request) => request,
            Recall::Done(Done::Purged(swept)) => return out.answer(call, swept.purged()),
            _ => return,
        };
        let mut swept = NOTHING;
        if let Some(queue) = self.find_queue(space, &name) {
            let (items, more) = self.first_items(queue, &[part]);
            swept = self.remove_items(&items, more, out);
            self.settle_queue(queue, out);
        }
        self.remember(space, request, Done::Purged(swept), out);
        out.answer(call, swept.purged());
    }

    pub(super) fn redrive(
        &mut self,
        call: CallId,
        space: SpaceIx,
        name: QueueName,
        request_id: Option<RequestId>,
        out: &mut Out,
    ) {
        let request = match self.recall(call, space, request_id, Kind::Redrive, &name, out) {
            Recall::New(request) => request,
            Recall::Done(Done::Redriven(swept)) => return out.answer(call, swept.redriven()),
            _ => return,
        };
        let mut swept = NOTHING;
        if let Some(queue) = self.find_queue(space, &name) {
            let (items, more) = self.first_items(queue, &[Part::Dead]);
            for item in &items {
                self.items[*item].deliveries = 0;
                self.make_ready(*item, out);
            }
            let count = items.len();
            swept = Swept { count, more };
            self.settle_queue(queue, out);
        }
        self.remember(space, request, Done::Redriven(swept), out);
        out.answer(call, swept.redriven());
    }

    /// The first items of these parts, and whether there are more.
    fn first_items(&self, queue: QueueIx, parts: &[Part]) -> (Vec<ItemIx>, bool) {
        let queue = &self.queues[queue];
        let all = parts
            .iter()
            .map(|part| queue.part(*part).len())
            .sum::<usize>();
        let items = parts.iter().flat_map(|part| queue.part(*part).values());
        (items.take(PURGE_MAX).copied().collect(), all > PURGE_MAX)
    }

    fn remove_items(&mut self, items: &[ItemIx], more: bool, out: &mut Out) -> Swept {
        for item in items {
            self.recall_from_stream(*item, out);
            self.remove_item(*item, out);
        }
        let count = items.len();
        Swept { count, more }
    }
}
