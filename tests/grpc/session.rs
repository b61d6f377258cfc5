//! SessionService.

use std::time::Duration;

use holdfast::proto::v1::attach_request::Call;
use holdfast::proto::v1::attach_response::Result as Told;
use holdfast::proto::v1::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::support::*;

/// A client's end of a session.
pub struct Attached {
    pub calls: mpsc::Sender<AttachRequest>,
    pub answers: Streaming<AttachResponse>,
}

impl Attached {
    pub async fn attach(server: &Server) -> Attached {
        let (calls, requests) = mpsc::channel(10_000);
        let mut sessions = server.sessions().await;
        let requests = ReceiverStream::new(requests);
        let answers = soon(sessions.attach(requests)).await.unwrap().into_inner();
        Attached { calls, answers }
    }

    pub async fn open(server: &Server, open: OpenSession) -> (Attached, SessionOpened) {
        let mut attached = Attached::attach(server).await;
        attached.call(1, Call::Open(open)).await;
        match attached.answer().await {
            (1, Told::Opened(opened)) => (attached, opened),
            other => panic!("{other:?}"),
        }
    }

    pub async fn call(&self, call_id: u64, call: Call) {
        let call = Some(call);
        self.calls
            .send(AttachRequest { call_id, call })
            .await
            .unwrap();
    }

    pub async fn told(&mut self) -> Result<Option<AttachResponse>, Status> {
        soon(self.answers.message()).await
    }

    pub async fn answer(&mut self) -> (u64, Told) {
        let answer = self.told().await.unwrap().unwrap();
        (answer.call_id, answer.result.unwrap())
    }

    pub async fn granted(&mut self, call_id: u64) -> Grant {
        match self.answer().await {
            (id, Told::Acquired(acquired)) if id == call_id => acquired.grant.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn error(&mut self, call_id: u64) -> CallError {
        match self.answer().await {
            (id, Told::Error(error)) if id == call_id => error,
            other => panic!("{other:?}"),
        }
    }
}

pub fn release_call(grant: &Grant) -> Call {
    Call::ReleaseLock(release_of(grant))
}

#[tokio::test]
async fn a_session_carries_every_call() {
    let server = Server::start().await;
    let (mut session, opened) = Attached::open(&server, OpenSession::default()).await;
    let lease = opened.lease.unwrap();
    assert!(!opened.resumed);
    session.call(2, Call::AcquireLock(ask("deploy"))).await;
    let grant = session.granted(2).await;
    assert_eq!(grant.lease_id, lease.lease_id);

    let check = CheckGrantRequest {
        lock: "deploy".into(),
        fencing_token: grant.fencing_token,
    };
    session.call(3, Call::CheckGrant(check)).await;
    let (3, Told::Checked(checked)) = session.answer().await else {
        panic!("not checked");
    };
    assert!(checked.current);
    let renew = RenewLockRequest {
        lock: "deploy".into(),
        grant_token: grant.grant_token.clone(),
        ttl: None,
    };
    session.call(4, Call::RenewLock(renew)).await;
    assert!(matches!(session.answer().await, (4, Told::Renewed(_))));
    session
        .call(5, Call::RenewLease(RenewLeaseRequest::default()))
        .await;
    assert!(matches!(session.answer().await, (5, Told::LeaseRenewed(_))));
    session.call(6, release_call(&grant)).await;
    assert!(matches!(session.answer().await, (6, Told::Released(_))));
    session.call(7, release_call(&grant)).await;
    assert_eq!(session.error(7).await.reason, "NOT_HOLDER");

    session.call(8, Call::AcquireLock(ask("deploy"))).await;
    session.granted(8).await;
    session.call(9, Call::Close(CloseSession {})).await;
    let (9, Told::Closed(closed)) = session.answer().await else {
        panic!("not closed");
    };
    assert_eq!(closed.released_count, 1);
    assert!(session.told().await.unwrap().is_none());
    server.settles("deploy", 0, 0).await;
}

#[tokio::test]
async fn the_first_message_must_open() {
    let server = Server::start().await;
    let mut session = Attached::attach(&server).await;
    session.call(1, Call::AcquireLock(ask("deploy"))).await;
    assert_eq!(bad_field(&session.told().await.unwrap_err()), "open");

    let mut session = Attached::attach(&server).await;
    session.call(0, Call::Open(OpenSession::default())).await;
    assert_eq!(bad_field(&session.told().await.unwrap_err()), "call_id");

    let Attached { calls, mut answers } = Attached::attach(&server).await;
    drop(calls);
    assert_eq!(
        bad_field(&soon(answers.message()).await.unwrap_err()),
        "open"
    );

    let mut session = Attached::attach(&server).await;
    let open = OpenSession {
        lease_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    session.call(1, Call::Open(open)).await;
    assert_eq!(
        reason(&session.told().await.unwrap_err()),
        "LEASE_NOT_FOUND"
    );
}

#[tokio::test]
async fn a_bad_call_fails_alone() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, OpenSession::default()).await;
    session.call(0, Call::AcquireLock(ask("x"))).await;
    assert_eq!(session.error(0).await.field, "call_id");
    session.call(2, Call::AcquireLock(ask(""))).await;
    assert_eq!(session.error(2).await.field, "lock");
    session.call(3, Call::Open(OpenSession::default())).await;
    assert_eq!(session.error(3).await.field, "open");
    let empty = AttachRequest {
        call_id: 4,
        call: None,
    };
    session.calls.send(empty).await.unwrap();
    assert_eq!(session.error(4).await.field, "call");
    session.call(5, Call::AcquireLock(ask("x"))).await;
    session.granted(5).await;

    session.call(6, Call::AcquireLock(waiting("x"))).await;
    assert!(matches!(session.answer().await, (6, Told::Queued(_))));
    session.call(6, Call::AcquireLock(ask("y"))).await;
    let error = session.error(6).await;
    assert_eq!((error.code, error.field.as_str()), (3, "call_id"));
}

#[tokio::test]
async fn a_waiting_call_is_told_its_place_and_can_be_taken_back() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, OpenSession::default()).await;
    session.call(2, Call::AcquireLock(ask("deploy"))).await;
    let first = session.granted(2).await;
    for id in [3, 4] {
        session.call(id, Call::AcquireLock(waiting("deploy"))).await;
        let (told, Told::Queued(queued)) = session.answer().await else {
            panic!("not queued");
        };
        assert_eq!((told, u64::from(queued.position)), (id, id - 2));
    }
    // Acquire and cancel may well be read together.
    session.call(5, Call::AcquireLock(waiting("deploy"))).await;
    session
        .call(0, Call::Cancel(CancelCall { call_id: 5 }))
        .await;
    session
        .call(0, Call::Cancel(CancelCall { call_id: 3 }))
        .await;
    session
        .call(0, Call::Cancel(CancelCall { call_id: 99 }))
        .await;
    let mut cancelled = Vec::new();
    while cancelled.len() < 2 {
        match session.answer().await {
            (id, Told::Error(error)) => {
                assert_eq!(error.code, Code::Cancelled as u32);
                cancelled.push(id);
            }
            (_, Told::Queued(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    cancelled.sort_unstable();
    assert_eq!(cancelled, [3, 5]);
    session.call(6, release_call(&first)).await;
    let mut done = Vec::new();
    while done.len() < 2 {
        match session.answer().await {
            (6, Told::Released(_)) => done.push(6),
            (4, Told::Acquired(_)) => done.push(4),
            (4, Told::Queued(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_session_whose_lease_ends_is_told_its_losses_and_ended() {
    let server = Server::start().await;
    let open = OpenSession {
        ttl: span(Duration::from_millis(300)),
        ..Default::default()
    };
    let (mut session, _) = Attached::open(&server, open).await;
    session.call(2, Call::AcquireLock(ask("deploy"))).await;
    let grant = session.granted(2).await;
    let (0, Told::GrantLost(lost)) = session.answer().await else {
        panic!("not lost");
    };
    assert_eq!(lost.fencing_token, grant.fencing_token);
    assert_eq!(lost.cause(), LossCause::Expired);
    let status = session.told().await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(reason(&status), "LEASE_EXPIRED");
}

#[tokio::test]
async fn a_forced_release_is_a_loss_and_the_session_goes_on() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, OpenSession::default()).await;
    session.call(2, Call::AcquireLock(ask("deploy"))).await;
    session.granted(2).await;
    let force = ForceReleaseLockRequest {
        lock: "deploy".into(),
        ..Default::default()
    };
    server
        .locks()
        .await
        .force_release_lock(force)
        .await
        .unwrap();
    let (0, Told::GrantLost(lost)) = session.answer().await else {
        panic!("not lost");
    };
    assert_eq!(lost.cause(), LossCause::Forced);
    session.call(3, Call::AcquireLock(ask("deploy"))).await;
    session.granted(3).await;
}

#[tokio::test]
async fn a_broken_session_is_taken_up_where_it_stood() {
    let server = Server::start().await;
    let holder = acquire(&mut server.locks().await, "held").await;
    let (mut session, opened) = Attached::open(&server, OpenSession::default()).await;
    session.call(2, Call::AcquireLock(ask("mine"))).await;
    let mine = session.granted(2).await;
    let wait = AcquireLockRequest {
        request_id: "again".into(),
        ..waiting("held")
    };
    session.call(3, Call::AcquireLock(wait.clone())).await;
    assert!(matches!(session.answer().await, (3, Told::Queued(_))));
    session.call(4, Call::AcquireLock(waiting("held"))).await;
    assert!(matches!(session.answer().await, (4, Told::Queued(_))));
    drop(session);
    // What has no request id can't be asked for again, and is gone.
    server.settles("held", 1, 1).await;
    server.settles("mine", 1, 0).await;

    let open = OpenSession {
        lease_id: opened.lease.unwrap().lease_id,
        ..Default::default()
    };
    let (mut session, opened) = Attached::open(&server, open.clone()).await;
    assert!(opened.resumed);
    session.call(3, Call::AcquireLock(wait)).await;
    assert!(matches!(session.answer().await, (3, Told::Queued(_))));
    release(&mut server.locks().await, &holder).await;
    session.granted(3).await;
    session.call(4, release_call(&mine)).await;
    assert!(matches!(session.answer().await, (4, Told::Released(_))));

    // A second stream takes it over, and the first one is told so.
    let (_second, opened) = Attached::open(&server, open).await;
    assert!(opened.resumed);
    assert_eq!(reason(&session.told().await.unwrap_err()), "SESSION_TAKEN");
}

#[tokio::test]
async fn a_caller_that_asks_no_more_gets_what_it_asked_for() {
    let server = Server::start().await;
    let holder = acquire(&mut server.locks().await, "held").await;
    let (session, _) = Attached::open(&server, OpenSession::default()).await;
    session.call(2, Call::AcquireLock(waiting("held"))).await;
    for id in 3..500 {
        session
            .call(id, Call::AcquireLock(ask(&format!("lock-{id}"))))
            .await;
    }
    let Attached { calls, mut answers } = session;
    drop(calls);
    server.settles("held", 1, 1).await;
    release(&mut server.locks().await, &holder).await;
    let mut acquired = 0;
    while let Some(answer) = soon(answers.message()).await.unwrap() {
        acquired += usize::from(matches!(answer.result, Some(Told::Acquired(_))));
    }
    assert_eq!(acquired, 498);
}

#[tokio::test]
async fn thousands_of_calls_in_flight_are_each_answered_once() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, OpenSession::default()).await;
    const CALLS: u64 = 6_000;
    let calls = session.calls.clone();
    let asking = tokio::spawn(async move {
        for id in 2..CALLS + 2 {
            let call = Some(Call::AcquireLock(ask(&format!("lock-{id}"))));
            calls
                .send(AttachRequest { call_id: id, call })
                .await
                .unwrap();
        }
    });
    let mut seen = std::collections::HashSet::new();
    while seen.len() < CALLS as usize {
        let (id, told) = session.answer().await;
        assert!(matches!(told, Told::Acquired(_)), "{told:?}");
        assert!(seen.insert(id));
    }
    asking.await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let server = Server::start().await;
    let holder = acquire(&mut server.locks().await, "held").await;
    let (mut session, _) = Attached::open(&server, OpenSession::default()).await;
    session.call(2, Call::AcquireLock(waiting("held"))).await;
    assert!(matches!(session.answer().await, (2, Told::Queued(_))));
    server.api.stop_accepting();
    let status = loop {
        match session.told().await {
            Ok(Some(answer)) => assert!(matches!(answer.result, Some(Told::Error(_)))),
            Ok(None) => panic!("ended as if all were well"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), "STOPPING");
    let status = server
        .locks()
        .await
        .release_lock(release_of(&holder))
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "STOPPING");
}

#[tokio::test]
async fn a_lost_grant_of_a_session_is_told_at_once_and_holds_its_lock_back() {
    let server = Server::start().await;
    let (mut session, _) = Attached::open(&server, OpenSession::default()).await;
    let request = AcquireLockRequest {
        release_delay: span(Duration::from_secs(600)),
        ..ask("deploy")
    };
    session.call(2, Call::AcquireLock(request)).await;
    session.granted(2).await;
    let mut locks = server.locks().await;
    let force = ForceReleaseLockRequest {
        lock: "deploy".into(),
        ..Default::default()
    };
    locks.force_release_lock(force).await.unwrap();
    assert!(matches!(session.answer().await, (_, Told::GrantLost(_))));
    let seen = get(&mut locks, "deploy").await;
    assert_eq!(seen.state(), LockState::HeldBack);
}
