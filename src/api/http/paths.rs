//! Every path of the HTTP surfaces, and whose it is.

/// The native REST API. `{name}` is a lock's name, percent-encoded; `{id}` is a lease's or a
/// webhook's id.
pub mod rest {
    /// Reserves and lists.
    pub const LOCKS: &str = "/api/v1/locks";
    /// Reads.
    pub const LOCK: &str = "/api/v1/locks/{name}";
    /// Takes.
    pub const ACQUIRE: &str = "/api/v1/locks/{name}/acquire";
    /// Prolongs.
    pub const RENEW: &str = "/api/v1/locks/{name}/renew";
    /// Ends a hold.
    pub const RELEASE: &str = "/api/v1/locks/{name}/release";
    /// Asks whether a hold is current.
    pub const CHECK: &str = "/api/v1/locks/{name}/check";
    /// Ends holds of others.
    pub const FORCE_RELEASE: &str = "/api/v1/locks/{name}/force-release";
    /// Tells what stands behind it.
    pub const WHY: &str = "/api/v1/locks/{name}/why";
    /// Follows.
    pub const WATCH: &str = "/api/v1/locks/{name}/watch";
    /// What stands before a lock's name.
    pub const LOCK_PREFIX: &str = "/api/v1/locks/";
    /// Lists values.
    pub const VALUES: &str = "/api/v1/values";
    /// Reads, puts and deletes a value; `{key}` is its key, percent-encoded.
    pub const VALUE: &str = "/api/v1/values/{key}";
    /// Follows a value.
    pub const VALUE_WATCH: &str = "/api/v1/values/{key}/watch";
    /// What stands before a value's key.
    pub const VALUE_PREFIX: &str = "/api/v1/values/";
    /// Lists queues.
    pub const QUEUES: &str = "/api/v1/queues";
    /// Reads, configures and deletes a queue; `{queue}` is its name, percent-encoded.
    pub const QUEUE: &str = "/api/v1/queues/{queue}";
    /// Puts an item in line.
    pub const ENQUEUE: &str = "/api/v1/queues/{queue}/enqueue";
    /// Takes an item.
    pub const DEQUEUE: &str = "/api/v1/queues/{queue}/dequeue";
    /// Takes items as they come.
    pub const CONSUME: &str = "/api/v1/queues/{queue}/consume";
    /// Says that an item has been dealt with.
    pub const ACK: &str = "/api/v1/queues/{queue}/ack";
    /// Gives an item back.
    pub const RETURN: &str = "/api/v1/queues/{queue}/return";
    /// Starts the time to acknowledge an item anew.
    pub const EXTEND: &str = "/api/v1/queues/{queue}/extend";
    /// Reads items without taking them.
    pub const ITEMS: &str = "/api/v1/queues/{queue}/items";
    /// Tells how many items wait.
    pub const LENGTH: &str = "/api/v1/queues/{queue}/length";
    /// Removes items.
    pub const PURGE: &str = "/api/v1/queues/{queue}/purge";
    /// Puts dead letters back in line.
    pub const REDRIVE: &str = "/api/v1/queues/{queue}/redrive";
    /// What stands before a queue's name.
    pub const QUEUE_PREFIX: &str = "/api/v1/queues/";
    /// Lists webhooks.
    pub const WEBHOOKS: &str = "/api/v1/webhooks";
    /// Reads and cancels a webhook.
    pub const WEBHOOK: &str = "/api/v1/webhooks/{id}";
    /// What stands before a webhook's id.
    pub const WEBHOOK_PREFIX: &str = "/api/v1/webhooks/";
    /// Tells what webhooks are signed with.
    pub const WEBHOOK_SECRET: &str = "/api/v1/webhook-secret";
    /// Makes and lists leases.
    pub const LEASES: &str = "/api/v1/leases";
    /// Reads a lease.
    pub const LEASE: &str = "/api/v1/leases/{id}";
    /// Prolongs a lease.
    pub const LEASE_RENEW: &str = "/api/v1/leases/{id}/renew";
    /// Ends a lease.
    pub const LEASE_REVOKE: &str = "/api/v1/leases/{id}/revoke";
}

/// FIFOs in the native REST API. `{fifo}` is a FIFO's id, percent-encoded; `{ticket}` is a ticket's.
pub mod fifos {
    /// Makes and lists FIFOs.
    pub const FIFOS: &str = "/api/v1/fifos";
    /// Reads and deletes a FIFO.
    pub const FIFO: &str = "/api/v1/fifos/{fifo}";
    /// What stands before a FIFO's id.
    pub const FIFO_PREFIX: &str = "/api/v1/fifos/";
    /// Makes and lists tickets.
    pub const TICKETS: &str = "/api/v1/fifos/{fifo}/tickets";
    /// What stands between a FIFO's id and a ticket's.
    pub const TICKET_INFIX: &str = "/tickets/";
    /// Reads and cancels a ticket.
    pub const TICKET: &str = "/api/v1/fifos/{fifo}/tickets/{ticket}";
    /// Waits for a ticket's turn.
    pub const WAIT: &str = "/api/v1/fifos/{fifo}/tickets/{ticket}/wait";
    /// Prolongs a ticket's work time.
    pub const EXTEND: &str = "/api/v1/fifos/{fifo}/tickets/{ticket}/extend";
    /// Says that a ticket's work is done.
    pub const COMPLETE: &str = "/api/v1/fifos/{fifo}/tickets/{ticket}/complete";
    /// Takes a ticket back.
    pub const CANCEL: &str = "/api/v1/fifos/{fifo}/tickets/{ticket}/cancel";
}

/// The webmutex dialect: each path also with a slash behind it, and, where an id is asked for, with
/// the id behind that.
pub mod webmutex {
    /// Makes a mutex.
    pub const RESERVE: &str = "/reserve";
    /// Takes a mutex.
    pub const GRAB: &str = "/grab";
    /// Gives it back.
    pub const RELEASE: &str = "/release";
    /// Tells whether it is taken.
    pub const STATUS: &str = "/status";
    /// Stands in line and is told by a webhook.
    pub const SUBSCRIBE: &str = "/subscribe_and_grab";
    /// All of them.
    pub const ALL: [&str; 5] = [RESERVE, GRAB, RELEASE, STATUS, SUBSCRIBE];
}

/// The getlock dialect.
pub mod getlock {
    /// One lock.
    pub const LOCK: &str = "/v1/{id}";
    /// What stands before its id.
    pub const PREFIX: &str = "/v1/";
}

/// The sync dialect: each path also with a slash behind it.
pub mod sync {
    /// What all paths begin with.
    pub const ROOT: &str = "/fifo";
    /// Makes a FIFO.
    pub const NEW: &str = "/fifo/new";
    /// What stands before a FIFO's id.
    pub const PREFIX: &str = "/fifo/";
    /// One FIFO.
    pub const FIFO: &str = "/fifo/{fifo}";
    /// Behind a FIFO: makes a ticket.
    pub const TICKET: &str = "/ticket";
    /// Behind a FIFO, and a ticket behind it: waits for the ticket's turn.
    pub const WAIT: &str = "/wait";
    /// Behind a FIFO, and a ticket behind it: says that the work is done.
    pub const DONE: &str = "/done";
}

/// The lockable dialect: the lock's name stands behind each.
pub mod lockable {
    /// Takes.
    pub const ACQUIRE: &str = "/v1/acquire";
    /// Prolongs.
    pub const HEARTBEAT: &str = "/v1/heartbeat";
    /// Gives back.
    pub const RELEASE: &str = "/v1/release";
    /// All of them.
    pub const ALL: [&str; 3] = [ACQUIRE, HEARTBEAT, RELEASE];
}

/// Who answers under a path, and so in which shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// The native REST API, and whatever belongs to nobody else.
    Rest,
    /// The webmutex dialect.
    Webmutex,
    /// The getlock dialect.
    Getlock,
    /// The sync dialect.
    Sync,
    /// The lockable dialect.
    Lockable,
}

impl Surface {
    /// Whose a path is.
    pub fn of(path: &str) -> Surface {
        let under = |root: &&str| {
            path.strip_prefix(*root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if webmutex::ALL.iter().any(under) {
            Surface::Webmutex
        } else if under(&sync::ROOT) {
            Surface::Sync
        } else if lockable::ALL.iter().any(under) {
            Surface::Lockable
        } else if path.starts_with(getlock::PREFIX) {
            Surface::Getlock
        } else {
            Surface::Rest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_surface() {
        for (path, surface) in [
            ("/api/v1/locks/x/acquire", Surface::Rest),
            ("/", Surface::Rest),
            ("/grabby", Surface::Rest),
            ("/grab", Surface::Webmutex),
            ("/grab/abc/", Surface::Webmutex),
            ("/subscribe_and_grab", Surface::Webmutex),
            ("/fifo", Surface::Sync),
            ("/fifo/new", Surface::Sync),
            ("/fifos", Surface::Rest),
            ("/api/v1/fifos/x", Surface::Rest),
            ("/v1/acquire/x", Surface::Lockable),
            ("/v1/acquired", Surface::Getlock),
            ("/v1/28c9c1be-7bb8-4e8c-b22e-c16402a421d5", Surface::Getlock),
        ] {
            assert_eq!(Surface::of(path), surface, "{path}");
        }
    }
}
