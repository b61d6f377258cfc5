//! Connections that break and are made again.

use std::time::Duration;

use holdfast_client::{Client, Error, Loss};

use crate::proxy::Proxy;
use crate::server::*;

#[tokio::test]
async fn holds_and_places_in_line_outlive_the_death_of_the_server() {
    let mut server = Server::start();
    let (one, other) = (server.client().await, server.client().await);
    let held = one.lock("held").acquire().await.unwrap();
    let own = one.lock("own").ttl(PATIENCE).acquire().await.unwrap();
    let lock = other.lock("held");
    let waiting = tokio::spawn(async move { lock.acquire().await });
    server.settles("held", 1, 1).await;
    for _ in 0..2 {
        server.kill();
        server.start_again();
    }
    // Found again, and nobody has overtaken.
    server.settles("held", 1, 1).await;
    assert!(!held.is_lost() && !own.is_lost());
    assert!(
        soon(one.lock("held").try_acquire())
            .await
            .unwrap()
            .is_none()
    );
    own.release().await.unwrap();
    let token = held.fencing_token();
    held.release().await.unwrap();
    let next = soon(waiting).await.unwrap().unwrap();
    assert!(next.fencing_token() > token);
    next.release().await.unwrap();
}

#[tokio::test]
async fn calls_made_while_the_server_is_away_are_carried_out_when_it_is_back() {
    let mut server = Server::start();
    let client = server.client().await;
    let grant = client.lock("x").acquire().await.unwrap();
    server.kill();
    let lock = client.lock("y");
    let acquire = tokio::spawn(async move { lock.acquire().await });
    let release = tokio::spawn(grant.release());
    let value = client.value("v");
    let put = tokio::spawn(async move { value.put("1").await });
    tokio::task::yield_now().await;
    server.start_again();
    let grant = soon(acquire).await.unwrap().unwrap();
    soon(release).await.unwrap().unwrap();
    soon(put).await.unwrap().unwrap();
    server.settles("x", 0, 0).await;
    grant.release().await.unwrap();
}

#[tokio::test]
async fn an_acquire_dropped_while_the_server_is_away_leaves_the_line() {
    let mut server = Server::start();
    let (one, other) = (server.client().await, server.client().await);
    let held = one.lock("x").acquire().await.unwrap();
    let lock = other.lock("x");
    let waiting = tokio::spawn(async move { lock.acquire().await });
    server.settles("x", 1, 1).await;
    server.kill();
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    server.start_again();
    server.settles("x", 1, 0).await;
    held.release().await.unwrap();
    server.settles("x", 0, 0).await;
}

#[tokio::test]
async fn a_call_to_a_server_that_stays_away_fails_in_time() {
    let mut server = Server::start();
    let timeout = Duration::from_millis(300);
    let client = server
        .builder()
        .call_timeout(timeout)
        .connect()
        .await
        .unwrap();
    server.kill();
    let refused = soon(client.lock("x").try_acquire()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    let refused = soon(client.value("x").put("1")).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    let refused = Client::connect(server.address()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    let refused = Client::connect("no address").await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn a_cut_that_heals_within_the_ttl_loses_nothing() {
    let server = Server::start();
    let proxy = Proxy::before(server.addr).await;
    let builder = Client::builder(proxy.address()).session_ttl(Duration::from_secs(4));
    let client = builder.connect().await.unwrap();
    let grant = client.lock("x").acquire().await.unwrap();
    let before = grant.remaining().unwrap();
    proxy.cut();
    // A heartbeat goes unanswered, and the client begins anew.
    while grant.remaining().unwrap() > before / 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.heal();
    soon(async {
        while grant.remaining().unwrap() < before * 2 / 3 {
            assert!(!grant.is_lost());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    grant.release().await.unwrap();
}

#[tokio::test]
async fn a_grant_ended_while_the_client_was_away_is_found_lost() {
    let mut server = Server::start();
    let client = server.client().await;
    let grant = client.lock("x").acquire().await.unwrap();
    let (lock, grant_token) = ("x".to_owned(), grant.grant_token().to_owned());
    let proxy = Proxy::before(server.addr).await;
    let away = Client::builder(proxy.address()).connect().await.unwrap();
    let theirs = away.lock("theirs").acquire().await.unwrap();
    proxy.cut();
    for (lock, grant_token) in [
        (lock, grant_token),
        ("theirs".to_owned(), theirs.grant_token().to_owned()),
    ] {
        use holdfast_client::proto::ReleaseLockRequest;
        use holdfast_client::proto::lock_service_client::LockServiceClient;
        let mut locks = LockServiceClient::connect(server.address()).await.unwrap();
        let release = ReleaseLockRequest {
            lock,
            grant_token,
            request_id: String::new(),
        };
        locks.release_lock(release).await.unwrap();
    }
    assert_eq!(soon(grant.lost()).await, Loss::Released);
    assert!(matches!(grant.release().await, Err(Error::Lost(_))));
    assert!(!theirs.is_lost());
    // What was told on the cut connection is never read.
    server.kill();
    server.start_again();
    proxy.heal();
    assert_eq!(soon(theirs.lost()).await, Loss::Unknown);
}
