//! Clients that are slow, dead, greedy or hostile end their own connection and no other.

use std::time::Duration;

use holdfast::server::{Config, limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use crate::wire::*;

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let mut config = Config::throw_away();
    config.timers.head = SHORT;
    let server = start(config).await;
    let mut silent = connect(server.local_addr()).await;
    assert_eq!(read_all(&mut silent).await, "");
}

#[tokio::test]
async fn slow_heads_end_their_own_connection_only() {
    let mut config = Config::throw_away();
    config.timers.head = SHORT;
    let server = start(config).await;
    let mut slow = Vec::new();
    for beginning in [
        "GET /livez HTTP/1.1\r\nx-a: 1\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "G",
    ] {
        let mut stream = connect(server.local_addr()).await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(
        status(&ask(server.local_addr(), "GET /livez HTTP/1.1").await),
        200
    );
    for mut stream in slow {
        let answer = read_all(&mut stream).await;
        assert!(!answer.contains("200"), "{answer}");
    }
}

#[tokio::test]
async fn a_slow_body_is_not_waited_for() {
    let mut config = Config::throw_away();
    config.timers.body = SHORT;
    let server = start(config).await;
    let mut stream = connect(server.local_addr()).await;
    stream
        .write_all(
            b"POST /api/v1/locks/slow/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        )
        .await
        .unwrap();
    let answer = read_all(&mut stream).await;
    assert_eq!(status(&answer), 400, "{answer}");
    assert!(answer.contains("INVALID_ARGUMENT"), "{answer}");
}

#[tokio::test]
async fn large_heads_are_refused() {
    let server = start(Config::throw_away()).await;
    let long = format!("GET /livez HTTP/1.1\r\nx-a: {}", "a".repeat(64 * 1024));
    assert_eq!(status(&ask(server.local_addr(), &long).await), 431);
    let many: String = (0..=limits::HTTP1_HEADERS_MAX)
        .map(|n| format!("\r\nx-{n}: 1"))
        .collect();
    let many = format!("GET /livez HTTP/1.1{many}");
    assert_eq!(status(&ask(server.local_addr(), &many).await), 431);
    assert_eq!(
        status(&ask(server.local_addr(), "GET /livez HTTP/1.1").await),
        200
    );
}

#[tokio::test]
async fn a_dead_peer_on_http2_is_noticed() {
    let mut config = Config::throw_away();
    config.timers.ping_interval = SHORT;
    config.timers.ping_timeout = SHORT;
    let server = start(config).await;
    let mut dead = connect(server.local_addr()).await;
    dead.write_all(HTTP2_HELLO).await.unwrap();
    // It reads, but never answers a ping.
    read_bytes(&mut dead).await;
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_own_connection_only() {
    let server = start(Config::throw_away()).await;
    let mut good = connect(server.local_addr()).await;
    let mut flood = connect(server.local_addr()).await;
    let mut bytes = HTTP2_HELLO.to_vec();
    // :method GET, :scheme http, :path /, :authority localhost
    let headers = b"\x82\x86\x84\x41\x09localhost";
    for n in 0..20_000_u32 {
        let stream = 2 * n + 1;
        bytes.extend(frame(1, 0x05, stream, headers));
        bytes.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    // The server may have closed before it has read all.
    let (mut reader, mut writer) = flood.split();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, async {
        tokio::join!(writer.write_all(&bytes), reader.read_to_end(&mut answer))
    })
    .await
    .expect("the flood is ended");
    const ENHANCE_YOUR_CALM: u32 = 11;
    if let Some(code) = goaway(&answer) {
        assert_eq!(code, ENHANCE_YOUR_CALM);
    }
    good.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&read_all(&mut good).await), 200);
}

#[tokio::test]
async fn a_connection_too_many_is_turned_away_at_once() {
    let mut config = Config::throw_away();
    config.connections_max = 1;
    let server = start(config).await;
    let mut first = connect(server.local_addr()).await;
    first
        .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();

    let asked = Instant::now();
    let mut second = connect(server.local_addr()).await;
    let answer = read_all(&mut second).await;
    assert!(asked.elapsed() < PATIENCE);
    assert_eq!(status(&answer), 503);
    assert!(answer.contains("retry-after: 1"), "{answer}");
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_unless_allowed() {
    let mut config = Config::throw_away();
    config.allow_origins = vec!["https://ci.example".to_owned()];
    let server = start(config).await;
    let from = |origin: &str| format!("GET /v1/acquire/x HTTP/1.1\r\norigin: {origin}");
    let evil = ask(server.local_addr(), &from("https://evil.example")).await;
    assert_eq!(status(&evil), 403, "{evil}");
    let good = ask(server.local_addr(), &from("https://ci.example")).await;
    assert_eq!(status(&good), 200, "{good}");
    assert!(
        good.contains("access-control-allow-origin: https://ci.example"),
        "{good}"
    );
    let preflight = "OPTIONS /holdfast.v1.LockService/AcquireLock HTTP/1.1\r\norigin: https://ci.example\r\naccess-control-request-method: POST\r\naccess-control-request-headers: x-grpc-web,authorization";
    let answer = ask(server.local_addr(), preflight).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(
        answer.contains("access-control-allow-headers: x-grpc-web,authorization"),
        "{answer}"
    );
}
