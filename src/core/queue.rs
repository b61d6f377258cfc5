//! Queues: items in order, each to one consumer.

use super::command::*;
use super::state::{Out, SpaceIx, State};

impl State {
    pub(super) fn queue(&mut self, call: CallId, _: SpaceIx, command: QueueCommand, out: &mut Out) {
        if let QueueCommand::Dequeue { .. } = command {
            out.answer(call, Answer::Queue(QueueAnswer::Empty));
        }
    }
}
