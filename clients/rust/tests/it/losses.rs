//! A grant is lost here before it can be anyone else's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_client::{Client, Clock, Error, Loss, SystemClock};

use crate::proxy::Proxy;
use crate::server::*;

const TTL: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_stopped_server_costs_the_grant_before_its_ttl() {
    let server = Server::start();
    let client = server.builder().session_ttl(TTL).connect().await.unwrap();
    let session = client.lock("session").acquire().await.unwrap();
    let own = client.lock("own").ttl(TTL).acquire().await.unwrap();
    let lease = client.lease(TTL).await.unwrap();
    let leased = client.lock("leased").lease(&lease).acquire().await.unwrap();
    server.signal("STOP");
    let stopped = SystemClock::new().now();
    for grant in [session, own, leased] {
        assert_eq!(soon(grant.lost()).await, Loss::Expired);
        assert!(SystemClock::new().now() - stopped < TTL, "{}", grant.lock());
    }
    server.signal("CONT");
    // The client goes on, with a session that is new.
    let grant = soon(client.lock("session").acquire()).await.unwrap();
    grant.release().await.unwrap();
}

#[tokio::test]
async fn a_cut_network_costs_the_grant_before_the_next_one_has_it() {
    let server = Server::start();
    let proxy = Proxy::before(server.addr).await;
    let away = Client::builder(proxy.address()).session_ttl(TTL);
    let away = away.connect().await.unwrap();
    let near = server.client().await;
    let clock = SystemClock::new();
    for round in 0..3 {
        let held = soon(away.lock("x").acquire()).await.unwrap();
        let lock = near.lock("x");
        let next = tokio::spawn(async move {
            let grant = lock.acquire().await.unwrap();
            (grant, SystemClock::new().now())
        });
        server.settles("x", 1, 1).await;
        proxy.cut();
        assert_eq!(soon(held.lost()).await, Loss::Expired);
        let lost = clock.now();
        let (grant, granted) = soon(next).await.unwrap();
        assert!(lost < granted, "round {round}");
        assert!(matches!(held.release().await, Err(Error::Lost(_))));
        proxy.heal();
        grant.release().await.unwrap();
    }
}

/// A clock that is ahead of the system's by as much as it is told: a machine that was suspended.
#[derive(Debug)]
struct Ahead(SystemClock, AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> Duration {
        self.0.now() + Duration::from_millis(self.1.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_machine_that_was_suspended_past_the_ttl_knows_at_once() {
    let server = Server::start();
    let clock = Arc::new(Ahead(SystemClock::new(), AtomicU64::new(0)));
    let client = server.builder().clock(clock.clone()).session_ttl(PATIENCE);
    let client = client.connect().await.unwrap();
    let grant = client.lock("x").acquire().await.unwrap();
    let own = client.lock("own").ttl(PATIENCE).acquire().await.unwrap();
    assert!(!grant.is_lost() && !own.is_lost());
    clock
        .1
        .fetch_add(PATIENCE.as_millis() as u64, Ordering::SeqCst);
    assert!(grant.is_lost() && own.is_lost());
    assert_eq!(soon(grant.lost()).await, Loss::Expired);
    // What is lost stays lost, whatever the server says later.
    clock.1.store(0, Ordering::SeqCst);
    assert!(grant.is_lost());
}

#[tokio::test]
async fn work_in_a_scope_is_stopped_when_its_grant_is_lost() {
    let server = Server::start();
    let client = server.builder().session_ttl(TTL).connect().await.unwrap();
    let reached = Mutex::new(0);
    let work = async |_: &holdfast_client::Grant| {
        *reached.lock().unwrap() = 1;
        server.signal("STOP");
        std::future::pending::<()>().await;
    };
    let done = soon(client.lock("x").scope(work)).await;
    server.signal("CONT");
    assert!(matches!(done, Err(Error::Lost(_))));
    assert_eq!(*reached.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_grant_that_is_forced_away_is_told_so() {
    use holdfast_client::proto::ForceReleaseLockRequest;
    use holdfast_client::proto::lock_service_client::LockServiceClient;
    let server = Server::start();
    let client = server.client().await;
    let grants = [
        client.lock("x").acquire().await.unwrap(),
        client.lock("y").ttl(PATIENCE).acquire().await.unwrap(),
    ];
    let mut locks = LockServiceClient::connect(server.address()).await.unwrap();
    for grant in grants {
        let force = ForceReleaseLockRequest {
            lock: grant.lock().to_owned(),
            ..Default::default()
        };
        locks.force_release_lock(force).await.unwrap();
        assert_eq!(soon(grant.lost()).await, Loss::Forced);
        assert!(matches!(grant.release().await, Err(Error::Lost(_))));
    }
}

/// A client whose connection can be cut and whose clock can be moved on, and another one that holds the
/// lock for which the first stands in line.
struct Apart {
    server: Server,
    proxy: Proxy,
    clock: Arc<Ahead>,
    client: Client,
    other: Client,
}

impl Apart {
    async fn start() -> Apart {
        let server = Server::start();
        let proxy = Proxy::before(server.addr).await;
        let clock = Arc::new(Ahead(SystemClock::new(), AtomicU64::new(0)));
        let client = Client::builder(proxy.address())
            .clock(clock.clone())
            .session_ttl(Duration::from_secs(600));
        Apart {
            client: client.connect().await.unwrap(),
            other: server.client().await,
            server,
            proxy,
            clock,
        }
    }

    /// The server forgets what was asked for, by the client's reckoning, and all is well again.
    fn heal_too_late(&self) {
        self.clock.1.fetch_add(130_000, Ordering::SeqCst);
        self.proxy.heal();
    }
}

#[tokio::test]
async fn a_grant_too_old_to_be_asked_for_again_does_not_stand_in_its_own_way() {
    let apart = Apart::start().await;
    let lease = apart.client.lease(Duration::from_secs(600)).await.unwrap();
    let mine = apart.client.lock("mine").acquire().await.unwrap();
    let leased = apart.client.lock("leased").lease(&lease);
    let leased = leased.acquire().await.unwrap();
    let before = apart.other.lock("deploy").acquire().await.unwrap();
    let lock = apart.client.lock("deploy");
    let asking = tokio::spawn(async move { lock.acquire().await });
    apart.server.settles("deploy", 1, 1).await;
    apart.proxy.cut();
    let last = before.fencing_token();
    before.release().await.unwrap();
    apart.server.settles("deploy", 1, 0).await;
    apart.heal_too_late();
    let grant = soon(asking).await.unwrap().unwrap();
    assert!(grant.fencing_token() > last + 1);
    assert_eq!(soon(mine.lost()).await, Loss::Unknown);
    assert!(!leased.is_lost());
}

#[tokio::test]
async fn a_lease_with_a_grant_too_old_to_be_asked_for_again_is_given_up() {
    let apart = Apart::start().await;
    let lease = apart.client.lease(Duration::from_secs(600)).await.unwrap();
    let before = apart.other.lock("deploy").acquire().await.unwrap();
    let lock = apart.client.lock("deploy").lease(&lease);
    let asking = tokio::spawn(async move { lock.acquire().await });
    apart.server.settles("deploy", 1, 1).await;
    apart.proxy.cut();
    before.release().await.unwrap();
    apart.server.settles("deploy", 1, 0).await;
    apart.heal_too_late();
    assert!(matches!(
        soon(asking).await.unwrap(),
        Err(Error::Lost(_) | Error::NotFound(_))
    ));
    assert!(lease.is_lost());
    apart.server.settles("deploy", 0, 0).await;
}

#[tokio::test]
async fn a_long_cut_costs_nothing_where_nothing_was_granted_in_it() {
    let apart = Apart::start().await;
    let mine = apart.client.lock("mine").acquire().await.unwrap();
    let before = apart.other.lock("deploy").acquire().await.unwrap();
    let lock = apart.client.lock("deploy");
    let asking = tokio::spawn(async move { lock.acquire().await });
    apart.server.settles("deploy", 1, 1).await;
    apart.proxy.cut();
    apart.heal_too_late();
    // It is answered over the next stream.
    drop(soon(apart.client.lock("another").acquire()).await.unwrap());
    before.release().await.unwrap();
    drop(soon(asking).await.unwrap().unwrap());
    assert!(!mine.is_lost());
}
