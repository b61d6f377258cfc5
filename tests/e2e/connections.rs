//! Connections that are slow, silent, hostile or many: only they suffer. Others' calls go on, the
//! process stays the one it was, and its memory stays within bounds.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdfast::proto::v1::attach_request::Call;
use holdfast::proto::v1::*;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::grpc::{self, Session, acquire, ask, get, release, settles, soon, waiting};
use crate::http;
use crate::http2::{self, frame, setting};
use crate::server::Server;

/// How many calls others make while something goes on: each must be answered in good time.
const OTHERS: usize = 50;
/// Tells the locks of one round from those of the next.
static ROUND: AtomicUsize = AtomicUsize::new(0);
/// What no attack here may make the server grow to, in MiB, unoptimized as it is.
const MEMORY_MIB_MAX: u64 = 400;

/// Takes and releases locks over connections of its own, by gRPC and by REST.
async fn others_go_on(addr: SocketAddr) {
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    let mut locks = grpc::locks(addr).await;
    for n in 0..OTHERS {
        let lock = format!("others-{round}-{n}");
        let grant = acquire(&mut locks, ask(&lock)).await;
        release(&mut locks, &grant).await;
        let path = format!("/api/v1/locks/{lock}/acquire");
        let granted = soon(http::post(addr, &path, json!({"ttl": "1m"}))).await;
        assert_eq!(granted.status, 200, "{}", granted.text());
    }
    let mut leases = grpc::leases(addr).await;
    let lease = soon(leases.create_lease(CreateLeaseRequest::default())).await;
    let lease_id = lease.unwrap().into_inner().lease.unwrap().lease_id;
    for _ in 0..OTHERS {
        let lease_id = lease_id.clone();
        let renew = RenewLeaseRequest { lease_id };
        soon(leases.renew_lease(renew)).await.unwrap();
    }
}

async fn assert_unharmed(server: &mut Server, after: &str) {
    let memory = server.memory_mib();
    assert!(memory < MEMORY_MIB_MAX, "after {after}: {memory} MiB");
    server.assert_well(after).await;
}

#[tokio::test]
async fn who_says_half_of_something_holds_up_nobody() {
    let mut server = Server::memory();
    let addr = server.addr;
    let acquire = http2::call_headers("LockService/AcquireLock");
    let hello = |frames: &[u8]| {
        let mut bytes = http2::PREFACE.to_vec();
        bytes.extend(frame(http2::SETTINGS, 0, 0, &[]));
        bytes.extend(frames);
        bytes
    };
    let halves: [Vec<u8>; 9] = [
        Vec::new(),
        b"POST /api/v1/lo".to_vec(),
        b"POST /api/v1/locks/x/acquire HTTP/1.1\r\nhost: x\r\nx-slow: ".to_vec(),
        b"POST /api/v1/locks/x/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{".to_vec(),
        b"PUT /v1/28c9c1be-7bb8-4e8c-b22e-c16402a421d5 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nttl"
            .to_vec(),
        http2::PREFACE[..10].to_vec(),
        hello(&[]),
        hello(&frame(http2::HEADERS, 0, 1, &acquire)),
        hello(
            &[
                frame(http2::HEADERS, http2::END_HEADERS, 1, &acquire),
                frame(http2::DATA, 0, 1, &[0, 0, 0, 0, 3, 10]),
            ]
            .concat(),
        ),
    ];
    let mut silent: Vec<TcpStream> = Vec::new();
    for half in &halves {
        for _ in 0..40 {
            let mut stream = http::connect(addr).await;
            stream.write_all(half).await.unwrap();
            silent.push(stream);
        }
    }
    others_go_on(addr).await;
    let lock = http::get(addr, "/api/v1/locks/x").await;
    assert_eq!(lock.json()["state"], "FREE");
    assert_unharmed(&mut server, "half requests").await;
    drop(silent);
}

/// Sends a piece again and again, reading everything or nothing, until the others are done. Tells
/// whether the server has hung up.
async fn flood(
    addr: SocketAddr,
    first: &[u8],
    piece: impl Fn(u32) -> Vec<u8>,
    reads: bool,
) -> bool {
    let (mut reader, mut writer) = http2::connect(addr, &[]).await.into_split();
    let writing = async {
        if writer.write_all(first).await.is_err() {
            return;
        }
        for n in 0.. {
            if writer.write_all(&piece(n)).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        let mut told = Vec::new();
        while reads && reader.read_buf(&mut told).await.is_ok_and(|read| read > 0) {
            told.clear();
        }
    };
    let mut ended = false;
    let attack = async {
        tokio::join!(writing, reading);
        ended = true;
        std::future::pending().await
    };
    tokio::select! {
        () = attack => {}
        () = others_go_on(addr) => {}
    }
    ended
}

#[tokio::test]
async fn a_flood_of_calls_taken_back_ends_its_own_connection_and_leaves_no_waiter() {
    let mut server = Server::memory();
    let addr = server.addr;
    let mut locks = grpc::locks(addr).await;
    acquire(&mut locks, ask("wanted")).await;
    let headers = http2::call_headers("LockService/AcquireLock");
    let wait = http2::message(&waiting("wanted"));
    let taken_back = |n: u32| {
        let mut bytes = Vec::new();
        for n in 200 * n..200 * (n + 1) {
            let stream = 2 * n + 1;
            bytes.extend(frame(http2::HEADERS, http2::END_HEADERS, stream, &headers));
            bytes.extend(frame(http2::DATA, http2::END_STREAM, stream, &wait));
            bytes.extend(frame(http2::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        bytes
    };
    for _ in 0..3 {
        assert!(
            flood(addr, &[], taken_back, true).await,
            "it may go on for ever"
        );
    }
    settles(&mut locks, "wanted", 1, 0).await;
    assert_unharmed(&mut server, "floods of resets").await;
}

#[tokio::test]
async fn floods_of_other_frames_end_at_most_their_own_connection() {
    let mut server = Server::memory();
    let addr = server.addr;
    let headers = http2::call_headers("SessionService/Attach");
    let many = |piece: Vec<u8>| piece.repeat(100);
    let open = frame(http2::HEADERS, http2::END_HEADERS, 1, &headers);
    let half_open = frame(http2::HEADERS, 0, 1, &headers);
    const PING: u8 = 6;
    const CONTINUATION: u8 = 9;
    let floods: [(&str, Vec<u8>, Vec<u8>); 6] = [
        ("pings", Vec::new(), many(frame(PING, 0, 0, &[7; 8]))),
        (
            "settings",
            Vec::new(),
            many(frame(http2::SETTINGS, 0, 0, &setting(4, 65_535))),
        ),
        (
            "empty data",
            open.clone(),
            many(frame(http2::DATA, 0, 1, &[])),
        ),
        (
            "windows of one",
            open.clone(),
            many(frame(http2::WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
        ),
        (
            "heads without end",
            half_open,
            many(frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b")),
        ),
        ("tiny data", open, many(frame(http2::DATA, 0, 1, &[0]))),
    ];
    for (name, first, piece) in floods {
        for reads in [true, false] {
            flood(addr, &first, |_| piece.clone(), reads).await;
            assert_unharmed(&mut server, name).await;
        }
    }
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_their_own_connection() {
    let mut server = Server::memory();
    let addr = server.addr;
    let headers = http2::call_headers("LockService/GetLock");
    let mut oversized = 1_000_000_u32.to_be_bytes()[1..].to_vec();
    oversized.extend([http2::DATA, 0, 0, 0, 0, 1]);
    oversized.extend([0; 100_000]);
    for (case, bytes) in [
        ("a frame that is too large", oversized),
        ("headers on stream 0", frame(http2::HEADERS, 5, 0, &headers)),
        (
            "headers on an even stream",
            frame(http2::HEADERS, 5, 2, &headers),
        ),
        ("data on an idle stream", frame(http2::DATA, 0, 1, b"x")),
        (
            "a window of zero",
            frame(http2::WINDOW_UPDATE, 0, 0, &[0; 4]),
        ),
        (
            "settings of the wrong size",
            frame(http2::SETTINGS, 0, 0, &[1]),
        ),
        (
            "fields that are no fields",
            frame(http2::HEADERS, 5, 1, &[0xff; 50]),
        ),
        ("a promise", frame(5, 4, 1, &[0, 0, 0, 2, 0x82])),
    ] {
        let mut stream = http2::connect(addr, &[]).await;
        // It may hang up before it has read all.
        let _ = stream.write_all(&bytes).await;
        let ended = soon(async {
            while let Some((kind, _, _, _)) = http2::read_frame(&mut stream).await {
                if kind == http2::GOAWAY {
                    return;
                }
            }
        });
        ended.await;
        assert_unharmed(&mut server, case).await;
    }
}

#[tokio::test]
async fn ten_thousand_callers_wait_on_one_connection_and_leave_with_it() {
    const CALLERS: u32 = 10_000;
    let mut server = Server::memory();
    let addr = server.addr;
    let mut locks = grpc::locks(addr).await;
    let grant = acquire(&mut locks, ask("wanted")).await;
    let mut waiters = grpc::locks(addr).await;
    let mut streams = Vec::new();
    for _ in 0..CALLERS {
        let request = SubscribeAndGrabRequest {
            lock: "wanted".into(),
            ..Default::default()
        };
        streams.push(
            soon(waiters.subscribe_and_grab(request))
                .await
                .unwrap()
                .into_inner(),
        );
    }
    assert_eq!(get(&mut locks, "wanted").await.waiter_count, CALLERS);
    others_go_on(addr).await;
    release(&mut locks, &grant).await;
    // The first of them, and nobody else, has it.
    soon(async {
        loop {
            let news = streams[0].message().await.unwrap().unwrap();
            if let Some(subscribe_and_grab_response::Event::Granted(_)) = news.event {
                break;
            }
        }
    })
    .await;
    assert_eq!(get(&mut locks, "wanted").await.waiter_count, CALLERS - 1);
    drop((streams, waiters));
    settles(&mut locks, "wanted", 1, 0).await;
    assert_unharmed(&mut server, "10,000 streams").await;
}

#[tokio::test]
async fn more_streams_than_a_connection_may_have_harm_nobody_else() {
    let mut server = Server::memory();
    let addr = server.addr;
    let mut locks = grpc::locks(addr).await;
    acquire(&mut locks, ask("wanted")).await;
    let headers = http2::call_headers("LockService/AcquireLock");
    let wait = http2::message(&waiting("wanted"));
    let calls = |n: u32| {
        let mut bytes = Vec::new();
        for n in 100 * n..100 * (n + 1) {
            bytes.extend(frame(
                http2::HEADERS,
                http2::END_HEADERS,
                2 * n + 1,
                &headers,
            ));
            bytes.extend(frame(http2::DATA, http2::END_STREAM, 2 * n + 1, &wait));
        }
        bytes
    };
    flood(addr, &[], calls, true).await;
    settles(&mut locks, "wanted", 1, 0).await;
    assert_unharmed(&mut server, "too many streams").await;
}

#[tokio::test]
async fn ten_thousand_calls_wait_on_one_session() {
    const CALLS: u32 = 10_000;
    let mut server = Server::memory();
    let addr = server.addr;
    let mut locks = grpc::locks(addr).await;
    let grant = acquire(&mut locks, ask("wanted")).await;
    let channel = grpc::try_channel(addr).await.unwrap();
    let mut session = Session::open(channel, "").await.unwrap();
    let first = session
        .send(Call::AcquireLock(waiting("wanted")))
        .await
        .unwrap();
    for _ in 1..CALLS {
        soon(session.send(Call::AcquireLock(waiting("wanted"))))
            .await
            .unwrap();
    }
    settles(&mut locks, "wanted", 1, CALLS).await;
    others_go_on(addr).await;
    release(&mut locks, &grant).await;
    let (number, result) = soon(session.answer()).await.unwrap();
    assert_eq!(number, first, "{result:?}");
    assert!(
        matches!(result, attach_response::Result::Acquired(_)),
        "{result:?}"
    );
    assert_unharmed(&mut server, "10,000 calls of a session").await;
    // Places in line hang on the session's lease; its end ends them all.
    let mut leases = grpc::leases(addr).await;
    let lease_id = session.lease_id.clone();
    drop(session);
    let revoke = RevokeLeaseRequest {
        lease_id,
        ..Default::default()
    };
    soon(leases.revoke_lease(revoke)).await.unwrap();
    settles(&mut locks, "wanted", 0, 0).await;
}

#[tokio::test]
async fn who_does_not_read_is_not_waited_for() {
    let mut server = Server::memory();
    let addr = server.addr;
    let before = server.memory_mib();
    let mut unread = Vec::new();
    for _ in 0..20 {
        // No window: the server may send heads, but no message.
        for (method, body) in [
            (
                "LockService/WatchLock",
                http2::message(&WatchLockRequest {
                    lock: "busy".into(),
                }),
            ),
            (
                "LockService/SubscribeAndGrab",
                http2::message(&SubscribeAndGrabRequest {
                    lock: "wanted".into(),
                    ..Default::default()
                }),
            ),
            ("SessionService/Attach", calls_of_a_session()),
        ] {
            let mut stream = http2::connect(addr, &setting(4, 0)).await;
            let headers = http2::call_headers(method);
            let mut bytes = frame(http2::HEADERS, http2::END_HEADERS, 1, &headers);
            for piece in body.chunks(16_000) {
                bytes.extend(frame(http2::DATA, 0, 1, piece));
            }
            stream.write_all(&bytes).await.unwrap();
            unread.push(stream);
        }
        let mut stream = http::connect(addr).await;
        let watch = http::request("GET", b"/api/v1/locks/busy/watch", &[], b"");
        stream.write_all(&watch).await.unwrap();
        unread.push(stream);
    }
    let mut locks = grpc::locks(addr).await;
    for _ in 0..700 {
        let mut request = ask("busy");
        request.owner = "x".repeat(512);
        let grant = acquire(&mut locks, request).await;
        release(&mut locks, &grant).await;
    }
    others_go_on(addr).await;
    let grown = server.memory_mib().saturating_sub(before);
    assert!(grown < 150, "slow readers cost {grown} MiB");
    assert_unharmed(&mut server, "slow readers").await;
    drop(unread);
    let grant = acquire(&mut locks, ask("busy")).await;
    release(&mut locks, &grant).await;
}

/// As much as a caller may send ahead: a session and the calls in it.
fn calls_of_a_session() -> Vec<u8> {
    let mut bytes = Vec::new();
    for call_id in 1..1_500 {
        let call = match call_id {
            1 => Call::Open(OpenSession::default()),
            _ => Call::AcquireLock(ask(&format!("unread-{call_id}"))),
        };
        let message = http2::message(&AttachRequest {
            call_id,
            call: Some(call),
        });
        if bytes.len() + message.len() > 60_000 {
            break;
        }
        bytes.extend(message);
    }
    bytes
}
