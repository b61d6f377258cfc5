//! Figures 11 to 13: queues beside the unary echo, over streams, and with many items.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use holdfast::proto::v1::consume_request::Message;
use holdfast::proto::v1::consume_response::Event;
use holdfast::proto::v1::produce_response::Outcome;
use holdfast::proto::v1::queue_service_client::QueueServiceClient;
use holdfast::proto::v1::{
    ConsumeAcknowledge, ConsumeOpen, ConsumeRequest, DequeueRequest, EnqueueRequest, ProduceRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::process::{Echo, Server};
use crate::table::{Table, median, quantile_us, rate};
use crate::unary::{CALLS, CONNECTIONS, drive, measure_echo};
use crate::{Failed, Plan};

type Queues = QueueServiceClient<Channel>;

/// Callers of figure 11.
const IN_FLIGHT: usize = 64;
/// What each item has, in bytes.
const ITEM: &[u8] = &[b'x'; 64];
/// Streams of producers, and as many of consumers, each on a connection of its own.
const STREAMS: usize = 4;
/// Items of one measurement over streams, for each of them.
const ITEMS: usize = 50_000;
/// Items under way on each stream.
const WINDOW: usize = 256;
/// Items in a long queue, and in a short one.
const LENGTHS: [usize; 2] = [10, 100_000];
/// Items dequeued, one behind the other, from each.
const DEQUEUED: usize = 1_000;

fn enqueue(queue: &str) -> EnqueueRequest {
    EnqueueRequest {
        queue: queue.to_owned(),
        value: ITEM.to_vec(),
        ..Default::default()
    }
}

async fn dequeue(queues: &mut Queues, queue: &str) -> Result<(), Failed> {
    let request = DequeueRequest {
        queue: queue.to_owned(),
        ..Default::default()
    };
    let taken = queues.dequeue(request).await?.into_inner();
    taken.item.ok_or("an empty queue")?;
    Ok(())
}

/// Figure 11.
pub async fn unary(plan: &Plan, echo: &Echo, table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let (mut echoes, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        echoes.push(echo.connect().await?);
        clients.push(QueueServiceClient::new(server.connect().await?));
    }
    let clients = Arc::new(clients);
    let client = move |number: usize| clients[number % CONNECTIONS].clone();
    let mut rates = [vec![], vec![], vec![]];
    let mut ratios = [vec![], vec![]];
    for round in 0..=plan.rounds {
        let echo = measure_echo(&echoes, IN_FLIGHT).await?;
        let of = client.clone();
        let enqueued = drive(IN_FLIGHT, move |number| {
            let mut queues = of(number);
            async move {
                queues.enqueue(enqueue("figures")).await?;
                Ok(())
            }
        })
        .await?;
        let of = client.clone();
        let dequeued = drive(IN_FLIGHT, move |number| {
            let mut queues = of(number);
            async move { dequeue(&mut queues, "figures").await }
        })
        .await?;
        // The first round warms up.
        if round == 0 {
            continue;
        }
        for (values, value) in rates.iter_mut().zip([echo, enqueued, dequeued]) {
            values.push(value);
        }
        ratios[0].push(enqueued / echo);
        ratios[1].push(dequeued / echo);
    }
    let echo = median(&mut rates[0]);
    for (place, name) in ["Enqueue", "Dequeue"].into_iter().enumerate() {
        let (ratio, own) = (median(&mut ratios[place]), median(&mut rates[place + 1]));
        table.add(
            &format!("11. {name}, {IN_FLIGHT} in flight, {CALLS} items"),
            "0.50 of the unary echo",
            format!("{ratio:.2} ({})", rate(own)),
            format!("echo {}", rate(echo)),
        );
    }
    Ok(())
}

/// Puts items in line, a window of them under way, until the last is acknowledged as durable.
async fn produce(mut queues: Queues) -> Result<(), Failed> {
    let (sender, requests) = mpsc::channel(WINDOW);
    let item = |number: usize| ProduceRequest {
        number: number as u64,
        enqueue: Some(enqueue("stream")),
    };
    for number in 0..WINDOW {
        sender.send(item(number)).await?;
    }
    let answers = queues.produce(ReceiverStream::new(requests)).await?;
    let mut answers = answers.into_inner();
    for answered in 0..ITEMS {
        match answers.message().await?.and_then(|answer| answer.outcome) {
            Some(Outcome::Enqueued(_)) => {}
            other => return Err(format!("expected an item in line, got {other:?}").into()),
        }
        if answered + WINDOW < ITEMS {
            sender.send(item(answered + WINDOW)).await?;
        }
    }
    Ok(())
}

/// Takes items and acknowledges each, until all consumers' acknowledgements together are durable.
async fn consume(mut queues: Queues, settled: Arc<Settled>) -> Result<(), Failed> {
    let (sender, requests) = mpsc::channel(WINDOW);
    let open = Message::Open(ConsumeOpen {
        queue: "stream".to_owned(),
        window: WINDOW as u32,
        ack_timeout: None,
    });
    let message = |message| ConsumeRequest {
        message: Some(message),
    };
    sender.send(message(open)).await?;
    let news = queues.consume(ReceiverStream::new(requests)).await?;
    let mut news = news.into_inner();
    loop {
        let news = tokio::select! {
            news = news.message() => news?,
            () = settled.all.cancelled() => return Ok(()),
        };
        match news.and_then(|news| news.event) {
            Some(Event::Item(item)) => {
                let receipts = vec![item.receipt];
                let acknowledge = Message::Acknowledge(ConsumeAcknowledge { receipts });
                sender.send(message(acknowledge)).await?;
            }
            Some(Event::Settled(done)) => match done.error {
                None => settled.one(),
                Some(error) => return Err(format!("not acknowledged: {error:?}").into()),
            },
            None => return Err("the stream ended".into()),
        }
    }
}

/// How many acknowledgements are durable.
#[derive(Default)]
struct Settled {
    count: AtomicUsize,
    all: CancellationToken,
}

impl Settled {
    fn one(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == STREAMS * ITEMS {
            self.all.cancel();
        }
    }
}

/// Figure 12: items put in line, delivered and acknowledged, all at once.
pub async fn streams(plan: &Plan, table: &mut Table) -> Result<(), Failed> {
    let mut rates = Vec::new();
    for round in 0..=plan.rounds {
        let dir = tempfile::tempdir()?;
        let server = Server::start(dir.path()).await?;
        let (mut producers, mut consumers) = (Vec::new(), Vec::new());
        for _ in 0..STREAMS {
            producers.push(QueueServiceClient::new(server.connect().await?));
            consumers.push(QueueServiceClient::new(server.connect().await?));
        }
        let settled = Arc::new(Settled::default());
        let began = Instant::now();
        let mut tasks: Vec<_> = producers
            .into_iter()
            .map(|queues| tokio::spawn(produce(queues)))
            .collect();
        tasks.extend(
            consumers
                .into_iter()
                .map(|queues| tokio::spawn(consume(queues, settled.clone()))),
        );
        for task in tasks {
            task.await??;
        }
        if round > 0 {
            rates.push((STREAMS * ITEMS) as f64 / began.elapsed().as_secs_f64());
        }
    }
    table.add(
        "12. items over Produce and Consume, each acknowledged",
        "100,000/s",
        rate(median(&mut rates)),
        format!("{STREAMS} producers and {STREAMS} consumers, {WINDOW} items under way each"),
    );
    Ok(())
}

/// Figure 13: one caller dequeues, from queues of two lengths.
pub async fn long_queues(table: &mut Table) -> Result<(), Failed> {
    let mut medians = Vec::new();
    for length in LENGTHS {
        let dir = tempfile::tempdir()?;
        let server = Server::start(dir.path()).await?;
        let queues = QueueServiceClient::new(server.connect().await?);
        let filled = queues.clone();
        let next = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let (mut queues, next) = (filled.clone(), next.clone());
                tokio::spawn(async move {
                    while next.fetch_add(1, Ordering::Relaxed) < length {
                        queues.enqueue(enqueue("long")).await?;
                    }
                    Ok::<(), Failed>(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        let mut queues = queues;
        let mut spans = Vec::with_capacity(DEQUEUED);
        for _ in 0..DEQUEUED {
            let began = Instant::now();
            dequeue(&mut queues, "long").await?;
            spans.push(began.elapsed());
            queues.enqueue(enqueue("long")).await?;
        }
        medians.push(quantile_us(&mut spans, 0.50));
    }
    let (short, long) = (medians[0], medians[1]);
    table.add(
        "13. Dequeue from 100,000 items",
        "as from 10",
        format!("{:.2} times (p50 {long:.0} µs)", long / short),
        format!("from 10: p50 {short:.0} µs"),
    );
    Ok(())
}
