//! Why a server does not start: each time one sentence that names what is wrong and says what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::tokens::TokensError;
use crate::store::StoreError;
use crate::webhook::SenderError;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of its bounds.
    #[error("{name}: {expected}")]
    Setting {
        /// The flag's name.
        name: &'static str,
        /// What is expected, with its bound.
        expected: String,
    },
    /// The configuration file can't be used.
    #[error("the configuration file {}: {problem}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// There is no place to keep data in.
    #[error("there is no home directory to keep data in: say where with --data-dir DIR")]
    NoDataDir,
    /// Others could reach the server and nothing would hold them off.
    #[error(
        "{address} can be reached from other machines, and there is no API token: make one with `holdfast token create --namespace NAME`, ask for certificates with --tls-client-ca, or give --allow-anonymous if everyone who can reach it may use it"
    )]
    Unprotected {
        /// Where it would have listened.
        address: SocketAddr,
    },
    /// Another program has the port.
    #[error("port {} of {} is in use: stop the program that has it, or choose another with --listen", address.port(), address.ip())]
    AddressInUse {
        /// Where it would have listened.
        address: SocketAddr,
    },
    /// The port can't be had.
    #[error("cannot listen on {address} ({source}): choose another address with --listen")]
    Bind {
        /// Where it would have listened.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The tokens can't be read.
    #[error("API tokens cannot be read: {0}")]
    Tokens(#[from] TokensError),
    /// The store can't be opened.
    #[error("{source}{}", advice(source))]
    Store {
        /// What the store said.
        source: StoreError,
    },
    /// Webhooks could not be sent.
    #[error(transparent)]
    Webhooks(#[from] SenderError),
    /// The operating system has no randomness.
    #[error("the system has no random numbers to make keys from: {0}")]
    Randomness(getrandom::Error),
    /// A panic, which was logged.
    #[error("the server has a defect that stopped it from starting; please report it")]
    Defect,
}

impl StartError {
    pub(super) fn bind(address: SocketAddr, source: io::Error) -> StartError {
        match source.kind() {
            io::ErrorKind::AddrInUse => StartError::AddressInUse { address },
            _ => StartError::Bind { address, source },
        }
    }
}

/// What to do about a store that can't be opened.
fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::InUse { .. } => ": stop that one, or choose another directory with --data-dir",
        StoreError::Foreign { .. } => ": choose another directory with --data-dir, or an empty one",
        StoreError::Version { .. } => ": use the version of holdfast that wrote it",
        StoreError::Damaged { .. } => ": nothing was changed; restore it from a backup",
        StoreError::Full { .. } => ": make room, and start again",
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            ": let this user read and write it, or choose another directory with --data-dir"
        }
        _ => "",
    }
}
