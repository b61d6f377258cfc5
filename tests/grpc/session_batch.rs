//! SessionService: several messages in one.

use holdfast::api::grpc::{SESSION_ANSWERS_BYTES_MAX, SESSION_BATCH_MAX};
use holdfast::proto::v1::attach_request::Call;
use holdfast::proto::v1::attach_response::Result as Told;
use holdfast::proto::v1::*;
use prost::Message as _;
use tonic::Code;

use crate::session::{Attached, release_call};
use crate::support::*;

fn accepting() -> OpenSession {
    OpenSession {
        accepts_batches: true,
        ..Default::default()
    }
}

fn acquire_call(call_id: u64, request: AcquireLockRequest) -> AttachRequest {
    request_of(call_id, Call::AcquireLock(request))
}

fn request_of(call_id: u64, call: Call) -> AttachRequest {
    AttachRequest {
        call_id,
        call: Some(call),
    }
}

fn batch_of(requests: Vec<AttachRequest>) -> Call {
    Call::Batch(AttachBatch {
        requests,
        ..AttachBatch::default()
    })
}

/// The next answers, however many are in one message, of which it says whether it was a batch.
async fn answers(session: &mut Attached) -> (bool, Vec<(u64, Told)>) {
    match session.answer().await {
        (0, Told::Batch(batch)) => {
            assert!((2..=SESSION_BATCH_MAX).contains(&batch.answers.len()));
            let answers = batch.answers.into_iter();
            let each = answers.map(|answer| (answer.call_id, answer.result.unwrap()));
            (true, each.collect())
        }
        answer => (false, vec![answer]),
    }
}

/// The next answers until there are so many of them.
async fn gathered(session: &mut Attached, count: usize) -> Vec<(u64, Told)> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(answers(session).await.1);
    }
    assert_eq!(all.len(), count, "{all:?}");
    all
}

#[tokio::test]
async fn a_batch_is_its_messages_one_by_one_and_in_order() {
    let server = Server::start().await;
    let (mut session, opened) = Attached::open(&server, accepting()).await;
    assert!(opened.accepts_batches);
    let check = CheckGrantRequest {
        lock: "a".into(),
        fencing_token: 1,
    };
    let batch = batch_of(vec![
        acquire_call(2, ask("a")),
        acquire_call(3, ask("a")),
        acquire_call(4, ask("")),
        acquire_call(2, ask("number that is taken")),
        acquire_call(5, waiting("a")),
        request_of(0, Call::Cancel(CancelCall { call_id: 5 })),
        acquire_call(6, ask("b")),
        request_of(7, Call::CheckGrant(check)),
        AttachRequest::default(),
    ]);
    session.call(0, batch).await;
    let mut told: Vec<_> = gathered(&mut session, 9)
        .await
        .into_iter()
        .map(|(id, told)| match told {
            Told::Acquired(acquired) => (id, format!("acquired {}", acquired.grant.unwrap().lock)),
            Told::Checked(_) => (id, "checked".to_owned()),
            Told::Queued(queued) => (id, format!("queued {}", queued.position)),
            Told::Error(error) if error.field.is_empty() => (id, error.reason),
            Told::Error(error) => (id, format!("bad {}", error.field)),
            other => panic!("{other:?}"),
        })
        .collect();
    told.sort();
    let told: Vec<_> = told.iter().map(|(id, told)| (*id, told.as_str())).collect();
    let expected = [
        (0, "bad call_id"),
        (2, "acquired a"),
        (2, "bad call_id"),
        (3, "LOCK_HELD"),
        (4, "bad lock"),
        (5, "CANCELLED"),
        (5, "queued 1"),
        (6, "acquired b"),
        (7, "checked"),
    ];
    assert_eq!(told, expected);
    server.settles("a", 1, 0).await;
}

#[tokio::test]
async fn waiters_of_a_batch_stand_in_its_order() {
    let server = Server::start().await;
    let holder = acquire(&mut server.locks().await, "held").await;
    let (mut session, _) = Attached::open(&server, accepting()).await;
    let ids = 2..302;
    let requests = ids.clone().map(|id| acquire_call(id, waiting("held")));
    session.call(0, batch_of(requests.collect())).await;
    server.settles("held", 1, 300).await;
    release(&mut server.locks().await, &holder).await;
    let mut turns = Vec::new();
    while turns.len() < 300 {
        for (id, told) in answers(&mut session).await.1 {
            if let Told::Acquired(acquired) = told {
                turns.push(id);
                session
                    .call(1_000 + id, release_call(&acquired.grant.unwrap()))
                    .await;
            }
        }
    }
    assert_eq!(turns, ids.collect::<Vec<_>>());
}

#[tokio::test]
async fn batches_of_answers_go_only_to_who_accepts_them() {
    let server = Server::start().await;
    let (mut plain, opened) = Attached::open(&server, OpenSession::default()).await;
    assert!(opened.accepts_batches);
    let (mut accepts, _) = Attached::open(&server, accepting()).await;
    for (session, expected) in [(&mut plain, false), (&mut accepts, true)] {
        let ids = 2..SESSION_BATCH_MAX as u64 + 2;
        let requests = ids.map(|id| acquire_call(id, ask(&format!("{expected}-{id}"))));
        session.call(0, batch_of(requests.collect())).await;
        let (mut count, mut batches) = (0, false);
        while count < SESSION_BATCH_MAX {
            let (batch, each) = answers(session).await;
            batches |= batch;
            count += each.len();
            assert!(
                each.iter()
                    .all(|(_, told)| matches!(told, Told::Acquired(_)))
            );
        }
        assert_eq!(batches, expected);
    }
}

#[tokio::test]
async fn a_batch_of_answers_is_bounded_by_its_bytes() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, accepting()).await;
    let name = |id: u64| format!("{id:0>500}");
    let requests = (2..402).map(|id| acquire_call(id, ask(&name(id))));
    session.call(0, batch_of(requests.collect())).await;
    let mut count = 0;
    while count < 400 {
        let answer = session.told().await.unwrap().unwrap();
        assert!(answer.encoded_len() < SESSION_ANSWERS_BYTES_MAX + 2_000);
        count += match answer.result {
            Some(Told::Batch(batch)) => batch.answers.len(),
            _ => 1,
        };
    }
}

#[tokio::test]
async fn a_bad_batch_is_refused_whole_and_the_session_goes_on() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, accepting()).await;
    let many = |count: u64| (2..count + 2).map(|id| acquire_call(id, ask(&format!("lock-{id}"))));
    let too_many = many(SESSION_BATCH_MAX as u64 + 1).collect();
    for (id, requests, field) in [
        (0, Vec::new(), "batch.requests"),
        (0, too_many, "batch.requests"),
        (9, many(1).collect(), "call_id"),
    ] {
        session.call(id, batch_of(requests)).await;
        let error = session.error(0).await;
        assert_eq!((error.code, error.field.as_str()), (3, field));
    }
    let nested = request_of(0, batch_of(many(1).collect()));
    session.call(0, batch_of(vec![nested])).await;
    assert_eq!(session.error(0).await.field, "batch");
    session
        .call(0, batch_of(many(SESSION_BATCH_MAX as u64).collect()))
        .await;
    gathered(&mut session, SESSION_BATCH_MAX).await;
}

#[tokio::test]
async fn a_batch_does_not_open_a_session() {
    let server = Server::start().await;
    let mut session = Attached::attach(&server).await;
    let open = request_of(1, Call::Open(accepting()));
    session.call(0, batch_of(vec![open])).await;
    assert_eq!(bad_field(&session.told().await.unwrap_err()), "open");
}

#[tokio::test]
async fn a_message_beyond_its_bytes_ends_the_stream() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, accepting()).await;
    let request = AcquireLockRequest {
        owner: "o".repeat(1_000),
        ..ask("x")
    };
    let requests = (2..302).map(|id| acquire_call(id, request.clone()));
    session.call(0, batch_of(requests.collect())).await;
    let status = session.told().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("at most 262144 bytes"));
    assert_eq!(reason(&status), "BODY_TOO_LARGE");
}

#[tokio::test]
async fn what_follows_a_close_in_a_batch_is_not_read() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, accepting()).await;
    let batch = batch_of(vec![
        acquire_call(2, ask("a")),
        request_of(3, Call::Close(CloseSession {})),
        acquire_call(4, ask("b")),
    ]);
    session.call(0, batch).await;
    let mut told = gathered(&mut session, 2).await;
    assert!(matches!(told.remove(0), (2, Told::Acquired(_))));
    assert!(matches!(told.remove(0), (3, Told::Closed(closed)) if closed.released_count == 1));
    assert!(session.told().await.unwrap().is_none());
    server.settles("b", 0, 0).await;
}

#[tokio::test]
async fn a_session_that_ends_tells_its_losses_before_its_status() {
    let server = Server::start().await;
    let open = OpenSession {
        ttl: span(std::time::Duration::from_millis(300)),
        ..accepting()
    };
    let (mut session, _) = Attached::open(&server, open).await;
    let requests = (2..12).map(|id| acquire_call(id, ask(&format!("lock-{id}"))));
    session.call(0, batch_of(requests.collect())).await;
    let told = gathered(&mut session, 20).await;
    let losses = told.iter().skip(10);
    assert!(
        losses
            .clone()
            .all(|(id, told)| *id == 0 && matches!(told, Told::GrantLost(_)))
    );
    assert_eq!(reason(&session.told().await.unwrap_err()), "LEASE_EXPIRED");
}

#[tokio::test]
async fn a_request_that_was_answered_is_forgotten_when_the_session_says_so() {
    let server = Server::start().await;
    let with_id = |lock: &str, request_id: &str| AcquireLockRequest {
        request_id: request_id.into(),
        ..ask(lock)
    };
    let (mut session, _) = Attached::open(&server, accepting()).await;
    for (number, id) in [(2, "told"), (3, "kept")] {
        session
            .call(number, Call::AcquireLock(with_id(id, id)))
            .await;
        assert!(matches!(session.answer().await, (_, Told::Acquired(_))));
    }
    let batch = AttachBatch {
        requests: vec![acquire_call(4, ask("next"))],
        answered_request_ids: vec!["told".into(), "nobody's".into()],
    };
    session.call(0, Call::Batch(batch)).await;
    assert!(matches!(session.answer().await, (4, Told::Acquired(_))));
    session
        .call(5, Call::AcquireLock(with_id("told", "told")))
        .await;
    assert_eq!(session.error(5).await.reason, "LOCK_HELD");
    session
        .call(6, Call::AcquireLock(with_id("kept", "kept")))
        .await;
    assert!(matches!(session.answer().await, (6, Told::Acquired(_))));
}

#[tokio::test]
async fn bad_ids_of_answered_requests_are_refused_by_name() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, accepting()).await;
    for (ids, expected) in [
        (vec![String::new()], "1 to 128"),
        (vec!["x".repeat(129)], "1 to 128"),
        (vec!["x".to_owned(); SESSION_BATCH_MAX + 1], "at most 1024"),
    ] {
        let batch = AttachBatch {
            requests: vec![acquire_call(2, ask("a"))],
            answered_request_ids: ids,
        };
        session.call(0, Call::Batch(batch)).await;
        let error = session.error(0).await;
        assert_eq!(
            (error.code, error.field.as_str()),
            (3, "batch.answered_request_ids")
        );
        assert!(error.message.contains(expected), "{}", error.message);
    }
    session.call(2, Call::AcquireLock(ask("a"))).await;
    assert!(matches!(session.answer().await, (2, Told::Acquired(_))));
}
