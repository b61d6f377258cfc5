//! Bad input over gRPC: a status that names the field and the bound, the same for a call of its own
//! and for one of many on a stream.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use holdfast::proto::v1::attach_request::Call;
use holdfast::proto::v1::*;
use tokio::io::AsyncWriteExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::grpc::{self, Session, ask, soon, span, ttl};
use crate::http as http1;
use crate::http2::{self, frame};
use crate::server::Server;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn signed(seconds: i64, nanos: i32) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos }
}

/// Acquires of which one field is out of its bounds, and that field.
fn bad_acquires() -> Vec<(AcquireLockRequest, &'static str)> {
    use acquire_lock_request::Hold;
    let with = |change: &dyn Fn(&mut AcquireLockRequest)| {
        let mut request = ask("x");
        change(&mut request);
        request
    };
    let metadata = |key: &str, value: &str| {
        with(&|r| {
            r.metadata.insert(key.to_owned(), value.to_owned());
        })
    };
    let long = "x".repeat(513);
    let mut cases = vec![
        (ask(""), "lock"),
        (ask(&long), "lock"),
        (ask(&"é".repeat(257)), "lock"),
        (ask("a\0b"), "lock"),
        (ask("a\u{85}b"), "lock"),
        (with(&|r| r.mode = 3), "mode"),
        (with(&|r| r.mode = -1), "mode"),
        (with(&|r| r.max_shared = 2), "max_shared"),
        (
            with(&|r| {
                r.mode = LockMode::Shared.into();
                r.max_shared = 1_000_001;
            }),
            "max_shared",
        ),
        (
            with(&|r| r.hold = Some(Hold::LeaseId("x".into()))),
            "lease_id",
        ),
        (
            with(&|r| r.hold = Some(Hold::LeaseId(String::new()))),
            "lease_id",
        ),
        (with(&|r| r.owner = long.clone()), "owner"),
        (with(&|r| r.owner = "a\nb".into()), "owner"),
        (with(&|r| r.request_id = "x".repeat(129)), "request_id"),
        (with(&|r| r.request_id = "\0".into()), "request_id"),
        (metadata("", "a"), "metadata"),
        (metadata(&"x".repeat(129), "a"), "metadata"),
        (metadata("a", &"x".repeat(4096)), "metadata"),
        (metadata("a", "\u{1b}"), "metadata"),
        (
            with(&|r| r.metadata = (0..33).map(|n| (n.to_string(), "x".into())).collect()),
            "metadata",
        ),
    ];
    for bad in [
        signed(-1, 0),
        signed(0, -1),
        signed(0, 99_999_999),
        signed(30 * 86_400, 1),
        signed(i64::MAX, 999_999_999),
        signed(i64::MIN, i32::MIN),
        signed(0, 0),
    ] {
        cases.push((with(&|r| r.hold = Some(Hold::Ttl(bad))), "ttl"));
    }
    for bad in [
        signed(-1, 0),
        signed(0, -1),
        signed(86_400, 1),
        signed(i64::MAX, i32::MAX),
    ] {
        cases.push((with(&|r| r.wait = Some(bad)), "wait"));
    }
    for bad in [
        signed(-1, 0),
        signed(0, -1),
        signed(3_600, 1),
        signed(i64::MAX, i32::MAX),
    ] {
        let asked = with(&|r| r.release_delay = Some(bad));
        cases.push((asked, "release_delay"));
    }
    cases
}

/// The refusal names the field in the details and the text, and says what is expected.
fn assert_names(status: &Status, field: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
    assert_eq!(grpc::reason(status), "INVALID_ARGUMENT");
    let details = status.get_details_bad_request().unwrap();
    assert_eq!(details.field_violations.len(), 1);
    assert_eq!(details.field_violations[0].field, field, "{status:?}");
    assert!(!details.field_violations[0].description.is_empty());
    assert!(status.message().starts_with(field), "{status:?}");
}

#[tokio::test]
async fn an_acquire_out_of_bounds_is_refused_by_every_way_to_ask() {
    let mut server = Server::memory();
    let mut locks = grpc::locks(server.addr).await;
    let channel = grpc::try_channel(server.addr).await.unwrap();
    let mut session = Session::open(channel, "").await.unwrap();
    for (request, field) in bad_acquires() {
        let unary = soon(locks.acquire_lock(request.clone())).await.unwrap_err();
        assert_names(&unary, field);

        let subscribe = SubscribeAndGrabRequest {
            lock: request.lock.clone(),
            mode: request.mode,
            max_shared: request.max_shared,
            hold: request.hold.clone().map(|hold| match hold {
                acquire_lock_request::Hold::Ttl(ttl) => subscribe_and_grab_request::Hold::Ttl(ttl),
                acquire_lock_request::Hold::LeaseId(id) => {
                    subscribe_and_grab_request::Hold::LeaseId(id)
                }
                acquire_lock_request::Hold::NoExpiry(no) => {
                    subscribe_and_grab_request::Hold::NoExpiry(no)
                }
            }),
            wait: request.wait,
            owner: request.owner.clone(),
            metadata: request.metadata.clone(),
            request_id: request.request_id.clone(),
            release_delay: request.release_delay,
        };
        let streamed = soon(locks.subscribe_and_grab(subscribe)).await.unwrap_err();
        assert_names(&streamed, field);

        let told = soon(session.call(Call::AcquireLock(request)))
            .await
            .unwrap();
        let attach_response::Result::Error(error) = told else {
            panic!("{field}: {told:?}");
        };
        assert_eq!((error.code, error.field.as_str()), (3, field), "{error:?}");
        assert_eq!(error.reason, "INVALID_ARGUMENT");
        assert_eq!(error.message, unary.message());
    }
    // The session has outlived all of it, and the bounds themselves are good.
    let mut most = ask(&"x".repeat(512));
    most.hold = ttl(30 * DAY);
    most.wait = span(DAY);
    most.release_delay = Some(signed(3_600, 0));
    most.owner = "x".repeat(512);
    most.request_id = "x".repeat(128);
    most.metadata = [("k".repeat(128), "x".repeat(4096 - 128))].into();
    let told = soon(session.call(Call::AcquireLock(most))).await.unwrap();
    assert!(
        matches!(told, attach_response::Result::Acquired(_)),
        "{told:?}"
    );
    server.assert_well("bad acquires").await;
}

#[tokio::test]
async fn other_calls_out_of_bounds_are_refused_too() {
    let mut server = Server::memory();
    let mut locks = grpc::locks(server.addr).await;
    let mut leases = grpc::leases(server.addr).await;
    let long = "x".repeat(513);

    macro_rules! refused {
        ($client:ident.$method:ident, $field:literal, $request:expr) => {
            let status = soon($client.$method($request))
                .await
                .map(|_| ())
                .unwrap_err();
            assert_names(&status, $field);
        };
    }
    for lock in ["", "\0", &long] {
        let lock = lock.to_owned();
        refused!(
            locks.get_lock,
            "lock",
            GetLockRequest { lock: lock.clone() }
        );
        refused!(
            locks.explain_lock,
            "lock",
            ExplainLockRequest { lock: lock.clone() }
        );
        refused!(
            locks.watch_lock,
            "lock",
            WatchLockRequest { lock: lock.clone() }
        );
        refused!(
            locks.release_lock,
            "lock",
            ReleaseLockRequest {
                lock: lock.clone(),
                ..Default::default()
            }
        );
        refused!(
            locks.renew_lock,
            "lock",
            RenewLockRequest {
                lock: lock.clone(),
                ..Default::default()
            }
        );
        refused!(
            locks.force_release_lock,
            "lock",
            ForceReleaseLockRequest {
                lock: lock.clone(),
                ..Default::default()
            }
        );
        refused!(
            locks.check_grant,
            "lock",
            CheckGrantRequest {
                lock,
                fencing_token: 1
            }
        );
    }
    refused!(
        locks.check_grant,
        "fencing_token",
        CheckGrantRequest {
            lock: "x".into(),
            fencing_token: 0
        }
    );
    refused!(
        locks.renew_lock,
        "ttl",
        RenewLockRequest {
            lock: "x".into(),
            ttl: Some(signed(-1, 0)),
            ..Default::default()
        }
    );
    refused!(
        locks.list_locks,
        "page_size",
        ListLocksRequest {
            page_size: 1001,
            ..Default::default()
        }
    );
    refused!(
        locks.list_locks,
        "page_size",
        ListLocksRequest {
            page_size: u32::MAX,
            ..Default::default()
        }
    );
    refused!(
        locks.list_locks,
        "page_token",
        ListLocksRequest {
            page_token: "?".into(),
            ..Default::default()
        }
    );
    refused!(
        locks.list_locks,
        "page_token",
        ListLocksRequest {
            page_token: "_w".into(),
            ..Default::default()
        }
    );
    refused!(
        locks.list_locks,
        "prefix",
        ListLocksRequest {
            prefix: long.clone(),
            ..Default::default()
        }
    );
    refused!(
        leases.list_leases,
        "page_token",
        ListLeasesRequest {
            page_token: "AA".into(),
            ..Default::default()
        }
    );
    refused!(
        leases.list_leases,
        "page_size",
        ListLeasesRequest {
            page_size: 1001,
            ..Default::default()
        }
    );
    refused!(
        locks.reserve_lock,
        "unused_destroy_timeout",
        ReserveLockRequest {
            unused_destroy_timeout: Some(signed(0, 1)),
            ..Default::default()
        }
    );
    refused!(
        locks.reserve_lock,
        "unused_destroy_timeout",
        ReserveLockRequest {
            unused_destroy_timeout: Some(signed(366 * 86_400, 0)),
            ..Default::default()
        }
    );
    refused!(
        locks.reserve_lock,
        "request_id",
        ReserveLockRequest {
            request_id: long.clone(),
            ..Default::default()
        }
    );
    refused!(
        leases.create_lease,
        "ttl",
        CreateLeaseRequest {
            ttl: Some(signed(0, 0)),
            ..Default::default()
        }
    );
    refused!(
        leases.create_lease,
        "ttl",
        CreateLeaseRequest {
            ttl: Some(signed(31 * 86_400, 0)),
            ..Default::default()
        }
    );
    refused!(
        leases.create_lease,
        "owner",
        CreateLeaseRequest {
            owner: long.clone(),
            ..Default::default()
        }
    );
    for lease_id in ["", "x", "28c9c1be-7bb8-4e8c-b22e-c16402a421d", &long] {
        let lease_id = lease_id.to_owned();
        refused!(
            leases.renew_lease,
            "lease_id",
            RenewLeaseRequest {
                lease_id: lease_id.clone()
            }
        );
        refused!(
            leases.revoke_lease,
            "lease_id",
            RevokeLeaseRequest {
                lease_id: lease_id.clone(),
                ..Default::default()
            }
        );
        refused!(leases.get_lease, "lease_id", GetLeaseRequest { lease_id });
    }
    server.assert_well("bad calls").await;
}

/// Sends whatever bytes it is given as a message.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

/// Every method of the schema whose request has a field that could be wrong.
fn methods_with_fields() -> Vec<String> {
    use prost::Message as _;
    let schema = prost_types::FileDescriptorSet::decode(holdfast::proto::DESCRIPTORS).unwrap();
    let own = |file: &&prost_types::FileDescriptorProto| file.package() == "holdfast.v1";
    let files: Vec<_> = schema.file.iter().filter(own).collect();
    let messages = files.iter().flat_map(|file| &file.message_type);
    let empty: Vec<String> = messages
        .filter(|message| message.field.is_empty())
        .map(|message| format!(".holdfast.v1.{}", message.name()))
        .collect();
    let services = files.iter().flat_map(|file| &file.service);
    let methods: Vec<String> = services
        .flat_map(|service| {
            let methods = service.method.iter();
            let methods = methods.filter(|method| !empty.contains(&method.input_type().to_owned()));
            methods.map(|method| format!("{}/{}", service.name(), method.name()))
        })
        .collect();
    assert!(methods.len() > 50, "{methods:?}");
    methods
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_by_every_method() {
    let mut server = Server::memory();
    let channel = grpc::try_channel(server.addr).await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    let bad: [(&str, Vec<u8>); 7] = [
        ("noise", vec![0xff; 64]),
        ("a name that is not UTF-8", vec![0x0a, 1, 0xff]),
        ("a field that ends too early", vec![0x0a, 0x7f, b'a']),
        ("a field of another type", vec![0x08, 1, 0x0d, 1, 2, 3, 4]),
        (
            "a number that is too long",
            vec![0x10; 1].into_iter().chain([0xff; 11]).collect(),
        ),
        ("groups in groups", vec![0x0b; 100_000]),
        ("a field with the number 0", vec![0x02, 1, b'x']),
    ];
    for method in methods_with_fields() {
        let path: http::uri::PathAndQuery = format!("/holdfast.v1.{method}").parse().unwrap();
        for (case, bytes) in &bad {
            let status = call(&mut client, &path, bytes.clone()).await.unwrap_err();
            assert_eq!(
                status.code(),
                Code::InvalidArgument,
                "{method}, {case}: {status:?}"
            );
            assert_eq!(
                grpc::reason(&status),
                "INVALID_ARGUMENT",
                "{method}, {case}"
            );
        }
        let bound = match method.starts_with("SessionService/") {
            true => 256 * 1024,
            false => 1024 * 1024,
        };
        let large = vec![0; bound + 1];
        let status = call(&mut client, &path, large).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::ResourceExhausted,
            "{method}: {status:?}"
        );
        assert_eq!(grpc::reason(&status), "BODY_TOO_LARGE", "{method}");
        let named = status.message().contains(&bound.to_string());
        assert!(named, "{method}: {status:?}");
    }
    // What a newer schema may add is not refused.
    let path = http::uri::PathAndQuery::from_static("/holdfast.v1.LockService/AcquireLock");
    let newer = vec![0x0a, 1, b'x', 0xfa, 0x3f, 1, b'y'];
    call(&mut client, &path, newer).await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/holdfast.v1.LockService/NoSuchMethod");
    let status = call(&mut client, &path, Vec::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    server.assert_well("bytes that are no message").await;
}

/// Sends one message and waits for the status.
async fn call(
    client: &mut tonic::client::Grpc<Channel>,
    path: &http::uri::PathAndQuery,
    message: Vec<u8>,
) -> Result<(), Status> {
    soon(async {
        client
            .ready()
            .await
            .map_err(|error| Status::unknown(error.to_string()))?;
        // A stream's caller that goes on: the server must not wait for it to end.
        let (sender, messages) = tokio::sync::mpsc::channel(1);
        sender.send(message).await.unwrap();
        let is_stream = path.as_str().ends_with("/KeepAlive") || path.as_str().ends_with("/Attach");
        let _open = is_stream.then_some(sender);
        let messages = Request::new(ReceiverStream::new(messages));
        let mut answers = client
            .streaming(messages, path.clone(), Raw)
            .await?
            .into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_body_that_is_not_framed_ends_its_own_call() {
    let mut server = Server::memory();
    let good = http2::message(&ask("x"));
    for (case, body) in [
        ("no prefix", &good[..3]),
        ("half a message", &good[..6]),
        ("compressed, nobody said how", &[1, 0, 0, 0, 0]),
        ("no such flag", &[7, 0, 0, 0, 0]),
        ("four gigabytes announced", &[0, 0xff, 0xff, 0xff, 0xff, 1]),
        ("nothing", &[]),
        (
            "two messages where one is meant",
            &[good.clone(), good.clone()].concat(),
        ),
    ] {
        for method in [
            "LockService/GetLock",
            "LockService/WatchLock",
            "SessionService/Attach",
        ] {
            // Whoever says something twice is taken by its word.
            if case.starts_with("two") && method.ends_with("WatchLock") {
                continue;
            }
            let mut stream = http2::connect(server.addr, &[]).await;
            let headers = http2::call_headers(method);
            let mut bytes = frame(http2::HEADERS, http2::END_HEADERS, 1, &headers);
            bytes.extend(frame(http2::DATA, http2::END_STREAM, 1, body));
            stream.write_all(&bytes).await.unwrap();
            let ended = soon(async {
                while let Some((kind, flags, id, _)) = http2::read_frame(&mut stream).await {
                    let last = kind == http2::HEADERS && flags & http2::END_STREAM != 0;
                    if id == 1 && (last || kind == http2::RST_STREAM) {
                        return true;
                    }
                }
                false
            });
            assert!(ended.await, "{case}: {method} took its connection down");
        }
    }
    server.assert_well("bodies that are not framed").await;
}

#[tokio::test]
async fn grpc_web_is_told_of_bad_input_in_its_own_words() {
    let mut server = Server::memory();
    let kind = "content-type: application/grpc-web+proto";
    for (case, body, told) in [
        ("no message", http2::prefixed(&[0xff; 9]), "grpc-status: 3"),
        ("a bad name", http2::message(&ask("\0")), "grpc-status: 3"),
        (
            "four gigabytes announced",
            vec![0, 0xff, 0xff, 0xff, 0xff],
            "grpc-status: 8",
        ),
        ("half a message", vec![0, 0, 0, 0, 9, 1], "grpc-status: 3"),
    ] {
        let path = b"/holdfast.v1.LockService/AcquireLock";
        let answer = http1::send(server.addr, &http1::request("POST", path, &[kind], &body)).await;
        assert_eq!(answer.status, 200, "{case}");
        let all = format!("{}\n{}", answer.head, answer.text())
            .replace("grpc-status:3", "grpc-status: 3");
        assert!(all.contains(told), "{case}: {all}");
    }
    for (method, kind) in [
        ("GET", "text/html"),
        ("POST", "text/plain"),
        ("PUT", "application/grpc"),
    ] {
        let path = b"/holdfast.v1.LockService/AcquireLock";
        let kind = format!("content-type: {kind}");
        let answer = http1::send(server.addr, &http1::request(method, path, &[&kind], b"x")).await;
        assert!(
            answer.status < 500,
            "{method} {kind}: {} {}",
            answer.head,
            answer.text()
        );
    }
    server.assert_well("bad grpc-web").await;
}
