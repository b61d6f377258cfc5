//! `holdfast serve`: runs the server until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::server::config::StoreKind;
use crate::server::{Config, Server, Settings, logs};

/// Run the server
#[derive(Debug, Args)]
#[command(after_long_help = "\
Every flag can also be set in the environment, as shown, or in the configuration file, under the \
flag's name with _ for -. A flag comes before the environment, that before the file.

Example of a configuration file:
  listen = \"0.0.0.0:4653\"
  data_dir = \"/var/lib/holdfast\"
  default_ttl = \"30s\"
  disable_dialect = [\"getlock\"]

  [[token]]                # or make tokens with `holdfast token create`
  name = \"ci\"
  namespace = \"ci\"
  role = \"use\"             # or \"admin\", which may also list and force
  sha256 = \"...\"           # printf %s TOKEN | sha256sum

Signals: SIGTERM and Ctrl-C stop the server once what is under way is finished, at the latest after \
the shutdown deadline; a second one ends it at once.

Exit codes: 0 stopped as told, 1 could not start, 2 bad usage, 130 or 143 ended by a second signal.

Examples:
  holdfast serve
  holdfast serve --store memory --listen 127.0.0.1:0
  holdfast serve --listen 0.0.0.0:4653 --data-dir /var/lib/holdfast --log-format json
  holdfast serve --tls-cert server.pem --tls-key server.key --tls-client-ca ca.pem")]
pub(super) struct Serve {
    /// A configuration file in TOML
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = match &self.config {
            Some(file) => self.settings.or(Settings::from_file(file)?),
            None => self.settings,
        };
        logs::start(
            settings.log.as_deref(),
            settings.log_format.unwrap_or_default(),
        )?;
        let config = Config::resolve(settings)?;
        // Each connection takes a file, and the usual bound of 1,024 is soon reached. Where it can't
        // be raised, the server counts with what there is.
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the threads of the server")?
            .block_on(serve(config))
    }
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let (store, deadline) = (config.store, config.shutdown_deadline);
    let data_dir = config.data_dir.clone();
    let asks_for_certificates = config
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    match (store, &data_dir) {
        (StoreKind::Embedded, Some(dir)) => {
            tracing::info!(data_dir = %dir.display(), "state is kept on disk");
        }
        _ => tracing::warn!("state is kept in memory and gone when the server ends"),
    }
    let server = tokio::select! {
        server = Server::start(config) => server?,
        // Nothing was served, so there is nothing to finish; what a start does is safe to cut off.
        _ = signals.next() => std::process::exit(0),
    };
    if !server.is_open() {
        tracing::info!("every caller needs an API token");
    } else if asks_for_certificates {
        tracing::info!("every caller needs a certificate; there is no API token");
    } else if !server.local_addr().ip().to_canonical().is_loopback() {
        tracing::warn!("everyone who can reach this server may use it: there is no API token");
    }
    let address = server.local_addr();
    let scheme = if server.is_encrypted() {
        "https"
    } else {
        "http"
    };
    tracing::info!("listening on {scheme}://{address}");

    let first = signals.next().await;
    tracing::info!(signal = first.name, "stopping");
    tokio::select! {
        () = server.shutdown(deadline) => {}
        second = signals.next() => {
            tracing::warn!(signal = second.name, "ended before everything was finished");
            std::process::exit(second.exit_code);
        }
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The signals that stop a server.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

struct Stop {
    name: &'static str,
    exit_code: i32,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop { name: "SIGINT", exit_code: 130 },
            _ = self.terminate.recv() => Stop { name: "SIGTERM", exit_code: 143 },
        }
    }
}
