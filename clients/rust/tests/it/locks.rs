//! Locks and what is made of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdfast_client::{Error, Loss};

use crate::server::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_holds_a_lock_and_tokens_rise() {
    let server = Server::start();
    let inside = Arc::new(AtomicU32::new(0));
    let tokens = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let client = server.client().await;
        for _ in 0..5 {
            let (client, inside, tokens) = (client.clone(), inside.clone(), tokens.clone());
            tasks.push(tokio::spawn(async move {
                let work = async |grant: &holdfast_client::Grant| {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    tokens.lock().unwrap().push(grant.fencing_token());
                    inside.fetch_sub(1, Ordering::SeqCst);
                };
                client.lock("deploy").scope(work).await.unwrap();
            }));
        }
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    let tokens = tokens.lock().unwrap();
    assert_eq!(tokens.len(), 20);
    assert!(tokens.is_sorted_by(|a, b| a < b));
}

#[tokio::test]
async fn who_can_t_have_a_lock_is_told_why() {
    let server = Server::start();
    let client = server.client().await;
    let grant = client.lock("x").owner("me").acquire().await.unwrap();
    assert_eq!(grant.lock(), "x");
    assert!(grant.lease_id().is_some() && !grant.is_lost());
    assert!(client.lock("x").try_acquire().await.unwrap().is_none());
    let at_once = client.lock("x").wait(Duration::ZERO).acquire().await;
    assert!(matches!(at_once, Err(Error::Held(_))));
    let wait = client.lock("x").wait(Duration::from_millis(50));
    let error = soon(wait.acquire()).await.unwrap_err();
    assert!(matches!(&error, Error::WaitTimedOut(_)), "{error:?}");
    assert_eq!(error.reason(), "WAIT_TIMED_OUT");
    let error = client.lock("").try_acquire().await.unwrap_err();
    assert!(matches!(error, Error::Invalid { field, .. } if field == "lock"));
    assert_eq!(client.lock("x").try_scope(async |_| 1).await.unwrap(), None);
    grant.release().await.unwrap();
    assert_eq!(
        client.lock("x").try_scope(async |_| 1).await.unwrap(),
        Some(1)
    );
}

#[tokio::test]
async fn dropping_a_grant_gives_the_lock_back() {
    let server = Server::start();
    let (one, other) = (server.client().await, server.client().await);
    for lock in [
        one.lock("a"),
        one.lock("b").ttl(PATIENCE),
        one.lock("c").no_expiry(),
    ] {
        let grant = lock.acquire().await.unwrap();
        drop(grant);
        drop(soon(other.lock(lock.name()).acquire()).await.unwrap());
    }
}

#[tokio::test]
async fn dropping_an_acquire_leaves_the_line() {
    let server = Server::start();
    let client = server.client().await;
    let holder = client.lock("x").acquire().await.unwrap();
    let waiting = tokio::spawn({
        let lock = client.lock("x");
        async move { lock.acquire().await }
    });
    server.settles("x", 1, 1).await;
    waiting.abort();
    server.settles("x", 1, 0).await;
    holder.release().await.unwrap();
    server.settles("x", 0, 0).await;
}

#[tokio::test]
async fn a_waiter_is_told_its_places() {
    let server = Server::start();
    let client = server.client().await;
    let holder = client.lock("x").acquire().await.unwrap();
    let first = tokio::spawn({
        let lock = client.lock("x");
        async move { lock.acquire().await }
    });
    server.settles("x", 1, 1).await;
    let (places, mut told) = tokio::sync::mpsc::unbounded_channel();
    let lock = client.lock("x");
    let second = tokio::spawn(async move {
        let tell = |place| places.send(place).unwrap();
        lock.acquire_watching(tell).await.map(drop)
    });
    assert_eq!(soon(told.recv()).await, Some(2));
    holder.release().await.unwrap();
    let first = soon(first).await.unwrap().unwrap();
    assert_eq!(soon(told.recv()).await, Some(1));
    first.release().await.unwrap();
    soon(second).await.unwrap().unwrap();
}

#[tokio::test]
async fn readers_share_and_a_semaphore_counts() {
    let server = Server::start();
    let client = server.client().await;
    let lock = client.rw_lock("rw");
    let readers = [
        lock.read().acquire().await.unwrap(),
        lock.read().acquire().await.unwrap(),
    ];
    assert!(lock.write().try_acquire().await.unwrap().is_none());
    drop(readers);
    soon(lock.write().acquire())
        .await
        .unwrap()
        .release()
        .await
        .unwrap();

    let semaphore = client.semaphore("two", 2);
    let _one = semaphore.acquire().await.unwrap();
    let two = semaphore.acquire().await.unwrap();
    assert!(semaphore.try_acquire().await.unwrap().is_none());
    two.release().await.unwrap();
    assert!(semaphore.try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn an_election_has_one_leader_and_is_seen() {
    let server = Server::start();
    let client = server.client().await;
    let election = client.election("boss");
    let mut seen = election.observe();
    assert_eq!(soon(seen.next()).await.unwrap(), None);
    let ann = election.campaign("ann").await.unwrap();
    assert_eq!(soon(seen.next()).await.unwrap().unwrap().owner, "ann");
    let bob = tokio::spawn({
        let election = election.clone();
        async move { election.campaign("bob").await }
    });
    server.settles("boss", 1, 1).await;
    ann.release().await.unwrap();
    let bob = soon(bob).await.unwrap().unwrap();
    let leader = loop {
        // Between the two there may have been nobody.
        if let Some(leader) = soon(seen.next()).await.unwrap() {
            break leader;
        }
    };
    assert_eq!(leader.fencing_token, bob.fencing_token());
}

#[tokio::test]
async fn a_lease_ends_with_all_that_hangs_on_it() {
    let server = Server::start();
    let client = server.client().await;
    let lease = client.lease(PATIENCE).await.unwrap();
    let grant = client.lock("x").lease(&lease).acquire().await.unwrap();
    assert_eq!(grant.lease_id(), Some(lease.id()));
    assert_eq!(lease.revoke().await.unwrap(), 1);
    assert_eq!(soon(grant.lost()).await, Loss::Revoked);
    assert!(matches!(grant.release().await, Err(Error::Lost(_))));
    let after = client.lock("x").lease(&lease).acquire().await;
    assert!(matches!(after, Err(Error::Lost(_))));
}

#[tokio::test]
async fn what_is_kept_alive_outlives_its_ttl() {
    let server = Server::start();
    let ttl = Duration::from_millis(600);
    let client = server.builder().session_ttl(ttl).connect().await.unwrap();
    let lease = client.lease(ttl).await.unwrap();
    let grants = [
        client.lock("session").acquire().await.unwrap(),
        client.lock("own").ttl(ttl).acquire().await.unwrap(),
        client.lock("lease").lease(&lease).acquire().await.unwrap(),
    ];
    tokio::time::sleep(3 * ttl).await;
    for grant in grants {
        assert!(!grant.is_lost(), "{}", grant.lock());
        grant.release().await.unwrap();
    }
}

#[tokio::test]
async fn closing_gives_all_back_and_ends_everything() {
    let server = Server::start();
    let client = server.client().await;
    let grant = client.lock("x").acquire().await.unwrap();
    soon(client.close()).await;
    assert_eq!(server.counts("x").await, (0, 0));
    assert!(grant.is_lost());
    let after = client.lock("x").acquire().await.unwrap_err();
    assert_eq!(after.reason(), "closed");
    assert_eq!(
        client.value("x").get().await.unwrap_err().reason(),
        "closed"
    );
    // The last handle does the same without being waited for.
    let client = server.client().await;
    let grant = client.lock("y").ttl(PATIENCE).acquire().await.unwrap();
    drop(client);
    assert!(!grant.is_lost());
    drop(grant);
    server.settles("y", 0, 0).await;
}

#[tokio::test]
async fn a_token_is_asked_for_and_sent() {
    let (server, token) = Server::with_token();
    let client = server.builder().token(token).connect().await.unwrap();
    client
        .lock("x")
        .acquire()
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    client.value("x").put("1").await.unwrap();
    let stranger = server.client().await;
    let refused = soon(stranger.lock("x").acquire()).await;
    assert!(matches!(refused, Err(Error::Unauthenticated(_))));
    let refused = stranger.value("x").get().await;
    assert!(matches!(refused, Err(Error::Unauthenticated(_))));
}

#[tokio::test]
async fn a_lock_tells_who_holds_it_and_how_many_wait() {
    let server = Server::start();
    let client = server.client().await;
    let lock = client
        .lock("x")
        .owner("me")
        .release_delay(Duration::from_secs(1));
    assert_eq!(lock.get().await.unwrap().holder_count, 0);
    let grant = lock.acquire().await.unwrap();
    let read = lock.get().await.unwrap();
    assert_eq!((read.holder_count, read.waiter_count), (1, 0));
    let holder = &read.holders[0];
    assert_eq!(
        (holder.owner.as_str(), holder.fencing_token),
        ("me", grant.fencing_token())
    );
    // A release gives the lock on at once, whatever the delay.
    grant.release().await.unwrap();
    let next = lock.try_acquire().await.unwrap();
    assert!(next.is_some());
    let refused = client.lock("").get().await;
    assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "lock"));
}
