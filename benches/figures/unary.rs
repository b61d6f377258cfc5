//! Figure 1: unary calls on distinct names beside the unary echo.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use holdfast::proto::v1::lock_service_client::LockServiceClient;
use holdfast::proto::v1::{AcquireLockRequest, ReleaseLockRequest};
use tonic::transport::Channel;

use crate::process::{Echo, Server};
use crate::table::{Table, median, quantile_us, rate};
use crate::{Failed, Plan, echo};

/// Calls of each kind in one measurement.
pub const CALLS: usize = 40_000;
/// Calls of one caller alone.
const ROUND_TRIPS: usize = 1_000;
/// Connections that the calls are spread over, for the echo and for Holdfast.
pub const CONNECTIONS: usize = 2;

/// The rate of the unary echo alone.
pub async fn echo_rate(echo: &Echo, in_flight: usize) -> Result<f64, Failed> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(echo.connect().await?);
    }
    measure_echo(&channels, in_flight).await
}

/// The rate of the unary echo over these.
pub async fn measure_echo(channels: &[Channel], in_flight: usize) -> Result<f64, Failed> {
    let channels = Arc::new(channels.to_vec());
    drive(in_flight, move |number| {
        let channel = channels[number % CONNECTIONS].clone();
        async move { echo::unary(&channel, number as u64).await }
    })
    .await
}

/// The median time of one unary echo behind the other, in microseconds.
pub async fn echo_p50_us(echo: &Echo) -> Result<f64, Failed> {
    let channel = echo.connect().await?;
    let mut spans = Vec::with_capacity(ROUND_TRIPS);
    for number in 0..ROUND_TRIPS as u64 {
        let began = Instant::now();
        echo::unary(&channel, number).await?;
        spans.push(began.elapsed());
    }
    Ok(quantile_us(&mut spans, 0.5))
}

/// Runs `CALLS` calls with so many in flight, each caller a task of its own; gives the rate.
pub async fn drive<F>(
    in_flight: usize,
    call: impl Fn(usize) -> F + Send + Sync + 'static,
) -> Result<f64, Failed>
where
    F: Future<Output = Result<(), Failed>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let call = Arc::new(call);
    let began = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (next, call) = (next.clone(), call.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CALLS {
                        return Ok::<(), Failed>(());
                    }
                    call(number).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(CALLS as f64 / began.elapsed().as_secs_f64())
}

/// Figure 1.
pub async fn distinct_names(plan: &Plan, echo: &Echo, table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let (mut echoes, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        echoes.push(echo.connect().await?);
        clients.push(LockServiceClient::new(server.connect().await?));
    }
    for (in_flight, asked) in [(64, 0.50), (256, 0.55)] {
        let (mut rates, mut ratios) = ([vec![], vec![], vec![]], [vec![], vec![]]);
        for _ in 0..=plan.rounds {
            let echo = measure_echo(&echoes, in_flight).await?;
            let tokens: Arc<Vec<OnceLock<String>>> =
                Arc::new((0..CALLS).map(|_| OnceLock::new()).collect());
            let (clients_a, tokens_a) = (Arc::new(clients.clone()), tokens.clone());
            let acquire = drive(in_flight, move |number| {
                let mut client = clients_a[number % CONNECTIONS].clone();
                let tokens = tokens_a.clone();
                async move {
                    let request = AcquireLockRequest {
                        lock: format!("lock-{number}"),
                        owner: "figures".to_owned(),
                        ..Default::default()
                    };
                    let response = client.acquire_lock(request).await?.into_inner();
                    let grant = response.grant.ok_or("no grant")?;
                    tokens[number].set(grant.grant_token)?;
                    Ok(())
                }
            })
            .await?;
            let clients_r = Arc::new(clients.clone());
            let release = drive(in_flight, move |number| {
                let mut client = clients_r[number % CONNECTIONS].clone();
                let tokens = tokens.clone();
                async move {
                    let grant_token = tokens[number].get().cloned().unwrap_or_default();
                    let request = ReleaseLockRequest {
                        lock: format!("lock-{number}"),
                        grant_token,
                        request_id: String::new(),
                    };
                    client.release_lock(request).await?;
                    Ok(())
                }
            })
            .await?;
            for (values, value) in rates.iter_mut().zip([echo, acquire, release]) {
                values.push(value);
            }
            ratios[0].push(acquire / echo);
            ratios[1].push(release / echo);
        }
        // The first round warms up.
        for values in rates.iter_mut().chain(&mut ratios) {
            values.remove(0);
        }
        let echo = median(&mut rates[0]);
        for (name, place) in [("AcquireLock", 0), ("ReleaseLock", 1)] {
            let ratio = median(&mut ratios[place]);
            let own = median(&mut rates[place + 1]);
            table.add(
                &format!("1. unary {name}, {in_flight} in flight"),
                &format!("{asked:.2} of the unary echo"),
                format!("{ratio:.2} ({})", rate(own)),
                format!("echo {}", rate(echo)),
            );
        }
    }
    Ok(())
}
