use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode, header};
use standardwebhooks::Webhook;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A receiver of plain bytes.
async fn raw<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Endpoint
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    at(&format!("http://{address}/"))
}

#[tokio::test]
async fn a_receiver_gets_a_signed_json_post_and_takes_it_with_any_2xx() {
    for statuses in [&[200][..], &[202], &[204], &[299]] {
        let receiver = Receiver::answering(statuses).await;
        let outcome = sender()
            .attempt(&delivery(receiver.endpoint()), now(), PLENTY)
            .await;
        let status = statuses[0];
        assert_eq!(outcome, AttemptOutcome::Accepted { status });
        let seen = receiver.seen();
        let [seen] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert_eq!(seen.method, Method::POST);
        assert_eq!(seen.body, r#"{"status":"ok"}"#);
        assert_eq!(seen.header("content-type"), "application/json");
        let version = concat!("holdfast/", env!("CARGO_PKG_VERSION"));
        assert_eq!(seen.header("user-agent"), version);
        assert_eq!(seen.header("webhook-id"), WebhookId(7).to_string());
        Webhook::new(SECRET)
            .unwrap()
            .verify(&seen.body, &seen.headers)
            .unwrap();
    }
}

#[tokio::test]
async fn without_a_secret_there_is_an_id_and_a_time_but_no_signature() {
    let receiver = Receiver::answering(&[200]).await;
    let delivery = Delivery {
        secret: None,
        ..delivery(receiver.endpoint())
    };
    sender().attempt(&delivery, 1_700_000_000, PLENTY).await;
    let seen = receiver.seen();
    assert_eq!(seen[0].header("webhook-timestamp"), "1700000000");
    assert!(seen[0].headers.contains_key("webhook-id"));
    assert!(!seen[0].headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn gone_is_a_refusal_and_every_other_status_a_failure() {
    let receiver = Receiver::answering(&[410, 400, 404, 429, 500, 503]).await;
    let (sender, delivery) = (sender(), delivery(receiver.endpoint()));
    let outcome = sender.attempt(&delivery, now(), PLENTY).await;
    assert_eq!(outcome, AttemptOutcome::Refused);
    for expected in [400, 404, 429, 500, 503] {
        match sender.attempt(&delivery, now(), PLENTY).await {
            AttemptOutcome::Failed { reason, status, .. } => {
                assert_eq!(status, Some(expected));
                assert!(reason.contains(&expected.to_string()), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_says_so() {
    let inside = Receiver::answering(&[200]).await;
    let location = inside.endpoint().as_str().to_owned();
    for status in [301, 302, 303, 307, 308] {
        let location = location.clone();
        let receiver = Receiver::start(move |_| {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = (status, [(header::LOCATION, location.clone())]).into_response();
            std::future::ready(answer)
        })
        .await;
        let delivery = delivery(receiver.endpoint());
        let reason = reason(sender().attempt(&delivery, now(), PLENTY).await);
        assert!(reason.contains("redirects are not followed"), "{reason}");
    }
    assert!(inside.seen().is_empty());
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up_in_time() {
    let silent = raw(async |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let dripping = raw(async |mut stream| {
        while stream
            .write_all(b"HTTP/1.1 200 OK\r\nx: y\r\n")
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    for endpoint in [silent, dripping] {
        let within = Duration::from_millis(200);
        let attempt = sender().attempt(&delivery(endpoint), now(), within).await;
        assert!(reason(attempt).starts_with("no answer"));
    }
}

#[tokio::test]
async fn what_is_no_http_fails_the_attempt() {
    for garbage in ["", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 999999 x\r\n\r\n"] {
        let endpoint = raw(move |mut stream: TcpStream| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(garbage.as_bytes()).await;
        })
        .await;
        let attempt = sender().attempt(&delivery(endpoint), now(), PLENTY).await;
        assert!(reason(attempt).starts_with("no answer: "), "{garbage:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_fails_the_attempt() {
    let endpoint = raw(async |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let attempt = sender().attempt(&delivery(endpoint), now(), PLENTY).await;
    assert!(reason(attempt).starts_with("no answer: "));
}

#[tokio::test]
async fn nobody_there_fails_the_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = at(&format!("http://{}/", listener.local_addr().unwrap()));
    drop(listener);
    let reason = reason(sender().attempt(&delivery(endpoint), now(), PLENTY).await);
    assert!(
        reason.contains("no connection") && reason.contains("refused"),
        "{reason}"
    );
}

#[tokio::test]
async fn of_an_answer_without_end_only_the_beginning_is_read() {
    const CHUNK: usize = 16 * 1024;
    let made = Arc::new(AtomicUsize::new(0));
    let receiver = Receiver::start({
        let made = made.clone();
        move |_| {
            let made = made.clone();
            let chunks = stream::repeat_with(move || {
                made.fetch_add(CHUNK, Ordering::Relaxed);
                Ok::<_, std::io::Error>(vec![b'x'; CHUNK])
            });
            std::future::ready(Response::new(Body::from_stream(chunks)))
        }
    })
    .await;
    let outcome = sender()
        .attempt(&delivery(receiver.endpoint()), now(), PLENTY)
        .await;
    assert_eq!(outcome, AttemptOutcome::Accepted { status: 200 });
    // What the system buffers for a connection is all that the receiver got rid of.
    let made = made.load(Ordering::Relaxed);
    assert!(made < 32 * 1024 * 1024, "{made}");
}

#[tokio::test]
async fn an_answer_that_never_ends_is_taken_by_its_status() {
    let receiver = Receiver::start(|_| {
        let body = stream::iter([Ok::<_, std::io::Error>("x")]).chain(stream::pending());
        std::future::ready(Response::new(Body::from_stream(body)))
    })
    .await;
    let outcome = sender()
        .attempt(&delivery(receiver.endpoint()), now(), PLENTY)
        .await;
    assert_eq!(outcome, AttemptOutcome::Accepted { status: 200 });
}

#[tokio::test]
async fn every_attempt_has_a_connection_of_its_own() {
    let connections = Arc::new(AtomicUsize::new(0));
    let endpoint = raw({
        let connections = connections.clone();
        move |mut stream| {
            connections.fetch_add(1, Ordering::Relaxed);
            async move {
                while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            }
        }
    })
    .await;
    let (sender, delivery) = (sender(), delivery(endpoint));
    for _ in 0..3 {
        sender.attempt(&delivery, now(), PLENTY).await;
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}
