//! Queues.

use std::collections::HashSet;
use std::time::Duration;

use holdfast_client::Error;

use crate::server::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_consumers_pop_a_hundred_items_each_once() {
    let server = Server::start();
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let queue = server.client().await.queue("jobs");
        tasks.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..10 {
                mine.push(queue.pop().await.unwrap());
            }
            mine
        }));
    }
    let queue = server.client().await.queue("jobs");
    for item in 0..100 {
        queue.push(item.to_string()).await.unwrap();
    }
    let mut all = HashSet::new();
    for task in tasks {
        for item in soon(task).await.unwrap() {
            assert!(all.insert(item));
        }
    }
    assert_eq!(all.len(), 100);
    assert_eq!(queue.pop_within(Duration::ZERO).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let server = Server::start();
    let queue = server.client().await.queue("jobs");
    queue.push("a").await.unwrap();
    queue.push("b").await.unwrap();
    let first = queue.take(PATIENCE).await.unwrap().unwrap();
    assert_eq!(first.value(), b"a");
    drop(first);
    let again = loop {
        let item = soon(queue.take(PATIENCE)).await.unwrap().unwrap();
        if item.value() == b"a" {
            break item;
        }
        item.give_back().await.unwrap();
    };
    assert_eq!(again.deliveries(), 2);
    again.extend(None).await.unwrap();
    again.acknowledge().await.unwrap();
    let late = queue.clone().ack_timeout(Duration::from_millis(100));
    let late = late.take(PATIENCE).await.unwrap().unwrap();
    let again = soon(queue.take(PATIENCE)).await.unwrap().unwrap();
    assert!(matches!(late.acknowledge().await, Err(Error::NotHolder(_))));
    again.acknowledge().await.unwrap();
}

#[tokio::test]
async fn a_consumer_goes_on_over_a_restart() {
    let mut server = Server::start();
    let client = server.client().await;
    let queue = client.queue("jobs").window(1);
    queue.push("1").await.unwrap();
    queue.push("2").await.unwrap();
    let mut items = queue.consume();
    let first = soon(items.next()).await.unwrap();
    assert_eq!(first.value(), b"1");
    server.kill();
    server.start_again();
    first.acknowledge().await.unwrap();
    let second = soon(items.next()).await.unwrap();
    assert_eq!(second.value(), b"2");
    second.acknowledge().await.unwrap();
}
