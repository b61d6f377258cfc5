//! Figures 2, 3, 4 and 7: calls over Attach and KeepAlive beside the both-ways echo.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast::proto::v1::attach_request::Call;
use holdfast::proto::v1::attach_response::Result as Told;
use holdfast::proto::v1::lease_service_client::LeaseServiceClient;
use holdfast::proto::v1::session_service_client::SessionServiceClient;
use holdfast::proto::v1::{
    AcquireLockRequest, AttachRequest, AttachResponse, CloseSession, CreateLeaseRequest, Grant,
    KeepAliveRequest, OpenSession, ReleaseLockRequest, RenewLockRequest,
};
use tokio::sync::{Barrier, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::process::{Echo, Server};
use crate::table::{Table, median, quantile_us, rate};
use crate::{Failed, Plan, echo};

/// Streams of one throughput measurement, each on a connection of its own.
pub const STREAMS: usize = 4;
/// Calls in flight on each stream.
pub const IN_FLIGHT: usize = 64;
/// Messages of one echo measurement, on each stream.
const ECHOES: usize = 400_000;
/// Calls of one measurement, on each stream.
pub const CALLS: usize = 60_000;
/// Waiters of the hand-over.
const WAITERS: usize = 16;
/// Hand-overs of one measurement.
const HAND_OVERS: usize = 10_000;
/// Round trips of the one caller.
const ROUND_TRIPS: usize = 2_000;

/// One attached session.
pub struct Client {
    /// Where calls go.
    pub calls: mpsc::Sender<AttachRequest>,
    /// Where answers come from.
    pub answers: Streaming<AttachResponse>,
}

impl Client {
    /// Opens a session with this TTL.
    pub async fn attach(channel: Channel, ttl_seconds: i64) -> Result<Client, Failed> {
        let (calls, requests) = mpsc::channel(1024);
        let ttl = Some(prost_types::Duration {
            seconds: ttl_seconds,
            nanos: 0,
        });
        let open = OpenSession {
            ttl,
            ..Default::default()
        };
        calls.send(request(u64::MAX, Call::Open(open))).await?;
        let mut client = SessionServiceClient::new(channel);
        let mut answers = client
            .attach(ReceiverStream::new(requests))
            .await?
            .into_inner();
        match answers.message().await?.and_then(|answer| answer.result) {
            Some(Told::Opened(_)) => Ok(Client { calls, answers }),
            other => Err(format!("expected an open session, got {other:?}").into()),
        }
    }

    /// Makes a call in a slot; the numbers of calls begin at 1, those of slots at 0.
    async fn send(&self, slot: u64, call: Call) -> Result<(), Failed> {
        Ok(self.calls.send(request(slot + 1, call)).await?)
    }

    /// The next answer, and its slot.
    pub async fn answer(&mut self) -> Result<(u64, Told), Failed> {
        let answer = self.answers.message().await?.ok_or("the stream ended")?;
        let told = answer.result.ok_or("an empty answer")?;
        Ok((answer.call_id.wrapping_sub(1), told))
    }

    /// Ends the session and all that it holds.
    async fn close(mut self) -> Result<(), Failed> {
        let close = Call::Close(CloseSession {});
        self.calls.send(request(u64::MAX, close)).await?;
        while !matches!(self.answer().await?, (_, Told::Closed(_))) {}
        Ok(())
    }

    async fn granted(&mut self) -> Result<(u64, Grant), Failed> {
        loop {
            match self.answer().await? {
                (id, Told::Acquired(answer)) => {
                    return Ok((id, answer.grant.ok_or("no grant")?));
                }
                (_, Told::Queued(_) | Told::Released(_)) => {}
                (_, other) => return Err(format!("expected a grant, got {other:?}").into()),
            }
        }
    }
}

fn request(call_id: u64, call: Call) -> AttachRequest {
    AttachRequest {
        call_id,
        call: Some(call),
    }
}

/// Asks for a lock, on the session's lease.
pub fn acquire(lock: String, wait_seconds: i64) -> Call {
    Call::AcquireLock(AcquireLockRequest {
        lock,
        owner: "figures".to_owned(),
        wait: Some(prost_types::Duration {
            seconds: wait_seconds,
            nanos: 0,
        }),
        ..Default::default()
    })
}

fn release(lock: String, grant_token: String) -> Call {
    Call::ReleaseLock(ReleaseLockRequest {
        lock,
        grant_token,
        request_id: String::new(),
    })
}

async fn echoes(channel: Channel) -> Result<(), Failed> {
    let (sender, requests) = mpsc::channel(IN_FLIGHT);
    let requests = ReceiverStream::new(requests).map(Ok);
    for number in 0..IN_FLIGHT {
        sender.send(echo::message(number as u64)).await?;
    }
    let mut answers = echo::both(&channel, Box::pin(requests)).await?;
    let mut sent = IN_FLIGHT;
    for _ in 0..ECHOES {
        let answer = answers.message().await?.ok_or("the echo ended")?;
        if sent < ECHOES {
            sender.send(answer).await?;
            sent += 1;
        }
    }
    Ok(())
}

/// Acquires and releases distinct locks, with `IN_FLIGHT` calls always under way.
pub async fn cycles(channel: Channel, stream: usize) -> Result<(), Failed> {
    cycle(channel, stream, |call, _| call).await
}

/// As `cycles`, each call with a request id, as a client makes it that wants to be able to ask again.
pub async fn retryable_cycles(channel: Channel, stream: usize) -> Result<(), Failed> {
    let process = uuid::Uuid::new_v4().simple().to_string();
    cycle(channel, stream, |mut call, number| {
        let id = format!("{process}-{number:x}");
        match &mut call {
            Call::AcquireLock(request) => request.request_id = id,
            Call::ReleaseLock(request) => request.request_id = id,
            _ => {}
        }
        call
    })
    .await
}

async fn cycle(
    channel: Channel,
    stream: usize,
    finish: impl Fn(Call, usize) -> Call,
) -> Result<(), Failed> {
    let mut client = Client::attach(channel, 60).await?;
    let name = |slot: u64| format!("lock-{stream}-{slot}");
    for slot in 0..IN_FLIGHT {
        let call = finish(acquire(name(slot as u64), 0), slot);
        client.send(slot as u64, call).await?;
    }
    let mut answered = 0;
    while answered < CALLS {
        let (slot, told) = client.answer().await?;
        answered += 1;
        let next = match told {
            Told::Acquired(answer) => {
                release(name(slot), answer.grant.ok_or("no grant")?.grant_token)
            }
            Told::Released(_) => acquire(name(slot), 0),
            other => return Err(format!("unexpected {other:?}").into()),
        };
        client
            .send(slot, finish(next, IN_FLIGHT + answered))
            .await?;
    }
    client.close().await
}

/// Renews grants of their own leases, over Attach.
async fn renewals(channel: Channel, stream: usize) -> Result<(), Failed> {
    let mut client = Client::attach(channel, 60).await?;
    let name = |slot: u64| format!("renewed-{stream}-{slot}");
    let mut renewals = Vec::new();
    for slot in 0..IN_FLIGHT as u64 {
        let Call::AcquireLock(mut ask) = acquire(name(slot), 0) else {
            return Err("no acquire".into());
        };
        let ttl = prost_types::Duration {
            seconds: 60,
            nanos: 0,
        };
        ask.hold = Some(holdfast::proto::v1::acquire_lock_request::Hold::Ttl(ttl));
        client.send(slot, Call::AcquireLock(ask)).await?;
        let (_, grant) = client.granted().await?;
        renewals.push(RenewLockRequest {
            lock: name(slot),
            grant_token: grant.grant_token,
            ttl: None,
        });
    }
    for (slot, renewal) in renewals.iter().enumerate() {
        let call = Call::RenewLock(renewal.clone());
        client.send(slot as u64, call).await?;
    }
    for answered in 0..2 * CALLS {
        let (slot, told) = client.answer().await?;
        if !matches!(told, Told::Renewed(_)) {
            return Err(format!("expected a renewal, got {told:?}").into());
        }
        if answered + IN_FLIGHT < 2 * CALLS {
            let call = Call::RenewLock(renewals[slot as usize].clone());
            client.send(slot, call).await?;
        }
    }
    for (slot, renewal) in renewals.into_iter().enumerate() {
        let call = release(renewal.lock, renewal.grant_token);
        client.send(slot as u64, call).await?;
    }
    client.close().await
}

/// Renews leases over KeepAlive.
async fn keep_alives(channel: Channel) -> Result<(), Failed> {
    let mut leases = LeaseServiceClient::new(channel);
    let mut ids = Vec::new();
    for _ in 0..IN_FLIGHT {
        let created = leases.create_lease(CreateLeaseRequest::default()).await?;
        let lease = created.into_inner().lease.ok_or("no lease")?;
        ids.push(lease.lease_id);
    }
    let (sender, requests) = mpsc::channel(IN_FLIGHT);
    for id in &ids {
        let lease_id = id.clone();
        sender.send(KeepAliveRequest { lease_id }).await?;
    }
    let mut answers = leases
        .keep_alive(ReceiverStream::new(requests))
        .await?
        .into_inner();
    for answered in 0..2 * CALLS {
        let answer = answers.message().await?.ok_or("the stream ended")?;
        if answered + IN_FLIGHT < 2 * CALLS {
            let lease_id = answer.lease_id;
            sender.send(KeepAliveRequest { lease_id }).await?;
        }
    }
    Ok(())
}

/// Runs one task on each stream; gives the rate of `each` messages on every stream.
pub async fn on_streams<F>(
    channels: &[Channel],
    each: usize,
    run: impl Fn(Channel, usize) -> F,
) -> Result<f64, Failed>
where
    F: Future<Output = Result<(), Failed>> + Send + 'static,
{
    let began = Instant::now();
    let tasks: Vec<_> = channels
        .iter()
        .enumerate()
        .map(|(stream, channel)| tokio::spawn(run(channel.clone(), stream)))
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((channels.len() * each) as f64 / began.elapsed().as_secs_f64())
}

/// Figure 2.
pub async fn durable(plan: &Plan, echo: &Echo, table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let (echo_channels, channels) = connect(echo, &server).await?;
    let (mut boths, mut unaries, mut rates) = (vec![], vec![], vec![]);
    let (mut to_both, mut to_unary) = (vec![], vec![]);
    for round in 0..=plan.rounds {
        let both = on_streams(&echo_channels, ECHOES, |channel, _| echoes(channel)).await?;
        let unary = crate::unary::echo_rate(echo, 256).await?;
        let durable = on_streams(&channels, CALLS, cycles).await?;
        // The first round warms up.
        if round > 0 {
            boths.push(both);
            unaries.push(unary);
            rates.push(durable);
            to_both.push(durable / both);
            to_unary.push(durable / unary);
        }
    }
    let own = rate(median(&mut rates));
    table.add(
        "2. durable calls over Attach, 4 streams with 64 in flight",
        "0.15 of the both-ways echo",
        format!("{:.3} ({own})", median(&mut to_both)),
        format!("both-ways echo {}", rate(median(&mut boths))),
    );
    table.add(
        "2. the same",
        "3 times the unary echo",
        format!("{:.1} times", median(&mut to_unary)),
        format!("unary echo, 256 in flight, {}", rate(median(&mut unaries))),
    );
    Ok(())
}

/// Figure 3.
pub async fn renewed(plan: &Plan, echo: &Echo, table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let (echo_channels, channels) = connect(echo, &server).await?;
    let (mut boths, mut rates, mut ratios) = (vec![], [vec![], vec![]], [vec![], vec![]]);
    for round in 0..=plan.rounds {
        let both = on_streams(&echo_channels, ECHOES, |channel, _| echoes(channel)).await?;
        let renewed = on_streams(&channels, 2 * CALLS, renewals).await?;
        let kept = on_streams(&channels, 2 * CALLS, |channel, _| keep_alives(channel)).await?;
        if round > 0 {
            boths.push(both);
            for (place, own) in [renewed, kept].into_iter().enumerate() {
                rates[place].push(own);
                ratios[place].push(own / both);
            }
        }
    }
    let both = rate(median(&mut boths));
    for (place, over) in ["Attach", "KeepAlive"].into_iter().enumerate() {
        let own = rate(median(&mut rates[place]));
        table.add(
            &format!("3. renewals over {over}"),
            "0.25 of the both-ways echo",
            format!("{:.3} ({own})", median(&mut ratios[place])),
            format!("both-ways echo {both}"),
        );
    }
    Ok(())
}

/// The connections of the echo and of the server, one for each stream.
async fn connect(echo: &Echo, server: &Server) -> Result<(Vec<Channel>, Vec<Channel>), Failed> {
    let (mut echoes, mut channels) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        echoes.push(echo.connect().await?);
        channels.push(server.connect().await?);
    }
    Ok((echoes, channels))
}

/// When a lock was released, and by whom it was held next.
struct HandOver {
    released: Instant,
    told: Instant,
    fencing_token: u64,
}

/// Waits, is told, releases and stands in line again, in turn with the others.
async fn take_turns(
    channel: Channel,
    all_in_line: Arc<Barrier>,
    released: Arc<Mutex<Instant>>,
    rounds: usize,
) -> Result<Vec<HandOver>, Failed> {
    let mut client = Client::attach(channel, 60).await?;
    let mut turns = Vec::with_capacity(rounds);
    client.send(0, acquire("turns".to_owned(), 60)).await?;
    match client.answer().await? {
        (_, Told::Queued(_)) => all_in_line.wait().await,
        (_, other) => return Err(format!("expected a place in line, got {other:?}").into()),
    };
    for round in 1..=rounds as u64 {
        let (_, grant) = client.granted().await?;
        let told = Instant::now();
        let released = match released.lock() {
            Ok(mut released) => std::mem::replace(&mut *released, Instant::now()),
            Err(_) => return Err("a task panicked".into()),
        };
        turns.push(HandOver {
            released,
            told,
            fencing_token: grant.fencing_token,
        });
        let give = release("turns".to_owned(), grant.grant_token);
        client.send(round << 1, give).await?;
        if round < rounds as u64 {
            let again = acquire("turns".to_owned(), 60);
            client.send((round << 1) + 1, again).await?;
        }
    }
    // The last release is answered before the stream is closed.
    while !matches!(client.answer().await?, (_, Told::Released(_))) {}
    Ok(turns)
}

/// Figure 4.
pub async fn hand_over(plan: &Plan, table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let mut starter = Client::attach(server.connect().await?, 60).await?;
    let mut channels = Vec::new();
    for _ in 0..WAITERS {
        channels.push(server.connect().await?);
    }
    let (mut rates, mut p50s, mut p99s, mut in_order) = (vec![], vec![], vec![], true);
    for round in 0..=plan.rounds {
        starter.send(0, acquire("turns".to_owned(), 60)).await?;
        let (_, grant) = starter.granted().await?;
        let all_in_line = Arc::new(Barrier::new(WAITERS + 1));
        let released = Arc::new(Mutex::new(Instant::now()));
        let mut tasks = Vec::new();
        for channel in &channels {
            tasks.push(tokio::spawn(take_turns(
                channel.clone(),
                all_in_line.clone(),
                released.clone(),
                HAND_OVERS / WAITERS,
            )));
        }
        all_in_line.wait().await;
        let began = Instant::now();
        if let Ok(mut released) = released.lock() {
            *released = began;
        }
        let give = release("turns".to_owned(), grant.grant_token);
        starter.send(1, give).await?;
        starter.answer().await?;
        let mut turns = Vec::new();
        let mut by_waiter = Vec::new();
        for (waiter, task) in tasks.into_iter().enumerate() {
            for turn in task.await?? {
                by_waiter.push((turn.fencing_token, waiter));
                turns.push(turn);
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        // In order: everyone has its turn before anyone has the next one.
        by_waiter.sort_unstable();
        let order: Vec<usize> = by_waiter.iter().map(|(_, waiter)| *waiter).collect();
        in_order &= order
            .windows(WAITERS + 1)
            .all(|turns| turns.first() == turns.last());
        if round == 0 {
            continue;
        }
        let mut spans: Vec<Duration> = turns
            .iter()
            .map(|turn| turn.told.saturating_duration_since(turn.released))
            .collect();
        rates.push(turns.len() as f64 / seconds);
        p50s.push(quantile_us(&mut spans, 0.50));
        p99s.push(quantile_us(&mut spans, 0.99));
    }
    let sync = fdatasync_us(dir.path())?;
    table.add(
        "4. hand-over of one lock among 16 waiters",
        "3,000/s, p50 < 300 µs, p99 < 1.5 ms, in order",
        format!(
            "{}, p50 {:.0} µs, p99 {:.0} µs, {}",
            rate(median(&mut rates)),
            median(&mut p50s),
            median(&mut p99s),
            if in_order { "in order" } else { "OUT OF ORDER" }
        ),
        format!("one fdatasync {sync:.0} µs"),
    );
    Ok(())
}

/// The median time of an fdatasync after a small append, in microseconds.
pub fn fdatasync_us(dir: &Path) -> Result<f64, Failed> {
    let mut file = File::create(dir.join("fdatasync"))?;
    let mut spans = Vec::new();
    for _ in 0..500 {
        file.write_all(&[7; 200])?;
        let began = Instant::now();
        file.sync_data()?;
        spans.push(began.elapsed());
    }
    Ok(quantile_us(&mut spans, 0.5))
}

/// Figure 7.
pub async fn one_caller(plan: &Plan, echo: &Echo, table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let mut client = Client::attach(server.connect().await?, 60).await?;
    let (sender, requests) = mpsc::channel(1);
    let requests = ReceiverStream::new(requests).map(Ok);
    sender.send(echo::message(0)).await?;
    let mut answers = echo::both(&echo.connect().await?, Box::pin(requests)).await?;
    answers.message().await?;
    let (mut echo_p50s, mut sync_p50s, mut own_p50s, mut ratios) = (vec![], vec![], vec![], vec![]);
    for _ in 0..plan.rounds {
        let mut spans = Vec::new();
        for number in 0..ROUND_TRIPS {
            let began = Instant::now();
            sender.send(echo::message(number as u64)).await?;
            answers.message().await?;
            spans.push(began.elapsed());
        }
        let echo_p50 = quantile_us(&mut spans, 0.5);
        let sync_p50 = fdatasync_us(dir.path())?;
        let mut spans = Vec::new();
        for number in 0..ROUND_TRIPS as u64 / 2 {
            let began = Instant::now();
            client
                .send(2 * number, acquire("one".to_owned(), 0))
                .await?;
            let (_, grant) = client.granted().await?;
            spans.push(began.elapsed());
            let began = Instant::now();
            let give = release("one".to_owned(), grant.grant_token);
            client.send(2 * number + 1, give).await?;
            client.answer().await?;
            spans.push(began.elapsed());
        }
        let own_p50 = quantile_us(&mut spans, 0.5);
        ratios.push(own_p50 / (echo_p50 + sync_p50));
        echo_p50s.push(echo_p50);
        sync_p50s.push(sync_p50);
        own_p50s.push(own_p50);
    }
    table.add(
        "7. one sequential caller over Attach",
        "p50 at most 1.6 times (echo + fdatasync)",
        format!(
            "{:.2} times (p50 {:.0} µs)",
            median(&mut ratios),
            median(&mut own_p50s)
        ),
        format!(
            "both-ways echo p50 {:.0} µs, fdatasync p50 {:.0} µs",
            median(&mut echo_p50s),
            median(&mut sync_p50s)
        ),
    );
    Ok(())
}
