use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::IntoResponse as _;
use futures_util::future::join_all;
use http::{StatusCode, header};
use standardwebhooks::Webhook;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::*;
use crate::core::Namespace;

fn job(namespace: &str, endpoint: Endpoint) -> Job {
    Job {
        namespace: Namespace::new(namespace).unwrap(),
        delivery: delivery(endpoint),
    }
}

/// Delivers to the receiver; gives the end and what was reported.
async fn run(receiver: &Receiver, time: Duration) -> (Delivered, Vec<Attempt>) {
    let mut attempts = Vec::new();
    let delivered = deliver(
        &sender(),
        &Turns::default(),
        &job("ci", receiver.endpoint()),
        Instant::now() + time,
        |attempt| attempts.push(attempt),
    )
    .await;
    (delivered, attempts)
}

#[tokio::test]
async fn a_delivery_is_repeated_with_the_same_id_and_a_new_time_until_it_is_taken() {
    let receiver = Receiver::answering(&[500, 503, 200]).await;
    let (delivered, attempts) = run(&receiver, PLENTY).await;
    assert_eq!(delivered, Delivered::Accepted);
    let statuses = attempts.iter().map(|attempt| match &attempt.outcome {
        AttemptOutcome::Accepted { status } => *status,
        AttemptOutcome::Failed { status, .. } => status.unwrap(),
        AttemptOutcome::Refused => 410,
    });
    assert_eq!(statuses.collect::<Vec<_>>(), [500, 503, 200]);
    assert!(attempts.iter().map(|attempt| attempt.number).eq(1..=3));

    let seen = receiver.seen();
    let verifier = Webhook::new(SECRET).unwrap();
    for request in &seen {
        assert_eq!(request.header("webhook-id"), WebhookId(7).to_string());
        verifier.verify(&request.body, &request.headers).unwrap();
    }
    let timestamp = |n: usize| seen[n].header("webhook-timestamp").parse::<u64>().unwrap();
    // The two pauses between them are more than a second together.
    assert!(timestamp(2) > timestamp(0));
    assert_ne!(
        seen[2].header("webhook-signature"),
        seen[0].header("webhook-signature")
    );
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let receiver = Receiver::answering(&[410]).await;
    let (delivered, attempts) = run(&receiver, PLENTY).await;
    assert_eq!(delivered, Delivered::Refused);
    assert_eq!(attempts.len(), 1);
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_always_fails_is_given_up_before_the_time_is_over() {
    let receiver = Receiver::answering(&[500]).await;
    let began = Instant::now();
    let time = Duration::from_millis(1200);
    let (delivered, attempts) = run(&receiver, time).await;
    assert_eq!(delivered, Delivered::Expired);
    assert_eq!(attempts.len(), receiver.seen().len());
    for attempt in receiver.seen() {
        assert!(attempt.at < (began + time).into_std());
    }
}

#[tokio::test]
async fn an_attempt_ends_with_the_time_there_is() {
    let receiver = Receiver::start(|_| std::future::pending()).await;
    let (delivered, attempts) = run(&receiver, Duration::from_millis(300)).await;
    assert_eq!(delivered, Delivered::Expired);
    assert_eq!(attempts.len(), 1);
    assert!(reason(attempts[0].outcome.clone()).contains("no answer within"));
}

#[tokio::test]
async fn without_time_there_is_no_attempt() {
    let receiver = Receiver::answering(&[200]).await;
    let (delivered, attempts) = run(&receiver, Duration::ZERO).await;
    assert_eq!(delivered, Delivered::Expired);
    assert_eq!(attempts, []);
    assert!(receiver.seen().is_empty());
}

/// A receiver that is busy at first and asks to be left alone for so many seconds.
async fn busy(seconds: u64) -> Receiver {
    Receiver::start(move |count| {
        let answer = match count {
            1 => {
                let asked = [(header::RETRY_AFTER, seconds.to_string())];
                (StatusCode::TOO_MANY_REQUESTS, asked).into_response()
            }
            _ => StatusCode::OK.into_response(),
        };
        std::future::ready(answer)
    })
    .await
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let receiver = busy(2).await;
    let (delivered, _) = run(&receiver, PLENTY).await;
    assert_eq!(delivered, Delivered::Accepted);
    let seen = receiver.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_receiver_that_asks_for_more_time_than_there_is_has_lost_its_turn() {
    let receiver = busy(3600).await;
    let (delivered, attempts) = run(&receiver, PLENTY).await;
    assert_eq!(delivered, Delivered::Expired);
    assert_eq!(attempts.len(), 1);
}

#[tokio::test]
async fn so_many_and_no_more_are_in_flight_for_a_namespace() {
    const JOBS: usize = IN_FLIGHT_PER_NAMESPACE_MAX * 3;
    let (now_there, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let doors = Arc::new(Semaphore::new(0));
    let receiver = Receiver::start({
        let (now_there, most, doors) = (now_there.clone(), most.clone(), doors.clone());
        move |_| {
            let (now_there, most, doors) = (now_there.clone(), most.clone(), doors.clone());
            async move {
                let count = now_there.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(count, Ordering::SeqCst);
                let _door = doors.acquire().await.unwrap();
                now_there.fetch_sub(1, Ordering::SeqCst);
                StatusCode::OK.into_response()
            }
        }
    })
    .await;
    let (sender, turns) = (sender(), Turns::default());
    let until = Instant::now() + PLENTY;
    let jobs = join_all((0..JOBS).map(|_| {
        let (sender, turns) = (sender.clone(), turns.clone());
        let job = job("ci", receiver.endpoint());
        tokio::spawn(async move { deliver(&sender, &turns, &job, until, |_| {}).await })
    }));
    while now_there.load(Ordering::SeqCst) < IN_FLIGHT_PER_NAMESPACE_MAX {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The others of this namespace wait, but another one's go on.
    let other = Receiver::answering(&[200]).await;
    let job = job("other", other.endpoint());
    let delivered = deliver(&sender, &turns, &job, until, |_| {}).await;
    assert_eq!(delivered, Delivered::Accepted);
    assert_eq!(receiver.seen().len(), IN_FLIGHT_PER_NAMESPACE_MAX);
    doors.add_permits(JOBS);
    for delivered in jobs.await {
        assert_eq!(delivered.unwrap(), Delivered::Accepted);
    }
    assert_eq!(receiver.seen().len(), JOBS);
    assert_eq!(most.load(Ordering::SeqCst), IN_FLIGHT_PER_NAMESPACE_MAX);
}

#[tokio::test]
async fn who_waits_for_a_turn_waits_no_longer_than_there_is_time() {
    let turns = Turns::default();
    let job = job("ci", at("http://127.0.0.1:1/"));
    let take = || turns.take(&job.namespace);
    let _all = join_all((0..IN_FLIGHT_PER_NAMESPACE_MAX).map(|_| take())).await;
    let until = Instant::now() + Duration::from_millis(100);
    let report = |attempt| panic!("{attempt:?}");
    let delivered = deliver(&sender(), &turns, &job, until, report).await;
    assert_eq!(delivered, Delivered::Expired);
}

#[test]
fn a_jobs_debug_output_has_no_secret() {
    let job = job("ci", at("https://ci.example/T0KEN"));
    let shown = format!("{job:?} {:#?} {:?}", job, sender());
    for hidden in [&SECRET["whsec_".len()..], "T0KEN", "49, 242"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}
