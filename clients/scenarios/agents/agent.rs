//! The agent on the Rust client: commands as lines of JSON in, events as lines of JSON out.
//!
//! README.md has the commands. An agent holds its end of a scenario and judges nothing.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_client::{
    Client, Clock as _, Delivery, Error, FifoOptions, Grant, SystemClock, Ticket, Turn,
};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

type Outcome = Result<Value, Failure>;

/// Why a command failed.
struct Failure {
    kind: &'static str,
    message: String,
}

impl Failure {
    fn cancelled() -> Failure {
        Failure {
            kind: "cancelled",
            message: String::new(),
        }
    }

    fn misuse(message: impl Into<String>) -> Failure {
        Failure {
            kind: "misuse",
            message: message.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let kind = match &error {
            _ if matches!(error.reason(), "DELIVERY_ENDED" | "TICKET_ENDED") => "ended",
            Error::Held(_) => "held",
            Error::WaitTimedOut(_) => "timed_out",
            Error::Lost(_) => "lost",
            Error::NotHolder(_) => "not_holder",
            Error::Limit(_) => "limit",
            Error::Unavailable(_) => "unavailable",
            Error::Unauthenticated(_) => "unauthenticated",
            Error::PermissionDenied(_) => "denied",
            Error::Invalid { .. } => "invalid",
            Error::NotFound(_) => "not_found",
            _ => "other",
        };
        Failure {
            kind,
            message: error.to_string(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::misuse(error.to_string())
    }
}

/// Nanoseconds of the clock that all agents of a machine share.
fn now() -> u64 {
    u64::try_from(SystemClock::new().now().as_nanos()).unwrap_or(u64::MAX)
}

/// Tells an event of a command, stamped with this moment.
fn say(number: u64, event: &str, more: Value) {
    let mut line = Map::new();
    line.insert("id".to_owned(), number.into());
    line.insert("event".to_owned(), event.into());
    line.insert("at".to_owned(), now().into());
    if let Value::Object(more) = more {
        line.extend(more);
    }
    let mut out = std::io::stdout().lock();
    // Who has hung up does not want to know.
    let _ = writeln!(out, "{}", Value::Object(line));
    let _ = out.flush();
}

/// A command's parameters.
struct Command(Value);

impl Command {
    fn text(&self, field: &str) -> Result<&str, Failure> {
        self.maybe_text(field)
            .ok_or_else(|| Failure::misuse(format!("{field}: is missing")))
    }

    fn maybe_text(&self, field: &str) -> Option<&str> {
        self.0.get(field).and_then(Value::as_str)
    }

    fn number(&self, field: &str) -> Result<u64, Failure> {
        self.0
            .get(field)
            .and_then(Value::as_u64)
            .ok_or_else(|| Failure::misuse(format!("{field}: is missing")))
    }

    fn span(&self, field: &str) -> Result<Duration, Failure> {
        self.maybe_span(field)
            .ok_or_else(|| Failure::misuse(format!("{field}: is missing")))
    }

    fn maybe_span(&self, field: &str) -> Option<Duration> {
        let seconds = self.0.get(field)?.as_f64()?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// What a command has got.
enum Got {
    Grant(Arc<Grant>, AbortHandle),
    Ticket(Ticket),
    Turn(Turn),
    Delivery(Delivery),
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    /// By the numbers of the commands that got it.
    got: HashMap<u64, Got>,
    cancels: HashMap<u64, Arc<Notify>>,
    ends: HashMap<u64, Arc<Notify>>,
}

#[derive(Clone, Default)]
struct Agent(Arc<Mutex<State>>);

impl Agent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, command: Command) -> Result<(), Failure> {
        let number = command.number("id")?;
        let mut state = self.state();
        match command.text("do")? {
            "cancel" => {
                if let Some(cancel) = state.cancels.get(&command.number("of")?) {
                    cancel.notify_one();
                }
                say(number, "done", json!({}));
            }
            "end" => {
                if let Some(end) = state.ends.get(&command.number("of")?) {
                    end.notify_one();
                }
                say(number, "done", json!({}));
            }
            _ => {
                let (cancel, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
                state.cancels.insert(number, Arc::clone(&cancel));
                state.ends.insert(number, Arc::clone(&end));
                let agent = self.clone();
                tokio::spawn(async move {
                    let outcome = tokio::select! {
                        // It has begun when it is dropped.
                        biased;
                        outcome = agent.carry_out(number, &command, &end) => outcome,
                        () = cancel.notified() => Err(Failure::cancelled()),
                    };
                    match outcome {
                        Ok(more) => say(number, "done", more),
                        Err(Failure { kind, message }) => {
                            say(number, "failed", json!({"kind": kind, "message": message}));
                        }
                    }
                });
            }
        }
        Ok(())
    }

    fn client(&self) -> Result<Client, Failure> {
        let client = self.state().client.clone();
        client.ok_or_else(|| Failure::misuse("not connected"))
    }

    fn take_got(&self, command: &Command) -> Result<Got, Failure> {
        let got = self.state().got.remove(&command.number("of")?);
        got.ok_or_else(|| Failure::misuse("of: has got nothing"))
    }

    fn keep(&self, number: u64, got: Got) {
        self.state().got.insert(number, got);
    }

    async fn carry_out(&self, number: u64, command: &Command, end: &Notify) -> Outcome {
        match command.text("do")? {
            "connect" => self.connect(command).await,
            "close" => {
                self.client()?.close().await;
                Ok(json!({}))
            }
            "acquire" => self.acquire(number, command).await,
            "release" => self.release(command).await,
            "believe" => self.believe(command, end).await,
            "create_fifo" => {
                let options = FifoOptions::default()
                    .accept_timeout(command.span("accept")?)
                    .done_timeout(command.span("done")?);
                self.client()?
                    .fifo(command.text("fifo")?)
                    .create(options)
                    .await?;
                Ok(json!({}))
            }
            "ticket" => {
                let asked = now();
                let ticket = self.client()?.fifo(command.text("fifo")?).ticket().await?;
                self.keep(number, Got::Ticket(ticket));
                Ok(json!({"asked": asked}))
            }
            "wait" => self.wait(number, command).await,
            "complete" => match self.take_got(command)? {
                Got::Turn(turn) => {
                    let gave = now();
                    turn.done().await?;
                    Ok(json!({"gave": gave}))
                }
                _ => Err(Failure::misuse("of: is no turn")),
            },
            "turn" => {
                let fifo = self.client()?.fifo(command.text("fifo")?);
                let work = async |_: &Turn| {
                    say(number, "took", json!({}));
                    end.notified().await;
                    now()
                };
                let gave = fifo.scope(work).await;
                if matches!(gave, Err(Error::Lost(_))) {
                    say(number, "lost", json!({}));
                }
                Ok(json!({"gave": gave?}))
            }
            "push" => {
                let queue = self.client()?.queue(command.text("queue")?);
                Ok(json!({"item": queue.push(command.text("value")?).await?}))
            }
            "pop" => {
                let queue = self.client()?.queue(command.text("queue")?);
                let value = match command.maybe_span("wait") {
                    Some(wait) => queue.pop_within(wait).await?,
                    None => Some(queue.pop().await?),
                };
                Ok(json!({"value": value.map(|value| text(&value))}))
            }
            "take" => self.take(number, command).await,
            "acknowledge" => match self.take_got(command)? {
                Got::Delivery(delivery) => {
                    delivery.acknowledge().await?;
                    Ok(json!({}))
                }
                _ => Err(Failure::misuse("of: is no delivery")),
            },
            "add" => {
                let value = self.client()?.value(command.text("value")?);
                let add = |old: Option<&[u8]>| {
                    let old = old.and_then(|old| text(old).parse::<u64>().ok());
                    (old.unwrap_or(0) + 1).to_string().into_bytes()
                };
                let after = value.transform(add).await?;
                Ok(json!({"sum": text(&after.value).parse::<u64>().ok()}))
            }
            other => Err(Failure::misuse(format!("do: no such command: {other}"))),
        }
    }

    async fn connect(&self, command: &Command) -> Outcome {
        let address = command.text("address")?;
        let address = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        let mut builder = Client::builder(address)
            .session_ttl(command.span("ttl")?)
            .call_timeout(command.span("timeout")?);
        if let Some(token) = command.maybe_text("token") {
            builder = builder.token(token);
        }
        if let Some(ca) = command.maybe_text("ca") {
            builder = builder.ca(std::fs::read(ca)?);
        }
        if let Some(cert) = command.maybe_text("cert") {
            let key = std::fs::read(command.text("key")?)?;
            builder = builder.client_certificate(std::fs::read(cert)?, key);
        }
        let client = builder.connect().await?;
        self.state().client = Some(client);
        Ok(json!({}))
    }

    async fn acquire(&self, number: u64, command: &Command) -> Outcome {
        let mut lock = self.client()?.lock(command.text("lock")?);
        if let Some(wait) = command.maybe_span("wait") {
            lock = lock.wait(wait);
        }
        let positions = |position| say(number, "position", json!({"position": position}));
        let grant = Arc::new(lock.acquire_watching(positions).await?);
        let took = now();
        let token = grant.fencing_token();
        let watched = Arc::clone(&grant);
        let watching = tokio::spawn(async move {
            watched.lost().await;
            say(number, "lost", json!({}));
        });
        self.keep(number, Got::Grant(grant, watching.abort_handle()));
        Ok(json!({"took": took, "token": token}))
    }

    async fn release(&self, command: &Command) -> Outcome {
        let Got::Grant(grant, watching) = self.take_got(command)? else {
            return Err(Failure::misuse("of: is no grant"));
        };
        watching.abort();
        // The watching task has it as well, until it has noticed.
        let mut grant = Err(grant);
        while let Err(shared) = grant {
            tokio::task::yield_now().await;
            grant = Arc::try_unwrap(shared);
        }
        let gave = now();
        if let Ok(grant) = grant {
            grant.release().await?;
        }
        Ok(json!({"gave": gave}))
    }

    /// Looks again and again whether the grant is held, until the command is ended.
    async fn believe(&self, command: &Command, end: &Notify) -> Outcome {
        let grant = match self.state().got.get(&command.number("of")?) {
            Some(Got::Grant(grant, _)) => Arc::clone(grant),
            _ => return Err(Failure::misuse("of: is no grant")),
        };
        let every = command.span("every")?;
        let (mut believed, mut lost, mut looks, mut revived) = (0, 0, 0_u64, false);
        let mut ended = false;
        loop {
            // The moment before the look: nothing that comes between them can make it wrong.
            let moment = now();
            looks += 1;
            if grant.is_lost() {
                lost = if lost == 0 { now() } else { lost };
            } else {
                believed = moment;
                revived |= lost > 0;
            }
            if ended {
                return Ok(json!({
                    "believed": believed, "lost": lost, "looks": looks, "revived": revived,
                }));
            }
            ended = tokio::time::timeout(every, end.notified()).await.is_ok();
        }
    }

    async fn wait(&self, number: u64, command: &Command) -> Outcome {
        let of = command.number("of")?;
        let ticket = match self.state().got.get(&of) {
            Some(Got::Ticket(ticket)) => ticket.clone(),
            _ => return Err(Failure::misuse("of: is no ticket")),
        };
        let positions = |position| say(number, "position", json!({"position": position}));
        let turn = ticket.wait_watching(positions).await?;
        let took = now();
        self.keep(of, Got::Turn(turn));
        Ok(json!({"took": took}))
    }

    async fn take(&self, number: u64, command: &Command) -> Outcome {
        let queue = self.client()?.queue(command.text("queue")?);
        let queue = queue.ack_timeout(command.span("ack")?);
        let Some(wait) = command.maybe_span("wait") else {
            return Err(Failure::misuse("wait: is missing"));
        };
        let Some(delivery) = queue.take(wait).await? else {
            return Ok(json!({"value": null}));
        };
        let value = text(delivery.value());
        self.keep(number, Got::Delivery(delivery));
        Ok(json!({"value": value}))
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::default();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if let Err(failure) = agent.begin(Command(serde_json::from_str(&line)?)) {
            return Err(failure.message.into());
        }
    }
    // What is held is not given back: the end of stdin is the end.
    std::process::exit(0);
}
