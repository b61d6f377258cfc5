//! Figures 5 and 6: what waiters and held locks cost in memory, and how fast they are back.

use std::time::Instant;

use holdfast::proto::v1::attach_response::Result as Told;
use holdfast::proto::v1::lock_service_client::LockServiceClient;
use holdfast::proto::v1::subscribe_and_grab_response::Event;
use holdfast::proto::v1::{
    AttachRequest, CheckGrantRequest, GetLockRequest, SubscribeAndGrabRequest,
};

use crate::Failed;
use crate::attach::{Client, acquire};
use crate::process::Server;
use crate::table::Table;

/// Idle waiters.
const WAITERS: usize = 10_000;
/// Held locks.
const LOCKS: usize = 1_000_000;
/// Acquires in flight while the held locks are made.
const IN_FLIGHT: usize = 1_000;
/// Waiters of one connection.
const STREAMS: usize = 1_000;

/// Figure 5.
pub async fn idle_waiters(table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let mut holder = Client::attach(server.connect().await?, 600).await?;
    hold(&mut holder, "idle").await?;
    let before = server.process.resident()?;
    let mut streams = Vec::with_capacity(WAITERS);
    for _ in 0..WAITERS / STREAMS {
        let mut client = LockServiceClient::new(server.connect().await?);
        for _ in 0..STREAMS {
            let request = SubscribeAndGrabRequest {
                lock: "idle".to_owned(),
                ..Default::default()
            };
            let mut stream = client.subscribe_and_grab(request).await?.into_inner();
            match stream.message().await?.and_then(|answer| answer.event) {
                Some(Event::Queued(_)) => streams.push(stream),
                other => return Err(format!("expected a place in line, got {other:?}").into()),
            }
        }
    }
    let each = (server.process.resident()?.saturating_sub(before)) as f64 / WAITERS as f64;
    table.add(
        "5. an idle SubscribeAndGrab waiter, of 10,000",
        "at most 9 KiB",
        format!("{:.1} KiB", each / 1024.0),
        "resident memory of the server, 10 connections included".to_owned(),
    );
    drop(streams);
    drop(server);

    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let mut holder = Client::attach(server.connect().await?, 600).await?;
    hold(&mut holder, "idle").await?;
    let mut waiters = Client::attach(server.connect().await?, 600).await?;
    let before = server.process.resident()?;
    for number in 0..WAITERS as u64 {
        send(&waiters, number + 1, acquire("idle".to_owned(), 86_400)).await?;
        match waiters.answer().await? {
            (_, Told::Queued(_)) => {}
            (_, other) => return Err(format!("expected a place in line, got {other:?}").into()),
        }
    }
    let each = (server.process.resident()?.saturating_sub(before)) as f64 / WAITERS as f64;
    table.add(
        "5. the same waits over one Attach stream",
        "at most 1 KiB",
        format!("{each:.0} bytes"),
        "resident memory of the server".to_owned(),
    );
    Ok(())
}

async fn send(
    client: &Client,
    call_id: u64,
    call: holdfast::proto::v1::attach_request::Call,
) -> Result<(), Failed> {
    let call = Some(call);
    Ok(client.calls.send(AttachRequest { call_id, call }).await?)
}

async fn hold(client: &mut Client, lock: &str) -> Result<u64, Failed> {
    send(client, 1, acquire(lock.to_owned(), 0)).await?;
    match client.answer().await? {
        (_, Told::Acquired(answer)) => Ok(answer.grant.ok_or("no grant")?.fencing_token),
        (_, other) => Err(format!("expected a grant, got {other:?}").into()),
    }
}

/// Figure 6.
pub async fn held_locks(table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let before = server.process.resident()?;
    let mut client = Client::attach(server.connect().await?, 3600).await?;
    let (mut sent, mut answered, mut last_token) = (0, 0, 0);
    while answered < LOCKS {
        while sent < LOCKS && sent - answered < IN_FLIGHT {
            let mut call = acquire(format!("held-lock-{sent:07}"), 0);
            if let holdfast::proto::v1::attach_request::Call::AcquireLock(ask) = &mut call {
                // A lease of its own for each, as most holders have.
                let ttl = prost_types::Duration {
                    seconds: 3600,
                    nanos: 0,
                };
                ask.hold = Some(holdfast::proto::v1::acquire_lock_request::Hold::Ttl(ttl));
            }
            send(&client, sent as u64 + 1, call).await?;
            sent += 1;
        }
        match client.answer().await? {
            (_, Told::Acquired(answer)) => {
                last_token = answer.grant.ok_or("no grant")?.fencing_token;
                answered += 1;
            }
            (_, other) => return Err(format!("expected a grant, got {other:?}").into()),
        }
    }
    let made = server.process.resident()?.saturating_sub(before) as f64 / LOCKS as f64;
    drop(client);
    server.kill()?;

    let began = Instant::now();
    let server = Server::start(dir.path()).await?;
    let mut client = LockServiceClient::new(server.connect().await?);
    let lock = format!("held-lock-{:07}", LOCKS - 1);
    let request = GetLockRequest { lock: lock.clone() };
    let held = client.get_lock(request).await?.into_inner().lock;
    let seconds = began.elapsed().as_secs_f64();
    let held = held.ok_or("no lock")?;
    if held.holders.len() != 1 {
        return Err("an acknowledged lock is gone".into());
    }
    let check = CheckGrantRequest {
        lock,
        fencing_token: held.holders[0].fencing_token,
    };
    if !client.check_grant(check).await?.into_inner().current || last_token == 0 {
        return Err("an acknowledged grant is not current".into());
    }
    let loaded = server.process.resident()?.saturating_sub(before) as f64 / LOCKS as f64;
    table.add(
        "6. memory of a held lock, of 1,000,000",
        "at most 400 bytes",
        format!("{made:.0} bytes made, {loaded:.0} bytes loaded"),
        "resident memory of the server less that of an empty one".to_owned(),
    );
    table.add(
        "6. from kill -9 to serving them",
        "under 2 s",
        format!("{seconds:.2} s"),
        "from starting the process to the first answer".to_owned(),
    );
    Ok(())
}
