//! Figure 14: values beside the unary echo.

use std::sync::Arc;

use holdfast::proto::v1::PutValueRequest;
use holdfast::proto::v1::value_service_client::ValueServiceClient;

use crate::process::{Echo, Server};
use crate::table::{Table, median, rate};
use crate::unary::{CONNECTIONS, drive, measure_echo};
use crate::{Failed, Plan};

/// Callers.
const IN_FLIGHT: usize = 64;
/// Keys that are put over and over.
const KEYS: usize = 1_000;

/// Figure 14.
pub async fn put(plan: &Plan, echo: &Echo, table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let (mut echoes, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        echoes.push(echo.connect().await?);
        clients.push(ValueServiceClient::new(server.connect().await?));
    }
    let clients = Arc::new(clients);
    let (mut rates, mut ratios) = ([vec![], vec![]], vec![]);
    for round in 0..=plan.rounds {
        let echo = measure_echo(&echoes, IN_FLIGHT).await?;
        let clients = clients.clone();
        let put = drive(IN_FLIGHT, move |number| {
            let mut values = clients[number % CONNECTIONS].clone();
            async move {
                let request = PutValueRequest {
                    key: format!("key-{}", number % KEYS),
                    value: vec![b'x'; 64],
                    ..Default::default()
                };
                values.put_value(request).await?;
                Ok(())
            }
        })
        .await?;
        // The first round warms up.
        if round > 0 {
            rates[0].push(echo);
            rates[1].push(put);
            ratios.push(put / echo);
        }
    }
    table.add(
        "14. PutValue, 64 in flight",
        "none",
        format!(
            "{:.2} of the unary echo ({})",
            median(&mut ratios),
            rate(median(&mut rates[1]))
        ),
        format!("echo {}", rate(median(&mut rates[0]))),
    );
    Ok(())
}
