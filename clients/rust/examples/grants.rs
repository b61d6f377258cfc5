//! Locks and what is made of them.

use std::time::Duration;

use holdfast_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let client = Client::builder(address.unwrap_or("http://127.0.0.1:4653".into()))
        .owner("night job")
        .session_ttl(Duration::from_secs(20))
        .connect()
        .await?;

    let lock = client.lock("reports").wait(Duration::from_secs(60));
    let grant = match lock.acquire().await {
        Ok(grant) => grant,
        Err(Error::WaitTimedOut(why)) => {
            println!("not today: {why}");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };

    // The grant renews itself. Stop when it is lost: it is lost here before another can have it.
    tokio::select! {
        () = write_report(grant.fencing_token()) => println!("written"),
        loss = grant.lost() => println!("stopped: {loss:?}"),
    }

    // Says so where the grant was lost meanwhile; dropping it would give the lock back as well.
    grant.release().await?;

    // Held by up to 3 at once.
    let permit = client.semaphore("uploads", 3).acquire().await?;
    permit.release().await?;

    // Read by many, or written by one.
    let config = client.rw_lock("config");
    let reading = config.read().acquire().await?;
    assert!(config.write().try_acquire().await?.is_none());
    reading.release().await?;

    // Led by one.
    let term = client.election("scheduler").campaign("node 1").await?;
    println!("leading");
    term.release().await?;

    // Many locks on one lease: they end together.
    let lease = client.lease(Duration::from_secs(30)).await?;
    let _a = client.lock("disk a").lease(&lease).acquire().await?;
    let _b = client.lock("disk b").lease(&lease).acquire().await?;
    println!("{} given back", lease.revoke().await?);

    client.close().await;
    Ok(())
}

/// Hands the fencing token on to what is written to, which refuses lower ones than it has seen.
async fn write_report(fencing_token: u64) {
    println!("writing with {fencing_token}");
}
