//! Work under a lock.

use holdfast_client::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let client = Client::connect(address.unwrap_or("http://127.0.0.1:4653".into())).await?;

    // Waits for the lock, runs the work, and gives the lock back.
    let done = client
        .lock("deploy")
        .scope(async |grant| {
            println!("deploying, fencing token {}", grant.fencing_token());
            "deployed"
        })
        .await?;
    println!("{done}");

    client.close().await;
    Ok(())
}
