//! `holdfast fifo`: durable lines of tickets.

use std::fmt::{self, Display};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde::Serialize;

use super::callback::TicketCallbackArgs;
use super::client::{self, Client, ConnectArgs};
use super::error::{CliError, EXIT_CODES};
use super::fifo_views::{fifo_of, ticket_of};
use super::fifo_wait::{self, WaitArgs};
use super::input;
use super::listing::{self, PageArgs};
use super::output::Output;
use crate::api::http::fifo_view::{FifoJson, TicketJson};
use crate::proto::v1::{
    CancelTicketRequest, CompleteTicketRequest, CreateFifoRequest, CreateTicketRequest,
    DeleteFifoRequest, ExtendTicketRequest, GetFifoRequest, ListFifosRequest, ListTicketsRequest,
    Timeouts,
};

/// Stand in durable lines, with tickets that outlive connections
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct FifoArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: FifoCommand,
}

#[derive(Subcommand, Debug)]
enum FifoCommand {
    Create(CreateArgs),
    Get(GetArgs),
    List(ListArgs),
    Delete(DeleteArgs),
    Ticket(TicketArgs),
    Tickets(TicketsArgs),
    Wait(WaitArgs),
    Extend(ExtendArgs),
    Done(DoneArgs),
    Cancel(CancelArgs),
}

/// How long tickets may take.
#[derive(Args, Debug)]
struct TimeoutArgs {
    /// How long one wait for a ticket's turn lasts unless it says otherwise; 0: without end
    #[arg(long, value_name = "DURATION")]
    wait_timeout: Option<String>,

    /// How long a ticket's turn waits for somebody to accept it; 0: without end
    #[arg(long, value_name = "DURATION")]
    accept_timeout: Option<String>,

    /// How long the work may take from then on; 0: without end
    #[arg(long, value_name = "DURATION")]
    done_timeout: Option<String>,
}

impl TimeoutArgs {
    /// `None` where none was given.
    fn read(&self) -> Result<Option<Timeouts>, CliError> {
        let timeouts = Timeouts {
            wait: span("wait_timeout", self.wait_timeout.as_deref())?,
            accept: span("accept_timeout", self.accept_timeout.as_deref())?,
            done: span("done_timeout", self.done_timeout.as_deref())?,
        };
        Ok(Some(timeouts).filter(|timeouts| *timeouts != Timeouts::default()))
    }
}

fn span(
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<prost_types::Duration>, CliError> {
    text.map(|text| input::proto_duration(field, text))
        .transpose()
}

/// Make a FIFO, and print its id
///
/// Without an id the server makes a UUID. Unless told otherwise a wait lasts 6h, a turn waits 1m to
/// be accepted, the work may take 10m, and a FIFO that nobody uses for 30d is destroyed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast fifo create deploys
  holdfast fifo create builds --concurrency 4 --done-timeout 1h
  fifo=$(holdfast fifo create --unused-destroy-timeout 1d)")]
struct CreateArgs {
    /// The id: 1 to 512 bytes without control characters; without it, a fresh UUID
    #[arg(value_name = "FIFO", default_value = "", hide_default_value = true)]
    fifo: String,

    #[command(flatten)]
    timeouts: TimeoutArgs,

    /// After how long without use the FIFO is destroyed with its tickets; 0: never
    #[arg(long, value_name = "DURATION")]
    unused_destroy_timeout: Option<String>,

    /// Let tickets have timeouts of their own
    #[arg(long)]
    allow_overrides: bool,

    /// How many tickets may have their turn at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    concurrency: u32,

    /// Makes a retry safe: the same id gets the same FIFO, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Tell a FIFO's state and its line: who stands where since when
///
/// Ids of tickets are shown to the role admin only, as they prove the right to the tickets.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast fifo get deploys
  holdfast fifo get deploys --json | jq .waiting_count")]
struct GetArgs {
    /// The FIFO's id
    #[arg(value_name = "FIFO")]
    fifo: String,
}

/// List FIFOs by id
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast fifo list
  holdfast fifo list --prefix ci/ --json | jq -r '.fifos[].id'")]
struct ListArgs {
    /// Only ids that begin so
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    page: PageArgs,
}

/// Delete a FIFO with all its tickets
///
/// With API tokens configured it wants the role admin.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast fifo delete deploys")]
struct DeleteArgs {
    /// The FIFO's id
    #[arg(value_name = "FIFO")]
    fifo: String,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Take a place at the end of the line, and print the ticket's id
///
/// The ticket outlives this command: `fifo wait` waits for its turn, `fifo done` ends it. Its id is
/// what proves the right to it: treat it as a password.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast fifo ticket deploys --owner ci-42
  holdfast fifo ticket deploys --callback https://ci.example/turn    # posts there when it is its turn

In a script:
  ticket=$(holdfast fifo ticket deploys) || exit
  holdfast fifo wait deploys \"$ticket\" && ./deploy
  holdfast fifo done deploys \"$ticket\"")]
struct TicketArgs {
    /// The FIFO's id
    #[arg(value_name = "FIFO")]
    fifo: String,

    #[command(flatten)]
    overrides: TimeoutArgs,

    /// Whose ticket it is, for people to read; without it user@host:pid, with the pid of the calling
    /// process
    #[arg(long)]
    owner: Option<String>,

    /// What to say of the owner besides; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,

    /// Makes a retry safe: the same id gets the same ticket, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,

    #[command(flatten)]
    callback: TicketCallbackArgs,
}

/// List a FIFO's tickets in the order of their turns
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast fifo tickets deploys
  holdfast fifo tickets deploys --json | jq -r '.tickets[].owner'")]
struct TicketsArgs {
    /// The FIFO's id
    #[arg(value_name = "FIFO")]
    fifo: String,

    #[command(flatten)]
    page: PageArgs,
}

/// Which ticket.
#[derive(Args, Debug)]
pub(super) struct TicketIdArgs {
    /// The FIFO's id
    #[arg(value_name = "FIFO")]
    pub(super) fifo: String,

    /// The ticket's id, which `fifo ticket` printed; - reads it from stdin
    ///
    /// Other users of the machine may see the command line: stdin or the environment keep the secret
    /// from them.
    #[arg(
        value_name = "TICKET|-",
        env = "HOLDFAST_TICKET",
        hide_env_values = true,
        value_parser = input::secret
    )]
    ticket: SecretString,
}

impl TicketIdArgs {
    pub(super) fn ticket(&self) -> Result<String, CliError> {
        input::secret_or_stdin("ticket", &self.ticket)
    }
}

/// Start the work time of a ticket anew whose turn was accepted
///
/// It never brings the end nearer.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast fifo extend deploys \"$ticket\"
  holdfast fifo extend deploys \"$ticket\" --done-timeout 1h")]
struct ExtendArgs {
    #[command(flatten)]
    ticket: TicketIdArgs,

    /// How long the work may take from now on; without it, the ticket's own timeout
    #[arg(long, value_name = "DURATION")]
    done_timeout: Option<String>,
}

/// Say that a ticket's work is done: it is the next one's turn
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast fifo done deploys \"$ticket\"")]
struct DoneArgs {
    #[command(flatten)]
    ticket: TicketIdArgs,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// Take a ticket back, wherever it stands
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  holdfast fifo cancel deploys \"$ticket\"")]
struct CancelArgs {
    #[command(flatten)]
    ticket: TicketIdArgs,

    /// Makes a retry safe: the same id gets the same answer, for 2 minutes
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl FifoArgs {
    /// Asks the server and prints its answer.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        client::call(&self.connect, async |client, output| {
            match self.command {
                FifoCommand::Create(args) => create(&client, output, args).await?,
                FifoCommand::Get(args) => get(&client, output, args).await?,
                FifoCommand::List(args) => list(&client, output, args).await?,
                FifoCommand::Delete(args) => delete(&client, output, args).await?,
                FifoCommand::Ticket(args) => ticket(&client, output, args).await?,
                FifoCommand::Tickets(args) => tickets(&client, output, args).await?,
                FifoCommand::Wait(args) => fifo_wait::run(&client, output, args).await?,
                FifoCommand::Extend(args) => extend(&client, output, args).await?,
                FifoCommand::Done(args) => done(&client, output, args).await?,
                FifoCommand::Cancel(args) => cancel(&client, output, args).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn create(client: &Client, output: Output, args: CreateArgs) -> Result<(), CliError> {
    let unused = args.unused_destroy_timeout.as_deref();
    let request = CreateFifoRequest {
        id: args.fifo,
        timeouts: args.timeouts.read()?,
        unused_destroy_timeout: span("unused_destroy_timeout", unused)?,
        allow_overrides: args.allow_overrides,
        concurrency: args.concurrency,
        request_id: args.request_id.unwrap_or_default(),
    };
    let answer = client.ask(client.fifos().create_fifo(request)).await?;
    let fifo = fifo_of(answer.fifo.unwrap_or_default());
    match output.json {
        true => output.answer(&fifo),
        false => output.text(&fifo.id),
    }
}

async fn get(client: &Client, output: Output, args: GetArgs) -> Result<(), CliError> {
    let request = GetFifoRequest { fifo: args.fifo };
    let answer = client.ask(client.fifos().get_fifo(request)).await?;
    output.answer(&fifo_of(answer.fifo.unwrap_or_default()))
}

async fn list(client: &Client, output: Output, args: ListArgs) -> Result<(), CliError> {
    let ask = async |page_size, page_token| {
        let request = ListFifosRequest {
            prefix: args.prefix.clone(),
            page_size,
            page_token,
        };
        let page = client.ask(client.fifos().list_fifos(request)).await?;
        let fifos = page.fifos.into_iter().map(|fifo| FifoJson {
            tickets: None,
            ..fifo_of(fifo)
        });
        Ok((fifos.collect(), page.next_page_token))
    };
    let (fifos, next_page_token) = args.page.read(ask).await?;
    output.answer(&Fifos {
        fifos,
        next_page_token,
    })
}

async fn delete(client: &Client, output: Output, args: DeleteArgs) -> Result<(), CliError> {
    let request = DeleteFifoRequest {
        fifo: args.fifo,
        request_id: args.request_id.unwrap_or_default(),
    };
    let answer = client.ask(client.fifos().delete_fifo(request)).await?;
    output.answer(&Deleted {
        deleted: true,
        tickets: answer.tickets,
    })
}

async fn ticket(client: &Client, output: Output, args: TicketArgs) -> Result<(), CliError> {
    let request = CreateTicketRequest {
        fifo: args.fifo,
        overrides: args.overrides.read()?,
        owner: args.owner.unwrap_or_else(input::default_owner),
        metadata: input::metadata(&args.metadata)?,
        request_id: args.request_id.unwrap_or_default(),
        callback: args.callback.callback()?,
    };
    let answer = client.ask(client.fifos().create_ticket(request)).await?;
    let made = answer.ticket.unwrap_or_default();
    match output.json {
        true => output.answer(&ticket_of(made)),
        false => output.text(&made.id),
    }
}

async fn tickets(client: &Client, output: Output, args: TicketsArgs) -> Result<(), CliError> {
    let ask = async |page_size, page_token| {
        let request = ListTicketsRequest {
            fifo: args.fifo.clone(),
            page_size,
            page_token,
        };
        let page = client.ask(client.fifos().list_tickets(request)).await?;
        let tickets = page.tickets.into_iter().map(ticket_of);
        Ok((tickets.collect(), page.next_page_token))
    };
    let (tickets, next_page_token) = args.page.read(ask).await?;
    output.answer(&Tickets {
        tickets,
        next_page_token,
    })
}

async fn extend(client: &Client, output: Output, args: ExtendArgs) -> Result<(), CliError> {
    let request = ExtendTicketRequest {
        ticket: args.ticket.ticket()?,
        fifo: args.ticket.fifo,
        done: span("done_timeout", args.done_timeout.as_deref())?,
    };
    let answer = client.ask(client.fifos().extend_ticket(request)).await?;
    output.answer(&ticket_of(answer.ticket.unwrap_or_default()))
}

async fn done(client: &Client, output: Output, args: DoneArgs) -> Result<(), CliError> {
    let request = CompleteTicketRequest {
        ticket: args.ticket.ticket()?,
        fifo: args.ticket.fifo,
        request_id: args.request_id.unwrap_or_default(),
    };
    client.ask(client.fifos().complete_ticket(request)).await?;
    output.answer(&Completed { completed: true })
}

async fn cancel(client: &Client, output: Output, args: CancelArgs) -> Result<(), CliError> {
    let request = CancelTicketRequest {
        ticket: args.ticket.ticket()?,
        fifo: args.ticket.fifo,
        request_id: args.request_id.unwrap_or_default(),
    };
    client.ask(client.fifos().cancel_ticket(request)).await?;
    output.answer(&Cancelled { cancelled: true })
}

#[derive(Serialize)]
struct Deleted {
    deleted: bool,
    tickets: u32,
}

impl Display for Deleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deleted; tickets ended: {}", self.tickets)
    }
}

#[derive(Serialize)]
struct Completed {
    completed: bool,
}

impl Display for Completed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("done")
    }
}

#[derive(Serialize)]
struct Cancelled {
    cancelled: bool,
}

impl Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

#[derive(Serialize)]
struct Fifos {
    fifos: Vec<FifoJson>,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_page_token: String,
}

impl Display for Fifos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listing::write(f, "FIFOs", &self.fifos, &self.next_page_token)
    }
}

#[derive(Serialize)]
struct Tickets {
    tickets: Vec<TicketJson>,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_page_token: String,
}

impl Display for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listing::write(f, "tickets", &self.tickets, &self.next_page_token)
    }
}
