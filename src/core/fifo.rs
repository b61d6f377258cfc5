//! FIFOs: durable lines of tickets.

use super::command::*;
use super::state::{Out, SpaceIx, State};

impl State {
    pub(super) fn fifo(&mut self, call: CallId, _: SpaceIx, command: FifoCommand, out: &mut Out) {
        if let FifoCommand::Get { id } = command {
            out.refuse(call, Refusal::FifoNotFound(id));
        }
    }
}
