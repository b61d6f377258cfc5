//! What clients do with FIFOs: they stand in line, wait, work, are done or forget to be.

use std::time::Duration;

use holdfast::core::*;

use crate::client::FIFOS;
use crate::world::{World, about};

impl World {
    /// A client does something with a FIFO or a ticket of its own.
    pub fn on_a_fifo(&mut self, client: usize) -> FifoCommand {
        let (fifo, ticket) = self.ticket(client);
        match self.rng.u32(0..40) {
            0..2 => self.create_fifo(),
            2..11 => FifoCommand::CreateTicket {
                subscribe: None,
                fifo,
                id: TicketId(self.fresh_id()),
                overrides: self.overrides(),
                lenient: self.rng.bool(),
                about: about(""),
                request_id: self.some_request_id(40),
            },
            11..24 => FifoCommand::Wait {
                fifo,
                ticket,
                wait: match self.rng.u32(0..6) {
                    0 => Some(Duration::ZERO),
                    1..4 => Some(Duration::from_millis(self.rng.u64(1..20_000))),
                    _ => None,
                },
            },
            24..29 => FifoCommand::Complete {
                fifo,
                ticket,
                request_id: self.some_request_id(40),
            },
            29..31 => FifoCommand::Cancel {
                fifo,
                ticket,
                request_id: self.some_request_id(40),
            },
            31..34 => FifoCommand::Extend {
                fifo,
                ticket,
                done: self.rng.bool().then(|| self.short_span()),
            },
            34 | 35 => FifoCommand::GetTicket { fifo, ticket },
            36 => FifoCommand::Get { id: fifo },
            37 => FifoCommand::ListTickets {
                fifo,
                after: self.rng.bool().then(|| self.rng.u64(0..1000)),
                limit: self.rng.usize(1..6),
            },
            38 => FifoCommand::List {
                prefix: String::new(),
                after: self.rng.bool().then(|| fifo.to_string()),
                limit: self.rng.usize(1..3),
            },
            _ if self.rng.u32(0..3) == 0 => FifoCommand::Delete {
                id: fifo,
                request_id: self.some_request_id(40),
            },
            _ => FifoCommand::Get { id: fifo },
        }
    }

    /// What sets the retry of a request apart from it.
    pub fn bring_fresh_ids(&mut self, command: &mut FifoCommand, other: bool) {
        match command {
            FifoCommand::Create {
                id,
                fresh_id,
                settings,
                ..
            } => {
                if *fresh_id {
                    *id = self.fresh_fifo();
                }
                if other {
                    settings.concurrency += 1;
                }
            }
            FifoCommand::CreateTicket { id, lenient, .. } => {
                *id = TicketId(self.fresh_id());
                if other {
                    *lenient = !*lenient;
                }
            }
            FifoCommand::Complete { ticket, .. } | FifoCommand::Cancel { ticket, .. } if other => {
                *ticket = TicketId(7);
            }
            _ => {}
        }
    }

    /// A ticket, mostly one of the client's own in its own FIFO, mostly the newest.
    fn ticket(&mut self, client: usize) -> (FifoId, TicketId) {
        let fifo = FIFOS[self.rng.usize(0..FIFOS.len())];
        let fifo = FifoId::new(fifo).unwrap();
        let newest = self.rng.bool();
        let (of, ticket) = self
            .some_ticket(client, newest)
            .unwrap_or((fifo.clone(), TicketId(1)));
        match self.rng.u32(0..20) {
            0 => (fifo, ticket),
            1 => (of, TicketId(1)),
            _ => (of, ticket),
        }
    }

    fn fresh_fifo(&mut self) -> FifoId {
        FifoId::new(&format!("fresh-{:032x}", self.fresh_id())).unwrap()
    }

    fn create_fifo(&mut self) -> FifoCommand {
        let fresh_id = self.rng.u32(0..10) == 0;
        let id = if fresh_id {
            self.fresh_fifo()
        } else {
            FifoId::new(FIFOS[self.rng.usize(0..FIFOS.len())]).unwrap()
        };
        let never = self.rng.u32(0..4) == 0;
        FifoCommand::Create {
            id,
            fresh_id,
            settings: FifoSettings {
                timeouts: TicketTimeouts {
                    wait: Some(Duration::from_secs(self.rng.u64(1..60))),
                    accept: self.some_span(),
                    done: self.some_span(),
                },
                unused_destroy_timeout: (!never || fresh_id)
                    .then(|| Duration::from_secs(self.rng.u64(1..400))),
                allow_overrides: self.rng.bool(),
                concurrency: self.rng.u32(1..4),
            },
            request_id: self.some_request_id(40),
        }
    }

    fn overrides(&mut self) -> TicketOverrides {
        if self.rng.u32(0..3) > 0 {
            return TicketOverrides::default();
        }
        TicketOverrides {
            wait: None,
            accept: self.rng.bool().then(|| Some(self.short_span())),
            done: self.rng.bool().then(|| self.some_span()),
        }
    }

    fn short_span(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(1..8_000))
    }

    fn some_span(&mut self) -> Option<Duration> {
        match self.rng.u32(0..20) {
            0 => None,
            1..8 => Some(self.short_span()),
            _ => Some(Duration::from_secs(self.rng.u64(5..100))),
        }
    }
}
