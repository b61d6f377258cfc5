//! What a server is started with, and where it comes from: a flag, else the environment, else the
//! configuration file, else the default.
//!
//! [`Settings`] is at once the flags, the variables and the keys of the file, so that the three
//! can't drift apart. [`Config`] is what they come to, checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Deserializer};

use super::StartError;
use super::limits::{
    CONNECTIONS_MAX_DEFAULT, SHUTDOWN_DEADLINE_DEFAULT, SHUTDOWN_DEADLINE_MAX, Timers,
};
use super::logs::LogFormat;
use super::tls::TlsFiles;
use super::tokens::TokenEntry;
use crate::api::http::duration::parse_duration;
use crate::core::limits::TTL_DEFAULT;
use crate::core::{Invalid, check_ttl};
use crate::webhook::AddressPolicy;

/// Where state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// Durably, in the data directory
    Embedded,
    /// In memory: everything is forgotten when the server ends
    Memory,
}

/// An interface that Holdfast speaks for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// /reserve, /grab, /release, /status
    Webmutex,
    /// /v1/UUID
    Getlock,
    /// /fifo/new, /fifo/UUID/ticket, /fifo/UUID/wait/TICKET, /fifo/UUID/done/TICKET
    Sync,
    /// /v1/acquire/NAME, /v1/heartbeat/NAME, /v1/release/NAME
    Lockable,
}

/// What can be set, each by flag, by environment and in the file; `None` and empty: not set here.
///
/// The keys of the file are the flags' names with `_` for `-`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:4653]
    ///
    /// Anything but this machine's own addresses (127.0.0.1, ::1) is refused until there is an API
    /// token, unless --tls-client-ca or --allow-anonymous is given.
    #[arg(long, value_name = "ADDRESS:PORT", env = "HOLDFAST_LISTEN")]
    pub listen: Option<String>,

    /// Where state and API tokens are kept
    ///
    /// [default: $XDG_DATA_HOME/holdfast or ~/.local/share/holdfast; /var/lib/holdfast for root
    /// without a home]
    #[arg(long, value_name = "DIR", env = "HOLDFAST_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Where state is kept [default: embedded]
    ///
    /// With `memory`, --data-dir only says where API tokens are read from; without it there are none.
    #[arg(long, value_name = "STORE", env = "HOLDFAST_STORE")]
    pub store: Option<StoreKind>,

    /// Let everyone in who can reach the server, as long as there is no API token
    #[arg(
        long, value_name = "true|false", env = "HOLDFAST_ALLOW_ANONYMOUS",
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub allow_anonymous: Option<bool>,

    /// The certificate for TLS, in PEM, with those that lead to its CA behind it
    ///
    /// The port then speaks TLS only, 1.2 or newer, for gRPC, grpc-web and HTTP. Certificates are
    /// read again when the files change; a bad change is logged, and what was before stays in use.
    #[arg(long, value_name = "PEM", env = "HOLDFAST_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert, in PEM, without a passphrase
    #[arg(long, value_name = "PEM", env = "HOLDFAST_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// Mutual TLS: refuse clients without a valid certificate of one of these CAs, in PEM
    ///
    /// Probes of its health need one as well. As long as there is no API token, whoever has such a
    /// certificate may do everything; once there is one, both are needed.
    #[arg(long, value_name = "PEM", env = "HOLDFAST_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,

    /// A web page's origin, such as https://ci.example, whose scripts may call; `*` for any
    ///
    /// Can be repeated. Scripts of other pages are refused.
    #[arg(
        long = "allow-origin",
        value_name = "ORIGIN",
        env = "HOLDFAST_ALLOW_ORIGIN",
        value_delimiter = ','
    )]
    #[serde(rename = "allow_origin")]
    pub allow_origins: Vec<String>,

    /// A range of addresses inside the network, such as 10.1.0.0/16, that webhooks may call
    ///
    /// Can be repeated. Without it webhooks go to addresses of the public internet only.
    #[arg(
        long,
        value_name = "CIDR",
        env = "HOLDFAST_WEBHOOK_ALLOW",
        value_delimiter = ','
    )]
    pub webhook_allow: Vec<String>,

    /// How long a grant or lease lasts whose caller did not say [default: 60s]
    #[arg(long, value_name = "TTL", env = "HOLDFAST_DEFAULT_TTL", value_parser = parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub default_ttl: Option<Duration>,

    /// How long a webmutex grab lasts [default: until it is released]
    #[arg(long, value_name = "TTL", env = "HOLDFAST_WEBMUTEX_TTL", value_parser = parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub webmutex_ttl: Option<Duration>,

    /// How long a lockable lock lasts without a heartbeat [default: 60s]
    #[arg(long, value_name = "TTL", env = "HOLDFAST_LOCKABLE_TTL", value_parser = parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub lockable_ttl: Option<Duration>,

    /// A dialect to switch off; can be repeated
    #[arg(
        long = "disable-dialect",
        value_name = "DIALECT",
        env = "HOLDFAST_DISABLE_DIALECT",
        value_delimiter = ','
    )]
    #[serde(rename = "disable_dialect")]
    pub disabled_dialects: Vec<Dialect>,

    /// The most connections at a time [default: 65536, or what the limit of open files leaves]
    #[arg(long, value_name = "N", env = "HOLDFAST_MAX_CONNECTIONS")]
    pub max_connections: Option<u32>,

    /// How long calls may take to finish when the server is told to stop [default: 10s]
    #[arg(
        long, value_name = "TIME", env = "HOLDFAST_SHUTDOWN_DEADLINE", value_parser = parse_duration
    )]
    #[serde(deserialize_with = "duration")]
    pub shutdown_deadline: Option<Duration>,

    /// What to log: error, warn, info, debug or trace, or a filter such as `info,holdfast=debug`
    /// [default: info]
    #[arg(long, value_name = "FILTER", env = "HOLDFAST_LOG")]
    pub log: Option<String>,

    /// How to log, on stderr [default: text]
    #[arg(long, value_name = "FORMAT", env = "HOLDFAST_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// API tokens; in the file only.
    #[arg(skip)]
    #[serde(rename = "token")]
    pub tokens: Vec<TokenEntry>,
}

impl Settings {
    /// Reads a configuration file.
    pub fn from_file(path: &Path) -> Result<Settings, StartError> {
        let failed = |problem: String| StartError::ConfigFile {
            path: path.to_owned(),
            problem,
        };
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        toml::from_str(&text).map_err(|error| failed(describe_toml(&text, &error)))
    }

    /// These, and where they say nothing, `other`.
    #[must_use]
    pub fn or(self, other: Settings) -> Settings {
        fn list<T>(own: Vec<T>, other: Vec<T>) -> Vec<T> {
            if own.is_empty() { other } else { own }
        }
        Settings {
            listen: self.listen.or(other.listen),
            data_dir: self.data_dir.or(other.data_dir),
            store: self.store.or(other.store),
            allow_anonymous: self.allow_anonymous.or(other.allow_anonymous),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_client_ca: self.tls_client_ca.or(other.tls_client_ca),
            allow_origins: list(self.allow_origins, other.allow_origins),
            webhook_allow: list(self.webhook_allow, other.webhook_allow),
            default_ttl: self.default_ttl.or(other.default_ttl),
            webmutex_ttl: self.webmutex_ttl.or(other.webmutex_ttl),
            lockable_ttl: self.lockable_ttl.or(other.lockable_ttl),
            disabled_dialects: list(self.disabled_dialects, other.disabled_dialects),
            max_connections: self.max_connections.or(other.max_connections),
            shutdown_deadline: self.shutdown_deadline.or(other.shutdown_deadline),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
            tokens: list(self.tokens, other.tokens),
        }
    }
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen: an address or host name, and a port.
    pub listen: String,
    /// Where state is kept.
    pub store: StoreKind,
    /// Where state and tokens are kept; the store in memory can do without.
    pub data_dir: Option<PathBuf>,
    /// Whether whoever can reach the server may use it while there is no token.
    pub allow_anonymous: bool,
    /// Where the certificates for TLS are; `None`: connections are not encrypted.
    pub tls: Option<TlsFiles>,
    /// Whose scripts may call from a browser; `*`: anybody's.
    pub allow_origins: Vec<String>,
    /// Which addresses webhooks may call.
    pub webhook_addresses: AddressPolicy,
    /// The TTL of a grant or lease whose caller named none.
    pub ttl_default: Duration,
    /// The TTL of a webmutex grab; `None`: it has no expiry.
    pub webmutex_ttl: Option<Duration>,
    /// The TTL of a lockable lock.
    pub lockable_ttl: Duration,
    /// What is not served.
    pub disabled_dialects: Vec<Dialect>,
    /// The most connections at a time.
    pub connections_max: u32,
    /// How long calls may take to finish when the server is told to stop.
    pub shutdown_deadline: Duration,
    /// The tokens of the configuration file; those of the data directory come on top.
    pub tokens: Vec<TokenEntry>,
    /// The timers.
    pub timers: Timers,
}

impl Config {
    /// A server on a free port of this machine that keeps nothing: for tests.
    #[must_use]
    pub fn throw_away() -> Config {
        Config {
            listen: "127.0.0.1:0".to_owned(),
            store: StoreKind::Memory,
            data_dir: None,
            allow_anonymous: false,
            tls: None,
            allow_origins: Vec::new(),
            webhook_addresses: AddressPolicy::default(),
            ttl_default: TTL_DEFAULT,
            webmutex_ttl: None,
            lockable_ttl: TTL_DEFAULT,
            disabled_dialects: Vec::new(),
            connections_max: CONNECTIONS_MAX_DEFAULT,
            shutdown_deadline: SHUTDOWN_DEADLINE_DEFAULT,
            tokens: Vec::new(),
            timers: Timers::default(),
        }
    }

    /// Fills in the defaults and checks every bound.
    pub fn resolve(settings: Settings) -> Result<Config, StartError> {
        let store = settings.store.unwrap_or(StoreKind::Embedded);
        let data_dir = match (settings.data_dir, store) {
            (Some(dir), _) => Some(dir),
            (None, StoreKind::Memory) => None,
            (None, StoreKind::Embedded) => Some(default_data_dir().ok_or(StartError::NoDataDir)?),
        };
        let ttl = |name, given: Option<Duration>| {
            given
                .map(|ttl| check_ttl(ttl).map_err(|bad| setting(name, bad)))
                .transpose()
        };
        let shutdown_deadline = settings
            .shutdown_deadline
            .unwrap_or(SHUTDOWN_DEADLINE_DEFAULT);
        if shutdown_deadline > SHUTDOWN_DEADLINE_MAX {
            let expected = format!("must be at most {SHUTDOWN_DEADLINE_MAX:?}");
            return Err(setting(
                "shutdown-deadline",
                Invalid::new("shutdown-deadline", expected),
            ));
        }
        let connections_max = settings.max_connections.unwrap_or(CONNECTIONS_MAX_DEFAULT);
        if connections_max == 0 {
            return Err(setting(
                "max-connections",
                Invalid::new("max-connections", "must be at least 1"),
            ));
        }
        let tls = TlsFiles::of(settings.tls_cert, settings.tls_key, settings.tls_client_ca)?;
        let webhook_addresses = AddressPolicy::parse(
            settings.webhook_allow.iter().map(String::as_str),
        )
        .map_err(|expected| StartError::Setting {
            name: "webhook-allow",
            expected,
        })?;
        Ok(Config {
            listen: settings.listen.unwrap_or_else(|| DEFAULT_LISTEN.to_owned()),
            store,
            data_dir,
            allow_anonymous: settings.allow_anonymous.unwrap_or(false),
            tls,
            allow_origins: settings.allow_origins,
            webhook_addresses,
            ttl_default: ttl("default-ttl", settings.default_ttl)?.unwrap_or(TTL_DEFAULT),
            webmutex_ttl: ttl("webmutex-ttl", settings.webmutex_ttl)?,
            lockable_ttl: ttl("lockable-ttl", settings.lockable_ttl)?.unwrap_or(TTL_DEFAULT),
            disabled_dialects: settings.disabled_dialects,
            connections_max,
            shutdown_deadline,
            tokens: settings.tokens,
            timers: Timers::default(),
        })
    }
}

/// Where the server listens when nothing else is said: H-O-L-D on a keypad, on this machine only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:4653";

/// Where state is kept when nothing else is said; `None` for a user without a home.
#[must_use]
pub fn default_data_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    data_dir_for(
        set("XDG_DATA_HOME").map(PathBuf::from),
        set("HOME").map(PathBuf::from),
        is_root(),
    )
}

fn data_dir_for(xdg: Option<PathBuf>, home: Option<PathBuf>, root: bool) -> Option<PathBuf> {
    // The XDG rules: a path that is not absolute is to be ignored.
    match (xdg.filter(|path| path.is_absolute()), home) {
        (Some(xdg), _) => Some(xdg.join("holdfast")),
        (None, Some(home)) => Some(home.join(".local/share/holdfast")),
        (None, None) if root => Some(PathBuf::from("/var/lib/holdfast")),
        (None, None) => None,
    }
}

fn is_root() -> bool {
    // Whoever owns this process's entry there is who runs it.
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

fn setting(name: &'static str, invalid: Invalid) -> StartError {
    StartError::Setting {
        name,
        expected: invalid.expected,
    }
}

/// What is wrong with a file, in one line that names the place.
pub(super) fn describe_toml(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| before.matches('\n').count() + 1);
    let message = error
        .message()
        .replace("unknown field", "unknown key")
        .replace('\n', " ");
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text)
        .map(Some)
        .map_err(serde::de::Error::custom)
}
