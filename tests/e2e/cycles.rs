//! `kill -9` again and again under load. What the clients were told, kept in a journal of their own,
//! is what is there afterwards; two holders at once never were.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holdfast::proto::v1::attach_request::Call;
use holdfast::proto::v1::attach_response::Result as Told;
use holdfast::proto::v1::*;
use serde_json::{Value, json};
use tonic::Status;

use crate::grpc::{self, Session, ask, get, is_current, locks, span, ttl};
use crate::http;
use crate::server::{PATIENCE, Server};

const CYCLES: usize = 12;
/// How many acknowledged calls the server serves between two deaths, at least.
const CALLS_PER_CYCLE: u64 = 60;
/// No lease may end while the test runs: what ends is what the server lost.
const TTL: Duration = Duration::from_secs(3600);
/// The lock that every client wants.
const WANTED: &str = "wanted";

/// A grant as it was told.
#[derive(Clone, Debug)]
struct Held {
    lock: String,
    fencing_token: u64,
    grant_token: String,
}

/// What a client knows to be so.
#[derive(Default)]
struct Journal {
    /// Granted, and never released.
    held: Vec<Held>,
    /// Granted and released.
    released: Vec<Held>,
    leases: Vec<String>,
    reserved: Vec<String>,
    /// The request ids of acquires, and the grant that each was told of.
    requests: Vec<(String, Held)>,
    /// Holds of the lock that all want: fencing token, told when, given back when.
    turns: Vec<(u64, Instant, Instant)>,
    /// Calls that were asked again because nobody answered.
    repeated: usize,
}

/// Why a call has no outcome.
#[derive(Debug)]
enum Trouble {
    /// Nobody knows what has become of it: ask again, with the same request id.
    Unknown,
    /// It was not granted in time.
    TimedOut,
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Trouble {
        match status.code() {
            tonic::Code::DeadlineExceeded => Trouble::TimedOut,
            tonic::Code::Unavailable
            | tonic::Code::Unknown
            | tonic::Code::Internal
            | tonic::Code::Cancelled => Trouble::Unknown,
            code => panic!("{code:?}: {}", status.message()),
        }
    }
}

impl From<tonic::transport::Error> for Trouble {
    fn from(_: tonic::transport::Error) -> Trouble {
        Trouble::Unknown
    }
}

impl From<std::io::Error> for Trouble {
    fn from(_: std::io::Error) -> Trouble {
        Trouble::Unknown
    }
}

/// How a client reaches the server.
enum Way {
    Unary(Option<grpc::Locks>),
    Attach {
        session: Option<Session>,
        lease_id: String,
    },
    Rest,
}

struct Client {
    addr: SocketAddr,
    name: String,
    way: Way,
    journal: Journal,
    load: Arc<Load>,
}

/// What all clients and the one who kills share.
#[derive(Default)]
struct Load {
    answered: AtomicU64,
    ended: AtomicBool,
    /// How many hold the lock that all want, by what they were told.
    holders: AtomicUsize,
}

fn acquire_of(lock: &str, wait: Duration, request_id: &str) -> AcquireLockRequest {
    AcquireLockRequest {
        wait: span(wait),
        request_id: request_id.into(),
        hold: ttl(TTL),
        ..ask(lock)
    }
}

fn held(grant: Grant) -> Held {
    Held {
        lock: grant.lock,
        fencing_token: grant.fencing_token,
        grant_token: grant.grant_token,
    }
}

impl Client {
    /// Asks until there is an outcome, each time over a new connection where the last one broke.
    async fn acquire(&mut self, lock: &str, wait: Duration, id: &str) -> Option<Held> {
        loop {
            match self.try_acquire(lock, wait, id).await {
                Ok(held) => {
                    self.load.answered.fetch_add(1, Ordering::Relaxed);
                    return Some(held);
                }
                Err(Trouble::TimedOut) => return None,
                Err(Trouble::Unknown) => self.again().await,
            }
        }
    }

    async fn release(&mut self, held: &Held, id: &str) {
        while self.try_release(held, id).await.is_err() {
            self.again().await;
        }
        self.load.answered.fetch_add(1, Ordering::Relaxed);
    }

    async fn again(&mut self) {
        self.journal.repeated += 1;
        match &mut self.way {
            Way::Unary(client) => *client = None,
            Way::Attach { session, .. } => *session = None,
            Way::Rest => {}
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    async fn unary(&mut self) -> Result<grpc::Locks, Trouble> {
        let Way::Unary(client) = &mut self.way else {
            unreachable!()
        };
        if client.is_none() {
            let channel = grpc::try_channel(self.addr).await?;
            *client = Some(grpc::Locks::new(channel));
        }
        Ok(client.clone().unwrap())
    }

    async fn session(&mut self) -> Result<&mut Session, Trouble> {
        let addr = self.addr;
        let Way::Attach { session, lease_id } = &mut self.way else {
            unreachable!()
        };
        if session.is_none() {
            let opened = Session::open(grpc::try_channel(addr).await?, lease_id).await?;
            // Its lease is what it was promised.
            assert_eq!(opened.resumed, !lease_id.is_empty());
            *lease_id = opened.lease_id.clone();
            *session = Some(opened);
        }
        Ok(session.as_mut().unwrap())
    }

    async fn try_acquire(&mut self, lock: &str, wait: Duration, id: &str) -> Result<Held, Trouble> {
        let request = acquire_of(lock, wait, id);
        match self.way {
            Way::Unary(_) => {
                let answer = self.unary().await?.acquire_lock(request).await?;
                Ok(held(answer.into_inner().grant.unwrap()))
            }
            // These hang on the session's lease, which must outlive the server's deaths.
            Way::Attach { .. } => match self
                .session()
                .await?
                .call(Call::AcquireLock(AcquireLockRequest {
                    hold: None,
                    ..request
                }))
                .await?
            {
                Told::Acquired(acquired) => Ok(held(acquired.grant.unwrap())),
                Told::Error(error) => Err(trouble_of(error)),
                other => panic!("{other:?}"),
            },
            Way::Rest => {
                let body = json!({
                    "ttl": format!("{}s", TTL.as_secs()), "wait": format!("{}ms", wait.as_millis()),
                    "request_id": id,
                });
                let granted = self
                    .post(&format!("/api/v1/locks/{lock}/acquire"), body)
                    .await?;
                Ok(Held {
                    lock: lock.into(),
                    fencing_token: granted["fencing_token"].as_str().unwrap().parse().unwrap(),
                    grant_token: granted["grant_token"].as_str().unwrap().into(),
                })
            }
        }
    }

    async fn try_release(&mut self, held: &Held, id: &str) -> Result<(), Trouble> {
        let request = ReleaseLockRequest {
            lock: held.lock.clone(),
            grant_token: held.grant_token.clone(),
            request_id: id.into(),
        };
        match self.way {
            Way::Unary(_) => {
                self.unary().await?.release_lock(request).await?;
            }
            Way::Attach { .. } => match self
                .session()
                .await?
                .call(Call::ReleaseLock(request))
                .await?
            {
                Told::Released(_) => {}
                Told::Error(error) => return Err(trouble_of(error)),
                other => panic!("{other:?}"),
            },
            Way::Rest => {
                let body = json!({"grant_token": held.grant_token, "request_id": id});
                self.post(&format!("/api/v1/locks/{}/release", held.lock), body)
                    .await?;
            }
        }
        Ok(())
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Trouble> {
        let answer = http::try_post(self.addr, path, &body).await?;
        match answer.status {
            200 => Ok(answer.json()),
            423 if answer.json()["error"]["reason"] == "WAIT_TIMED_OUT" => Err(Trouble::TimedOut),
            503 => Err(Trouble::Unknown),
            status => panic!("{path}: {status} {}", answer.text()),
        }
    }

    /// A lease or a reserved lock, over REST whoever asks.
    async fn make(&mut self, path: &str, field: &str, id: &str) -> String {
        loop {
            let body = match path {
                "/api/v1/leases" => json!({"ttl": "1h", "request_id": id}),
                _ => json!({"request_id": id}),
            };
            match self.post(path, body).await {
                Ok(made) => {
                    self.load.answered.fetch_add(1, Ordering::Relaxed);
                    return made[field].as_str().unwrap().to_owned();
                }
                Err(_) => self.again().await,
            }
        }
    }

    async fn work(mut self) -> Journal {
        for round in 0_u32.. {
            if self.load.ended.load(Ordering::Relaxed) {
                break;
            }
            let name = format!("{}-{round}", self.name);
            let id = |what: &str| format!("{what}-{name}");

            let own = self
                .acquire(&name, Duration::ZERO, &id("own"))
                .await
                .unwrap();
            self.journal.requests.push((id("own"), own.clone()));
            if round % 2 == 0 {
                self.release(&own, &id("release")).await;
                self.journal.released.push(own);
            } else {
                self.journal.held.push(own);
            }

            if let Some(turn) = self
                .acquire(WANTED, Duration::from_secs(60), &id("turn"))
                .await
            {
                let told = Instant::now();
                assert_eq!(
                    self.load.holders.fetch_add(1, Ordering::SeqCst),
                    0,
                    "two hold it"
                );
                tokio::task::yield_now().await;
                assert_eq!(
                    self.load.holders.fetch_sub(1, Ordering::SeqCst),
                    1,
                    "two held it"
                );
                let given_back = Instant::now();
                self.release(&turn, &id("back")).await;
                self.journal
                    .turns
                    .push((turn.fencing_token, told, given_back));
                self.journal.released.push(turn);
            }

            match round % 4 {
                0 => {
                    let lease = self.make("/api/v1/leases", "lease_id", &id("lease")).await;
                    self.journal.leases.push(lease);
                }
                2 => {
                    let reserved = self.make("/api/v1/locks", "name", &id("reserve")).await;
                    self.journal.reserved.push(reserved);
                }
                _ => {}
            }
        }
        self.journal
    }
}

fn trouble_of(error: CallError) -> Trouble {
    Status::new(tonic::Code::from(error.code as i32), error.message).into()
}

/// All of it is there: nothing that was told is lost, nothing that was given back is still held.
async fn assert_kept(addr: SocketAddr, journals: &[Journal]) {
    let mut locks = locks(addr).await;
    for journal in journals {
        for held in &journal.held {
            let lock = get(&mut locks, &held.lock).await;
            assert_eq!(lock.holder_count, 1, "{}", held.lock);
            assert_eq!(
                lock.holders[0].fencing_token, held.fencing_token,
                "{}",
                held.lock
            );
        }
        for held in &journal.released {
            assert!(
                !is_current(&mut locks, &held.lock, held.fencing_token).await,
                "{held:?}"
            );
        }
        for name in &journal.reserved {
            assert!(get(&mut locks, name).await.reserved, "{name}");
        }
        for lease in &journal.leases {
            let path = format!("/api/v1/leases/{lease}");
            assert_eq!(http::get(addr, &path).await.status, 200, "a lease is gone");
        }
    }
    assert_eq!(get(&mut locks, WANTED).await.holder_count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_every_kill_and_nobody_ever_shared_a_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::over(dir.path());
    let addr = server.addr;
    let load = Arc::new(Load::default());
    let ways: [(&str, Way); 6] = [
        ("unary-1", Way::Unary(None)),
        ("unary-2", Way::Unary(None)),
        (
            "attach-1",
            Way::Attach {
                session: None,
                lease_id: String::new(),
            },
        ),
        (
            "attach-2",
            Way::Attach {
                session: None,
                lease_id: String::new(),
            },
        ),
        ("rest-1", Way::Rest),
        ("rest-2", Way::Rest),
    ];
    let mut clients = tokio::task::JoinSet::new();
    for (name, way) in ways {
        let client = Client {
            addr,
            name: name.into(),
            way,
            journal: Journal::default(),
            load: load.clone(),
        };
        clients.spawn(client.work());
    }

    for cycle in 0..CYCLES {
        // Each time at another point of what goes on.
        let enough =
            load.answered.load(Ordering::Relaxed) + CALLS_PER_CYCLE + cycle as u64 * 7 % 20;
        let end = Instant::now() + PATIENCE;
        while load.answered.load(Ordering::Relaxed) < enough {
            if let Some(ended) = clients.try_join_next() {
                ended.unwrap();
                unreachable!("a client went home");
            }
            assert!(
                Instant::now() < end,
                "the clients make no progress in cycle {cycle}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill();
        server = Server::over_at(dir.path(), addr);
    }
    load.ended.store(true, Ordering::Relaxed);
    let journals: Vec<Journal> = grpc::soon(clients.join_all()).await;

    assert_kept(addr, &journals).await;
    assert_turns(&journals);
    let repeated: usize = journals.iter().map(|journal| journal.repeated).sum();
    assert!(repeated >= CYCLES, "hardly anybody noticed: {repeated}");
    for journal in &journals {
        assert!(
            journal.held.len() > 5 && journal.turns.len() > 5,
            "a client did too little"
        );
    }

    // Once more, and what is asked again with its request id gets what it got.
    server.kill();
    let mut server = Server::over_at(dir.path(), addr);
    assert_kept(addr, &journals).await;
    let mut locks = locks(addr).await;
    // Those of a session hang on its lease, and can only be asked again in it.
    let requests = journals.iter().flat_map(|journal| &journal.requests);
    let requests = requests.filter(|(id, _)| !id.contains("attach"));
    for (id, told) in requests {
        let again = locks
            .acquire_lock(acquire_of(&told.lock, Duration::ZERO, id))
            .await;
        let again = again.unwrap().into_inner().grant.unwrap();
        assert_eq!(again.fencing_token, told.fencing_token, "{id}");
        assert_eq!(again.grant_token, told.grant_token, "{id}");
    }
    server.assert_well("the last kill").await;
}

/// The lock that all wanted was never held twice, and its fencing tokens rose from turn to turn; no
/// two grants of any lock had the same.
fn assert_turns(journals: &[Journal]) {
    let mut turns: Vec<_> = journals.iter().flat_map(|journal| &journal.turns).collect();
    turns.sort_by_key(|(_, told, _)| *told);
    assert!(turns.len() > 2 * CYCLES, "only {} turns", turns.len());
    for pair in turns.windows(2) {
        let [(token, _, given_back), (next_token, next_told, _)] = pair else {
            unreachable!()
        };
        assert!(given_back < next_told, "{token} and {next_token} overlap");
        assert!(token < next_token, "{next_token} came after {token}");
    }
    let grants = journals
        .iter()
        .flat_map(|journal| journal.held.iter().chain(&journal.released));
    let mut tokens: Vec<_> = grants.map(|held| held.fencing_token).collect();
    let all = tokens.len();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), all, "two grants have one fencing token");
}
