//! Values.

use std::collections::HashSet;
use std::time::Duration;

use holdfast_client::Error;

use crate::server::*;

#[tokio::test]
async fn a_value_is_put_read_changed_and_deleted() {
    let server = Server::start();
    let client = server.client().await;
    let value = client.value("a/1");
    assert_eq!(value.get().await.unwrap(), None);
    let revision = value.put("one").await.unwrap();
    let entry = value.get().await.unwrap().unwrap();
    assert_eq!(
        (entry.value.as_slice(), entry.revision),
        (&b"one"[..], revision)
    );
    let newer = value.compare_and_set(revision, "two").await.unwrap();
    let stale = value.compare_and_set(revision, "three").await.unwrap_err();
    assert!(matches!(stale, Error::RevisionMismatch { revision, .. } if revision == newer));
    let fleeting = client.value("a/2").ttl(PATIENCE);
    fleeting.put("x").await.unwrap();
    assert!(fleeting.get().await.unwrap().unwrap().expires_in.unwrap() <= PATIENCE);
    let keys = |entries: Vec<holdfast_client::Entry>| {
        entries
            .into_iter()
            .map(|entry| entry.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(client.get_values("a").await.unwrap()), ["a/1", "a/2"]);
    assert_eq!(keys(client.get_values("a/1").await.unwrap()), ["a/1"]);
    assert!(client.get_values("b").await.unwrap().is_empty());
    assert!(value.compare_and_delete(revision).await.is_err());
    value.compare_and_delete(newer).await.unwrap();
    assert!(!value.delete().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_clients_transform_one_value_twenty_times_each() {
    let server = Server::start();
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let value = server.client().await.value("count");
        tasks.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..20 {
                let next = |old: Option<&[u8]>| {
                    let old = old.map_or("0", |old| std::str::from_utf8(old).unwrap());
                    (old.parse::<u32>().unwrap() + 1).to_string().into_bytes()
                };
                seen.push(value.transform(next).await.unwrap().value);
            }
            seen
        }));
    }
    let mut all = HashSet::new();
    for task in tasks {
        all.extend(soon(task).await.unwrap());
    }
    assert_eq!(all.len(), 400);
    assert!(all.contains(&b"400"[..]));
}

#[tokio::test]
async fn a_watch_tells_every_change_also_over_a_restart() {
    let mut server = Server::start();
    let client = server.client().await;
    let value = client.value("x");
    let mut watch = value.watch();
    assert_eq!(soon(watch.next()).await.unwrap(), None);
    value.put("1").await.unwrap();
    assert_eq!(soon(watch.next()).await.unwrap().unwrap().value, b"1");
    server.kill();
    server.start_again();
    value.put("2").await.unwrap();
    let next = loop {
        if let Some(entry) = soon(watch.next()).await.unwrap() {
            break entry;
        }
    };
    assert_eq!(next.value, b"2");
    value.delete().await.unwrap();
    assert_eq!(soon(watch.next()).await.unwrap(), None);
}

#[tokio::test]
async fn a_transformation_that_came_too_late_says_so() {
    let server = Server::start();
    let client = server.client().await;
    let value = client.value("x").ttl(Duration::from_secs(60));
    let done = value.try_transform(|_| b"1".to_vec()).await.unwrap();
    assert!(done.succeeded);
    // Somebody else gets ahead while the new value is worked out.
    let other = client.value("x");
    let runtime = tokio::runtime::Handle::current();
    let late = std::thread::spawn(move || {
        let change = |_: Option<&[u8]>| {
            let put = std::thread::spawn({
                let (runtime, other) = (runtime.clone(), other.clone());
                move || runtime.block_on(other.put("2"))
            });
            put.join().unwrap().unwrap();
            b"3".to_vec()
        };
        runtime.block_on(value.try_transform(change))
    });
    let late = soon(tokio::task::spawn_blocking(|| late.join().unwrap())).await;
    let late = late.unwrap().unwrap();
    assert!(!late.succeeded);
    assert_eq!(late.entry.unwrap().value, b"2");
}
