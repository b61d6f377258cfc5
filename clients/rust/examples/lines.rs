//! FIFOs, queues and values.

use std::time::Duration;

use holdfast_client::{Client, FifoOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let client = Client::connect(address.unwrap_or("http://127.0.0.1:4653".into())).await?;

    // A durable line: a ticket outlives this program.
    let fifo = client.fifo("builds");
    fifo.create(FifoOptions::default().concurrency(2)).await?;
    let ticket = fifo.ticket().await?;
    let turn = ticket
        .wait_watching(|place| println!("in line at {place}"))
        .await?;
    println!("building");
    turn.done().await?;
    // The same in one go, extending its time while it runs.
    fifo.scope(async |_turn| println!("building again")).await?;

    // Items, each to one consumer.
    let queue = client.queue("mails").ack_timeout(Duration::from_secs(30));
    queue.push("to ann").await?;
    queue.push("to bob").await?;
    println!("popped {} bytes", queue.pop().await?.len());
    let mail = queue.consume().next().await?;
    println!("consumed {}", String::from_utf8_lossy(mail.value()));
    mail.acknowledge().await?;

    // Small values, changed atomically.
    let count = client.value("builds/count");
    let entry = count
        .transform(|old| {
            let old = old.and_then(|old| std::str::from_utf8(old).ok()?.parse().ok());
            (old.unwrap_or(0) + 1).to_string().into_bytes()
        })
        .await?;
    println!("count {}", String::from_utf8_lossy(&entry.value));

    client.close().await;
    Ok(())
}
