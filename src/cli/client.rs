//! The connection to a server: where it is, as whom to talk to it, and how long to wait for it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

use super::error::{CliError, root_cause};
use super::input;
use super::output::Output;
use super::tls::{self, TlsArgs};
use crate::api::Reason;
use crate::core::Invalid;
use crate::proto::v1::fifo_service_client::FifoServiceClient;
use crate::proto::v1::lease_service_client::LeaseServiceClient;
use crate::proto::v1::lock_service_client::LockServiceClient;
use crate::proto::v1::queue_service_client::QueueServiceClient;
use crate::proto::v1::value_service_client::ValueServiceClient;
use crate::proto::v1::webhook_service_client::WebhookServiceClient;

/// The port of a server whose address names none.
const PORT_DEFAULT: u16 = 4653;
const HTTP: &str = "http://";
const HTTPS: &str = "https://";
/// How often a connection that waits is tried, and how long the server has to show that it lives:
/// so a caller that stands in line learns within half a minute that nobody serves the line.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// An API token file is longer than this only by mistake.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// Which server, as whom, and in what form to answer.
#[derive(Args, Clone, Debug)]
pub struct ConnectArgs {
    /// The server: host, host:port, http://host:port or https://host:port
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_ADDR",
        default_value = "http://127.0.0.1:4653",
        help_heading = "Server"
    )]
    pub addr: String,

    /// The API token [env: HOLDFAST_TOKEN]
    ///
    /// Other users of the machine may see the command line: --token-file or the environment keep
    /// the token from them.
    #[arg(
        long,
        global = true,
        value_parser = input::secret,
        conflicts_with = "token_file",
        help_heading = "Server"
    )]
    pub token: Option<SecretString>,

    /// A file that holds the API token [env: HOLDFAST_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Server")]
    pub token_file: Option<PathBuf>,

    #[command(flatten)]
    pub tls: TlsArgs,

    /// How long to wait for a connection, and for an answer of a call that doesn't stand in line
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "HOLDFAST_TIMEOUT",
        default_value = "10s",
        help_heading = "Server"
    )]
    pub timeout: String,

    /// Answer with one JSON object, and one for each event; errors as JSON too
    #[arg(long, global = true)]
    pub json: bool,
}

impl ConnectArgs {
    /// How answers are told.
    pub fn output(&self) -> Output {
        Output { json: self.json }
    }
}

/// Connects, runs a client command to its end and tells why it failed, if it did.
pub fn call(
    args: &ConnectArgs,
    command: impl AsyncFnOnce(Client, Output) -> Result<ExitCode, CliError>,
) -> anyhow::Result<ExitCode> {
    let output = args.output();
    execute(output, async {
        let client = Client::connect(args).await?;
        command(client, output).await
    })
}

/// Runs a command to its end and tells why it failed, if it did.
pub fn execute(
    output: Output,
    command: impl Future<Output = Result<ExitCode, CliError>>,
) -> anyhow::Result<ExitCode> {
    // Boxed: the runtime polls it at two places, and would have all of its code twice.
    let command: Pin<Box<dyn Future<Output = _>>> = Box::pin(command);
    // One thread does: a client command has one thing to do.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(command).unwrap_or_else(|error| {
        output.error(&error);
        error.exit.into()
    }))
}

/// A server that was reached.
#[derive(Clone)]
pub struct Client {
    addr: String,
    channel: Channel,
    token: Token,
    timeout: Duration,
}

/// A channel that sends the API token with every call.
pub type AuthorizedChannel = InterceptedService<Channel, Token>;

/// Puts the API token, where there is one, into a call's headers.
#[derive(Clone)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", header.clone());
        }
        Ok(request)
    }
}

impl Client {
    /// Connects, or says in one sentence why that can't be.
    pub async fn connect(args: &ConnectArgs) -> Result<Client, CliError> {
        let addr = base_url(&args.addr)?;
        let token = read_token(args)?;
        let timeout = input::duration("timeout", &args.timeout)?;
        let endpoint = Endpoint::from_shared(addr.clone())
            .map_err(|_| bad_addr(&args.addr))?
            .user_agent(concat!("holdfast-cli/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| CliError::new(Reason::Internal, error.to_string()))?
            .connect_timeout(timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .tcp_nodelay(true);
        let endpoint = secured(endpoint, &addr, &args.tls)?;
        let channel = match tokio::time::timeout(timeout, endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(unconnected(&addr, &error)),
            Err(_) => {
                return Err(unreachable_server(
                    &addr,
                    &format!("no answer in {timeout:?}"),
                ));
            }
        };
        Ok(Client {
            addr,
            channel,
            token,
            timeout,
        })
    }

    /// The lock service.
    pub fn locks(&self) -> LockServiceClient<AuthorizedChannel> {
        LockServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    /// The lease service.
    pub fn leases(&self) -> LeaseServiceClient<AuthorizedChannel> {
        LeaseServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    /// The FIFO service.
    pub fn fifos(&self) -> FifoServiceClient<AuthorizedChannel> {
        FifoServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    /// The value service.
    pub fn values(&self) -> ValueServiceClient<AuthorizedChannel> {
        ValueServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    /// The webhook service.
    pub fn webhooks(&self) -> WebhookServiceClient<AuthorizedChannel> {
        WebhookServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    /// The queue service.
    pub fn queues(&self) -> QueueServiceClient<AuthorizedChannel> {
        QueueServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Awaits the answer of a call that doesn't stand in line, for at most `--timeout`.
    pub async fn ask<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CliError> {
        self.ask_waiting(Duration::ZERO, call).await
    }

    /// Awaits the answer of a call that the server may hold for so long, for that and `--timeout`.
    pub async fn ask_waiting<T>(
        &self,
        wait: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CliError> {
        let timeout = self.timeout.saturating_add(wait);
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            // Only a failure on this side of the wire has a source.
            Ok(Err(status)) if std::error::Error::source(&status).is_some() => {
                Err(self.error(&status).of_unknown_outcome())
            }
            Ok(Err(status)) => Err(self.error(&status)),
            Err(_) => {
                let message = format!("{} did not answer in {timeout:?}", self.addr);
                Err(CliError::new(Reason::Unavailable, message).of_unknown_outcome())
            }
        }
    }

    /// What a failed call means.
    pub fn error(&self, status: &Status) -> CliError {
        CliError::from_status(&self.addr, status)
    }
}

fn bad_addr(addr: &str) -> CliError {
    let expected =
        format!("must be host, host:port, http://host:port or https://host:port, is {addr:?}");
    Invalid::new("addr", expected).into()
}

/// The endpoint with TLS, where the address asks for it.
fn secured(endpoint: Endpoint, addr: &str, tls: &TlsArgs) -> Result<Endpoint, CliError> {
    match tls_config(addr, tls)? {
        Some(config) => endpoint
            .tls_config(config)
            .map_err(|error| CliError::new(Reason::Internal, root_cause(&error))),
        None => Ok(endpoint),
    }
}

/// How TLS is done, where the URL of the server asks for it.
pub fn tls_config(addr: &str, tls: &TlsArgs) -> Result<Option<ClientTlsConfig>, CliError> {
    if addr.starts_with(HTTPS) {
        return Ok(Some(tls.config()?));
    }
    match tls.given() {
        None => Ok(None),
        // Whoever gives it means to be safe, and is not.
        Some(flag) => {
            let expected = format!("is of use only with an address that begins with {HTTPS}");
            Err(Invalid::new(flag, expected).into())
        }
    }
}

fn unconnected(addr: &str, error: &tonic::transport::Error) -> CliError {
    match tls::cause(error) {
        Some(cause) => {
            let message = format!("cannot talk to the server at {addr}: {cause}");
            CliError::new(Reason::Unavailable, message)
        }
        None => unreachable_server(addr, &root_cause(error)),
    }
}

fn unreachable_server(addr: &str, cause: &str) -> CliError {
    let message = format!(
        "cannot reach a server at {addr}: {cause}; start one with `holdfast serve`, or name another with --addr or HOLDFAST_ADDR"
    );
    CliError::new(Reason::Unavailable, message)
}

/// The URL of the server that `addr` names.
pub fn base_url(addr: &str) -> Result<String, CliError> {
    let (scheme, authority) = [HTTP, HTTPS]
        .iter()
        .find_map(|scheme| Some((*scheme, addr.strip_prefix(scheme)?)))
        .unwrap_or((HTTP, addr));
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let authority: http::uri::Authority = authority.parse().map_err(|_| bad_addr(addr))?;
    // A user name in front of the host is no way to give the API token.
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(bad_addr(addr));
    }
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        None if authority.as_str() == authority.host() => PORT_DEFAULT,
        None => return Err(bad_addr(addr)),
    };
    Ok(format!("{scheme}{}:{port}", authority.host()))
}

/// The API token as a header.
fn read_token(args: &ConnectArgs) -> Result<Token, CliError> {
    let Some(token) = token(args)? else {
        return Ok(Token(None));
    };
    let mut header: MetadataValue<Ascii> = format!("Bearer {}", token.expose_secret())
        .parse()
        .map_err(|_| bad_token())?;
    header.set_sensitive(true);
    Ok(Token(Some(header)))
}

/// The API token: what the command line says goes before what the environment says.
pub fn token(args: &ConnectArgs) -> Result<Option<SecretString>, CliError> {
    let from_env = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let token = if let Some(token) = &args.token {
        token.clone()
    } else if let Some(path) = &args.token_file {
        read_token_file(path)?
    } else if let Some(token) = from_env("HOLDFAST_TOKEN") {
        token.to_string_lossy().into_owned().into()
    } else if let Some(path) = from_env("HOLDFAST_TOKEN_FILE") {
        read_token_file(Path::new(&path))?
    } else {
        return Ok(None);
    };
    match token.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(Some(token)),
        false => Err(bad_token()),
    }
}

fn bad_token() -> CliError {
    Invalid::new("token", "must be visible ASCII characters without spaces").into()
}

fn read_token_file(path: &Path) -> Result<SecretString, CliError> {
    let read = std::fs::File::open(path)
        .and_then(|file| input::read_secret(file, TOKEN_FILE_BYTES_MAX))
        .map_err(|error| format!("cannot read {}: {error}", path.display()));
    read.map_err(|expected| Invalid::new("token_file", expected).into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_or_without_scheme_and_port() {
        for (addr, url) in [
            ("http://127.0.0.1:4653", "http://127.0.0.1:4653"),
            ("http://127.0.0.1:4653/", "http://127.0.0.1:4653"),
            ("https://locks.example/", "https://locks.example:4653"),
            ("https://[::1]:443", "https://[::1]:443"),
            ("localhost:80", "http://localhost:80"),
            ("locks.example", "http://locks.example:4653"),
            ("[::1]", "http://[::1]:4653"),
            ("[::1]:99", "http://[::1]:99"),
        ] {
            assert_eq!(base_url(addr).unwrap(), url, "{addr}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for addr in [
            "",
            "http://",
            "https://",
            "https://http://x",
            "ftp://x",
            "x/y",
            "x:99999",
            "x:",
            "a b",
            "tok@x",
            "::1",
            "x?y",
        ] {
            let error = base_url(addr).unwrap_err();
            assert!(error.to_string().starts_with("addr: "), "{addr}: {error}");
        }
    }
}
