//! Figures 8 to 10: tickets beside the unary echo, their hand-over, and long lines.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use holdfast::proto::v1::fifo_service_client::FifoServiceClient;
use holdfast::proto::v1::wait_ticket_response::Event;
use holdfast::proto::v1::{
    CompleteTicketRequest, CreateFifoRequest, CreateTicketRequest, WaitTicketRequest,
    WaitTicketResponse,
};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::attach::fdatasync_us;
use crate::process::{Echo, Server};
use crate::table::{Table, median, quantile_us, rate};
use crate::unary::{CALLS, CONNECTIONS, drive, echo_p50_us, measure_echo};
use crate::{Failed, Plan};

type Fifos = FifoServiceClient<Channel>;

/// Callers of figure 8.
const IN_FLIGHT: usize = 64;
/// Connections of the hand-over.
const WAITERS: usize = 16;
/// Tickets of one measurement of the hand-over.
const HAND_OVERS: usize = 1_000;
/// Tickets in a long line, and in a short one.
const LINES: [usize; 2] = [10, 10_000];
/// Tickets done, one behind the other, in each line.
const DONE: usize = 500;
/// Waiting calls of one connection.
const STREAMS: usize = 1_000;

async fn create(fifos: &mut Fifos, id: String) -> Result<(), Failed> {
    let request = CreateFifoRequest {
        id,
        ..Default::default()
    };
    fifos.create_fifo(request).await?;
    Ok(())
}

async fn ticket(fifos: &mut Fifos, fifo: String) -> Result<String, Failed> {
    let request = CreateTicketRequest {
        fifo,
        ..Default::default()
    };
    let made = fifos.create_ticket(request).await?.into_inner();
    Ok(made.ticket.ok_or("no ticket")?.id)
}

async fn wait(
    fifos: &mut Fifos,
    fifo: String,
    ticket: String,
) -> Result<Streaming<WaitTicketResponse>, Failed> {
    let request = WaitTicketRequest {
        fifo,
        ticket,
        wait: None,
    };
    Ok(fifos.wait_ticket(request).await?.into_inner())
}

async fn ready(turns: &mut Streaming<WaitTicketResponse>) -> Result<(), Failed> {
    loop {
        match turns.message().await?.and_then(|news| news.event) {
            Some(Event::InLine(_)) => {}
            Some(Event::Ready(_)) => return Ok(()),
            None => return Err("the stream ended".into()),
        }
    }
}

async fn done(fifos: &mut Fifos, fifo: String, ticket: String) -> Result<(), Failed> {
    let request = CompleteTicketRequest {
        fifo,
        ticket,
        request_id: String::new(),
    };
    fifos.complete_ticket(request).await?;
    Ok(())
}

/// Figure 8: each call of a ticket's life, on as many FIFOs as there are calls.
pub async fn cycle(plan: &Plan, echo: &Echo, table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let (mut echoes, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        echoes.push(echo.connect().await?);
        clients.push(FifoServiceClient::new(server.connect().await?));
    }
    let clients = Arc::new(clients);
    let client = move |number: usize| clients[number % CONNECTIONS].clone();
    let of = client.clone();
    drive(IN_FLIGHT, move |number| {
        let mut fifos = of(number);
        async move { create(&mut fifos, format!("fifo-{number}")).await }
    })
    .await?;
    const CALLS_OF_TICKETS: [&str; 3] = ["CreateTicket", "WaitTicket", "CompleteTicket"];
    let mut rates = [vec![], vec![], vec![], vec![]];
    let mut ratios = [vec![], vec![], vec![]];
    for round in 0..=plan.rounds {
        let echo = measure_echo(&echoes, IN_FLIGHT).await?;
        let tickets: Arc<Vec<OnceLock<String>>> =
            Arc::new((0..CALLS).map(|_| OnceLock::new()).collect());
        let (of, made) = (client.clone(), tickets.clone());
        let created = drive(IN_FLIGHT, move |number| {
            let (mut fifos, made) = (of(number), made.clone());
            async move {
                let id = ticket(&mut fifos, format!("fifo-{number}")).await?;
                Ok(made[number].set(id)?)
            }
        })
        .await?;
        let (of, made) = (client.clone(), tickets.clone());
        let waited = drive(IN_FLIGHT, move |number| {
            let (mut fifos, made) = (of(number), made.clone());
            async move {
                let id = made[number].get().cloned().unwrap_or_default();
                let mut turns = wait(&mut fifos, format!("fifo-{number}"), id).await?;
                ready(&mut turns).await
            }
        })
        .await?;
        let of = client.clone();
        let completed = drive(IN_FLIGHT, move |number| {
            let (mut fifos, made) = (of(number), tickets.clone());
            async move {
                let id = made[number].get().cloned().unwrap_or_default();
                done(&mut fifos, format!("fifo-{number}"), id).await
            }
        })
        .await?;
        // The first round warms up.
        if round == 0 {
            continue;
        }
        for (values, value) in rates.iter_mut().zip([echo, created, waited, completed]) {
            values.push(value);
        }
        for (values, value) in ratios.iter_mut().zip([created, waited, completed]) {
            values.push(value / echo);
        }
    }
    let echo = median(&mut rates[0]);
    for (place, name) in CALLS_OF_TICKETS.into_iter().enumerate() {
        let (ratio, own) = (median(&mut ratios[place]), median(&mut rates[place + 1]));
        table.add(
            &format!("8. {name}, {IN_FLIGHT} in flight"),
            "0.40 of the unary echo",
            format!("{ratio:.2} ({})", rate(own)),
            format!("echo {}", rate(echo)),
        );
    }
    Ok(())
}

/// Figure 9: from sending that a ticket is done to the next one's being told of its turn. All stand in
/// line before the first is done.
pub async fn hand_over(plan: &Plan, echo: &Echo, table: &mut Table) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path()).await?;
    let mut fifos = FifoServiceClient::new(server.connect().await?);
    create(&mut fifos, "line".to_owned()).await?;
    let mut clients = Vec::new();
    for _ in 0..WAITERS {
        clients.push(FifoServiceClient::new(server.connect().await?));
    }
    let (mut rates, mut p50s, mut p99s) = (vec![], vec![], vec![]);
    for round in 0..=plan.rounds {
        let completed = Arc::new(Mutex::new(Instant::now()));
        let mut first = None;
        let mut tasks = Vec::new();
        for number in 0..HAND_OVERS {
            let mut fifos = clients[number % WAITERS].clone();
            let id = ticket(&mut fifos, "line".to_owned()).await?;
            let mut turns = wait(&mut fifos, "line".to_owned(), id.clone()).await?;
            if number == 0 {
                ready(&mut turns).await?;
                first = Some(id);
                continue;
            }
            let completed = completed.clone();
            tasks.push(tokio::spawn(async move {
                ready(&mut turns).await?;
                let told = Instant::now();
                let before = match completed.lock() {
                    Ok(mut completed) => std::mem::replace(&mut *completed, Instant::now()),
                    Err(_) => return Err("a task panicked".into()),
                };
                done(&mut fifos, "line".to_owned(), id).await?;
                Ok::<Duration, Failed>(told.saturating_duration_since(before))
            }));
        }
        let began = Instant::now();
        if let Ok(mut completed) = completed.lock() {
            *completed = began;
        }
        done(&mut fifos, "line".to_owned(), first.ok_or("no ticket")?).await?;
        let mut spans = Vec::new();
        for task in tasks {
            spans.push(task.await??);
        }
        if round == 0 {
            continue;
        }
        rates.push(spans.len() as f64 / began.elapsed().as_secs_f64());
        p50s.push(quantile_us(&mut spans, 0.50));
        p99s.push(quantile_us(&mut spans, 0.99));
    }
    let sync = fdatasync_us(dir.path())?;
    let echo = echo_p50_us(echo).await?;
    table.add(
        "9. hand-over of a turn, 16 connections, 1,000 tickets in line",
        "p50 < 400 µs",
        format!(
            "{}, p50 {:.0} µs, p99 {:.0} µs",
            rate(median(&mut rates)),
            median(&mut p50s),
            median(&mut p99s)
        ),
        format!("one unary echo {echo:.0} µs, one fdatasync {sync:.0} µs"),
    );
    Ok(())
}

/// Figure 10: what it costs that a ticket is done, in lines of two lengths, each ticket waited for.
pub async fn long_lines(table: &mut Table) -> Result<(), Failed> {
    let mut medians = Vec::new();
    for tickets in LINES {
        let dir = tempfile::tempdir()?;
        let server = Server::start(dir.path()).await?;
        let mut fifos = FifoServiceClient::new(server.connect().await?);
        create(&mut fifos, "line".to_owned()).await?;
        let mut waiting = std::collections::VecDeque::new();
        let mut clients: Vec<Fifos> = Vec::new();
        for number in 0..tickets {
            if number % STREAMS == 0 {
                clients.push(FifoServiceClient::new(server.connect().await?));
            }
            waiting.push_back(join(&mut clients, number).await?);
        }
        let mut spans = Vec::with_capacity(DONE);
        for number in 0..DONE {
            let (id, mut turns) = waiting.pop_front().ok_or("an empty line")?;
            ready(&mut turns).await?;
            let began = Instant::now();
            done(&mut fifos, "line".to_owned(), id).await?;
            spans.push(began.elapsed());
            waiting.push_back(join(&mut clients, number).await?);
        }
        medians.push(quantile_us(&mut spans, 0.50));
    }
    let (short, long) = (medians[0], medians[1]);
    table.add(
        "10. CompleteTicket with 10,000 in line, each waited for",
        "as with 10",
        format!("{:.2} times (p50 {long:.0} µs)", long / short),
        format!("with 10: p50 {short:.0} µs"),
    );
    Ok(())
}

/// One more ticket at the end of the line, and the call that waits for it.
async fn join(
    clients: &mut [Fifos],
    number: usize,
) -> Result<(String, Streaming<WaitTicketResponse>), Failed> {
    let place = number / STREAMS % clients.len();
    let fifos = clients.get_mut(place).ok_or("no connection")?;
    let id = ticket(fifos, "line".to_owned()).await?;
    let turns = wait(fifos, "line".to_owned(), id.clone()).await?;
    Ok((id, turns))
}
