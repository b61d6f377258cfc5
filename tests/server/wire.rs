//! Bytes on sockets, so that the tests see what a client would, and can do what no client library
//! does.

use std::net::SocketAddr;
use std::time::Duration;

use holdfast::server::{Config, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything may take that is expected to happen; nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn start(config: Config) -> Server {
    Server::start(config).await.unwrap()
}

pub async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Reads until the server closes; a reset is a close.
pub async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let _ = timeout(PATIENCE, read).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends one HTTP/1.1 request and reads the answer. `head` is the request line and any headers.
pub async fn ask(address: SocketAddr, head: &str) -> String {
    ask_with(address, head, "").await
}

pub async fn ask_with(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = connect(address).await;
    let request = format!(
        "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_all(&mut stream).await
}

/// The status in an answer.
pub fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// What begins an HTTP/2 connection: the preface and empty settings.
pub const HTTP2_HELLO: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// A frame of HTTP/2.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// GOAWAY frames among the bytes that a server sent: the error code of the last one.
pub fn goaway(mut bytes: &[u8]) -> Option<u32> {
    let mut found = None;
    while let [l1, l2, l3, kind, _, _, _, _, _, rest @ ..] = bytes {
        let len = u32::from_be_bytes([0, *l1, *l2, *l3]) as usize;
        let payload = rest.get(..len)?;
        if let (7, [_, _, _, _, code @ ..]) = (*kind, payload) {
            found = code.first_chunk().map(|code| u32::from_be_bytes(*code));
        }
        bytes = &rest[len..];
    }
    found
}

/// Reads what the server still sends until it closes, as bytes.
pub async fn read_bytes(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let _ = timeout(PATIENCE, read).await.expect("the server closes");
    bytes
}
