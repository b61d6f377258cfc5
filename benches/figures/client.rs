//! Figures 15 and 16: the Rust client beside bare streams, and what it costs to keep grants alive.

use std::time::{Duration, Instant};

use holdfast_client::{Client, Grant};

use crate::attach::{CALLS, IN_FLIGHT, STREAMS, cycles, on_streams, retryable_cycles};
use crate::process::{Server, own_cpu_time};
use crate::table::{Table, median, rate};
use crate::{Failed, Plan};

/// Callers of the one client: as many as the bare streams have in flight.
const CALLERS: usize = STREAMS * IN_FLIGHT;
/// Cycles of one measurement for each caller: as many calls as the bare streams make.
const CYCLES: usize = STREAMS * CALLS / 2 / CALLERS;
/// Grants that are kept alive.
const GRANTS: usize = 10_000;
/// The TTL of each, where they have their own.
const TTL: Duration = Duration::from_secs(30);
/// How long they are watched: long enough for two renewals of each.
const WATCHED: Duration = Duration::from_secs(16);

/// Figure 15.
pub async fn callers(plan: &Plan, table: &mut Table) -> Result<(), Failed> {
    let (mut bares, mut retryables, mut owns) = (vec![], vec![], vec![]);
    let (mut to_bare, mut to_retryable) = (vec![], vec![]);
    for round in 0..=plan.rounds {
        // A server remembers a million request ids for two minutes: a new one for each round.
        let dir = tempfile::tempdir()?;
        let server = Server::start(dir.path()).await?;
        let mut channels = Vec::new();
        for _ in 0..STREAMS {
            channels.push(server.connect().await?);
        }
        let client = Client::connect(server.address()).await?;
        let bare = on_streams(&channels, CALLS, cycles).await?;
        let retryable = on_streams(&channels, CALLS, retryable_cycles).await?;
        let own = calls_per_second(&client).await?;
        client.close().await;
        // The first round warms up.
        if round > 0 {
            bares.push(bare);
            retryables.push(retryable);
            owns.push(own);
            to_bare.push(own / bare);
            to_retryable.push(own / retryable);
        }
    }
    table.add(
        "15. the Rust client, 256 callers on one connection",
        "0.8 of figure 2's bare streams",
        format!("{:.2} ({})", median(&mut to_bare), rate(median(&mut owns))),
        format!("4 bare streams {}", rate(median(&mut bares))),
    );
    table.add(
        "15. the same",
        "none: what the request ids cost the server is no part of it",
        format!("{:.2}", median(&mut to_retryable)),
        format!(
            "4 bare streams with request ids {}",
            rate(median(&mut retryables))
        ),
    );
    Ok(())
}

/// Acquires and releases of distinct locks by many callers at once.
async fn calls_per_second(client: &Client) -> Result<f64, Failed> {
    let began = Instant::now();
    let mut callers = Vec::with_capacity(CALLERS);
    for caller in 0..CALLERS {
        let lock = client.lock(format!("called-{caller}"));
        callers.push(tokio::spawn(async move {
            for _ in 0..CYCLES {
                lock.acquire().await?.release().await?;
            }
            Ok::<_, holdfast_client::Error>(())
        }));
    }
    for caller in callers {
        caller.await??;
    }
    Ok((CALLERS * CYCLES * 2) as f64 / began.elapsed().as_secs_f64())
}

/// Figure 16.
pub async fn kept_alive(table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    for (hanging, ttl) in [("on the session", None), ("on a lease each", Some(TTL))] {
        let client = Client::connect(server.address()).await?;
        let grants = hold(&client, ttl).await?;
        let (began, before) = (Instant::now(), own_cpu_time()?);
        tokio::time::sleep(WATCHED).await;
        let spent = own_cpu_time()?.saturating_sub(before);
        let share = spent.as_secs_f64() / began.elapsed().as_secs_f64();
        if let Some(lost) = grants.iter().find_map(Grant::loss) {
            return Err(format!("a grant was lost: {lost:?}").into());
        }
        table.add(
            &format!("16. {GRANTS} grants of the Rust client kept alive, {hanging}"),
            "under 5 % of one core",
            format!("{:.1} %", share * 100.0),
            format!("a TTL of {} s", TTL.as_secs()),
        );
        drop(grants);
        client.close().await;
    }
    Ok(())
}

async fn hold(client: &Client, ttl: Option<Duration>) -> Result<Vec<Grant>, Failed> {
    let mut asking = Vec::with_capacity(GRANTS);
    for number in 0..GRANTS {
        let mut lock = client.lock(format!("kept-{number}"));
        if let Some(ttl) = ttl {
            lock = lock.ttl(ttl);
        }
        asking.push(tokio::spawn(async move { lock.acquire().await }));
    }
    let mut grants = Vec::with_capacity(GRANTS);
    for grant in asking {
        grants.push(grant.await??);
    }
    Ok(grants)
}
