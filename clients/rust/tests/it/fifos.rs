//! FIFOs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_client::{Error, FifoOptions};

use crate::server::*;

#[tokio::test]
async fn tickets_have_their_turns_in_order_over_a_restart() {
    let mut server = Server::start();
    let client = server.client().await;
    let fifo = client.fifo("deploys");
    assert!(fifo.create(FifoOptions::default()).await.unwrap());
    assert!(!fifo.create(FifoOptions::default()).await.unwrap());
    let first = fifo.ticket().await.unwrap();
    let second = fifo.ticket().await.unwrap();
    let turn = soon(first.wait()).await.unwrap();
    assert!(!turn.is_lost() && turn.remaining().is_some());
    let (places, mut told) = tokio::sync::mpsc::unbounded_channel();
    let waiting = tokio::spawn(async move {
        let tell = |place| places.send(place).unwrap();
        second.wait_watching(tell).await
    });
    assert_eq!(soon(told.recv()).await, Some(1));
    server.kill();
    server.start_again();
    turn.extend(None).await.unwrap();
    turn.done().await.unwrap();
    let turn = soon(waiting).await.unwrap().unwrap();
    turn.done().await.unwrap();
    assert_eq!(fifo.get().await.unwrap().tickets.len(), 0);
}

#[tokio::test]
async fn scopes_take_turns_and_outlast_the_done_timeout() {
    let server = Server::start();
    let client = server.client().await;
    let fifo = client.fifo("x");
    let done = Duration::from_millis(500);
    fifo.create(FifoOptions::default().done_timeout(done))
        .await
        .unwrap();
    let inside = Arc::new(Mutex::new(0));
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let (fifo, inside) = (fifo.clone(), inside.clone());
        tasks.push(tokio::spawn(async move {
            let work = async |turn: &holdfast_client::Turn| {
                *inside.lock().unwrap() += 1;
                assert_eq!(*inside.lock().unwrap(), 1);
                tokio::time::sleep(2 * done).await;
                assert!(!turn.is_lost());
                *inside.lock().unwrap() -= 1;
            };
            fifo.scope(work).await
        }));
    }
    for task in tasks {
        soon(task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_scope_that_is_dropped_takes_its_ticket_back() {
    let server = Server::start();
    let client = server.client().await;
    let fifo = client.fifo("x");
    fifo.create(FifoOptions::default()).await.unwrap();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let first = tokio::spawn({
        let fifo = fifo.clone();
        async move {
            let work = async |_: &holdfast_client::Turn| {
                begun.send(()).unwrap();
                std::future::pending::<()>().await;
            };
            fifo.scope(work).await
        }
    });
    soon(begins).await.unwrap();
    first.abort();
    let next = fifo.ticket().await.unwrap();
    soon(next.wait()).await.unwrap().done().await.unwrap();
}

#[tokio::test]
async fn a_turn_that_lapses_is_lost_before_the_next_one_begins() {
    let server = Server::start();
    let client = server.client().await;
    let fifo = client.fifo("x");
    let done = Duration::from_millis(500);
    fifo.create(FifoOptions::default().done_timeout(done))
        .await
        .unwrap();
    let turn = fifo.ticket().await.unwrap().wait().await.unwrap();
    let next = fifo.ticket().await.unwrap();
    let next = tokio::spawn(async move { next.wait().await });
    soon(turn.lost()).await;
    assert!(!next.is_finished());
    soon(next).await.unwrap().unwrap().done().await.unwrap();
    assert!(matches!(turn.done().await, Err(Error::Lost(_))));
}
