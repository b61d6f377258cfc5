//! Where the server listens, and who can reach it there.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

use tokio::net::{TcpListener, TcpSocket};

use super::StartError;
use super::limits::BACKLOG;

/// Reads `ADDRESS:PORT` or `HOST:PORT`; blocks where a name has to be resolved. At least one.
pub(super) fn resolve(listen: &str) -> Result<Vec<SocketAddr>, StartError> {
    if let Ok(address) = listen.parse() {
        return Ok(vec![address]);
    }
    let unreadable = |why: String| StartError::Setting {
        name: "listen",
        expected: format!(
            "must be an address and a port, such as 127.0.0.1:4653 or [::1]:4653; is {listen:?}{why}"
        ),
    };
    let port = listen.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        return Err(unreadable(String::new()));
    }
    let found: Vec<_> = listen
        .to_socket_addrs()
        .map_err(|error| unreadable(format!(" ({error})")))?
        .collect();
    if found.is_empty() {
        return Err(unreadable(" (the name has no address)".to_owned()));
    }
    Ok(found)
}

/// Whether only this machine can reach an address.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    // `::ffff:127.0.0.1` is this machine as well, and says so only in its canonical form.
    address.ip().to_canonical().is_loopback()
}

/// Listens at the first of the addresses that can be had.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<TcpListener, StartError> {
    let mut failed = None;
    for address in addresses {
        match bind_one(*address) {
            Ok(listener) => return Ok(listener),
            Err(source) => failed = failed.or(Some(StartError::bind(*address, source))),
        }
    }
    Err(failed.unwrap_or(StartError::Setting {
        name: "listen",
        expected: "must have an address".to_owned(),
    }))
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for connections of the server before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for (address, loopback) in [
            ("127.0.0.1:1", true),
            ("127.8.9.10:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("[::ffff:10.0.0.1]:1", false),
            ("192.168.1.1:1", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), loopback, "{address}");
        }
    }

    #[test]
    fn what_is_no_address_and_port_is_refused() {
        for bad in [
            "",
            "4653",
            "localhost",
            "127.0.0.1",
            "127.0.0.1:x",
            "127.0.0.1:65536",
            "::1",
        ] {
            let error = resolve(bad).unwrap_err().to_string();
            assert!(error.contains("listen"), "{bad}: {error}");
        }
        assert!(resolve("localhost:0").unwrap().into_iter().all(is_loopback));
    }
}
