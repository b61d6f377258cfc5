//! What clients do with queues: they put in, take out, deal with items or don't, and ask again.

use std::time::Duration;

use holdfast::core::*;

use crate::oracle::Verdict;
use crate::world::World;

const QUEUES: [&str; 2] = ["q/1", "q/2"];
/// How many request ids of queues there are in a namespace: few, so that they meet. No lock has them.
const REQUEST_IDS: u32 = 100;
/// How many deliveries a client remembers.
const DELIVERIES_MAX: usize = 12;
/// How many commands with a request id a client remembers.
const ASKED_MAX: usize = 6;

/// What a client remembers of queues.
#[derive(Default)]
pub struct Dealings {
    deliveries: Vec<(QueueName, Delivery)>,
    asked: Vec<QueueCommand>,
}

impl Dealings {
    /// It has read of an item.
    pub fn read(&mut self, told: &Delivered) {
        if let Some(delivery) = told.delivery {
            if self.deliveries.len() == DELIVERIES_MAX {
                self.deliveries.remove(0);
            }
            self.deliveries.push((told.queue.clone(), delivery));
        }
    }
}

/// The request id of a command about queues that has one.
pub fn queue_request_id(command: &QueueCommand) -> Option<&RequestId> {
    match command {
        QueueCommand::Configure { request_id, .. }
        | QueueCommand::Delete { request_id, .. }
        | QueueCommand::Enqueue { request_id, .. }
        | QueueCommand::Dequeue { request_id, .. }
        | QueueCommand::Acknowledge { request_id, .. }
        | QueueCommand::Return { request_id, .. }
        | QueueCommand::Purge { request_id, .. }
        | QueueCommand::Redrive { request_id, .. } => request_id.as_ref(),
        _ => None,
    }
}

impl World {
    pub fn on_a_queue(&mut self, client: usize) -> Verdict {
        let command = self.some_queue_command(client);
        if queue_request_id(&command).is_some() {
            let asked = &mut self.clients[client].dealings.asked;
            if asked.len() == ASKED_MAX {
                asked.remove(0);
            }
            asked.push(command.clone());
        }
        self.send(client, Command::Queue(command), None).map(drop)
    }

    fn some_queue_command(&mut self, client: usize) -> QueueCommand {
        let queue = QueueName::new(QUEUES[self.rng.usize(0..QUEUES.len())]).unwrap();
        let request_id = self.item_request_id();
        match self.rng.u32(0..100) {
            0..34 => QueueCommand::Enqueue {
                queue,
                bytes: ValueBytes::new(self.step.to_be_bytes().to_vec()).unwrap(),
                ttl: (self.rng.u32(0..3) == 0)
                    .then(|| Duration::from_millis(self.rng.u64(100..8_000))),
                request_id,
            },
            34..52 => {
                let ack_timeout = (self.rng.u32(0..4) > 0).then(|| self.ack_timeout());
                QueueCommand::Dequeue {
                    queue,
                    wait: Duration::from_millis(self.rng.u64(0..4) * self.rng.u64(0..5_000)),
                    ack_timeout,
                    request_id: request_id.filter(|_| ack_timeout.is_some()),
                }
            }
            52..55 => QueueCommand::Consume {
                queue,
                window: self.rng.u32(1..5),
                ack_timeout: self.ack_timeout(),
            },
            55..82 => self.on_a_delivery(client, queue, request_id),
            82..90 => self.asked_before(client, queue),
            90..92 => QueueCommand::Configure {
                queue,
                settings: QueueSettings {
                    deliveries_max: (self.rng.u32(0..4) > 0).then(|| self.rng.u32(1..5)),
                },
                request_id,
            },
            92..94 => QueueCommand::Redrive { queue, request_id },
            94 => QueueCommand::Purge {
                queue,
                part: [Part::Ready, Part::Dead][self.rng.usize(0..2)],
                request_id,
            },
            95 => QueueCommand::Delete { queue, request_id },
            96 => QueueCommand::Get { queue },
            97 => QueueCommand::List {
                prefix: "q/".to_owned(),
                after: None,
                limit: self.rng.usize(1..4),
            },
            _ => QueueCommand::Peek {
                queue,
                part: [Part::Ready, Part::Delivered, Part::Dead][self.rng.usize(0..3)],
                after: None,
                limit: self.rng.usize(1..6),
            },
        }
    }

    /// Deals with an item that it was told of: mostly a delivery that is under way.
    fn on_a_delivery(
        &mut self,
        client: usize,
        queue: QueueName,
        request_id: Option<RequestId>,
    ) -> QueueCommand {
        let known = &self.clients[client].dealings.deliveries;
        if known.is_empty() {
            return QueueCommand::Get { queue };
        }
        // Mostly the newest: those before have been dealt with, or are over.
        let index = match self.rng.u32(0..4) {
            0 => self.rng.usize(0..known.len()),
            _ => known.len() - 1,
        };
        let (queue, delivery) = known[index].clone();
        if self.rng.u32(0..4) > 0 {
            self.clients[client].dealings.deliveries.remove(index);
        }
        match self.rng.u32(0..10) {
            0..6 => QueueCommand::Acknowledge {
                queue,
                delivery,
                request_id,
            },
            6..8 => QueueCommand::Return {
                queue,
                delivery,
                request_id,
            },
            _ => QueueCommand::Extend {
                queue,
                delivery,
                ack_timeout: self.rng.bool().then(|| self.ack_timeout()),
            },
        }
    }

    fn asked_before(&mut self, client: usize, queue: QueueName) -> QueueCommand {
        let asked = &self.clients[client].dealings.asked;
        if asked.is_empty() {
            return QueueCommand::Get { queue };
        }
        self.oracle.tally.count("retries on queues");
        asked[self.rng.usize(0..asked.len())].clone()
    }

    fn ack_timeout(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(100..10_000))
    }

    fn item_request_id(&mut self) -> Option<RequestId> {
        if self.rng.u32(0..3) > 0 {
            return None;
        }
        let id = format!("item-{}", self.rng.u32(0..REQUEST_IDS));
        Some(RequestId::new(&id).unwrap())
    }
}
