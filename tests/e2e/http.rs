//! HTTP/1.1 as bytes on a socket: a test can send what no client library would.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::PATIENCE;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Answer {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = bytes[end + 4..].to_vec();
        if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            body = unchunk(&body);
        }
        Answer { status, head, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16).unwrap();
        let chunk = &bytes[end + 2..];
        body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        bytes = chunk.get(size + 2..).unwrap_or_default();
    }
    body
}

/// What a request says of its body.
pub const JSON: &str = "application/json";
pub const FORM: &str = "application/x-www-form-urlencoded";

/// A request whose path and body may be any bytes. `headers` are whole lines.
pub fn request(method: &str, path: &[u8], headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} ").into_bytes();
    bytes.extend_from_slice(path);
    bytes.extend_from_slice(b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for header in headers {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

pub async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.unwrap()
}

/// Sends bytes on a connection of their own and reads all that comes back. The server may answer
/// and close before it has read everything.
pub async fn exchange(addr: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr).await?;
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let both = async { tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut answer)) };
    let (_, read) = timeout(PATIENCE, both).await.expect("no answer in time");
    match read {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// Sends bytes, says that no more will come, and reads what comes back, if anything does.
pub async fn exchange_and_end(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(addr).await;
    let mut answer = Vec::new();
    let both = async {
        // The server may have hung up already.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    timeout(PATIENCE, both)
        .await
        .expect("the connection does not end");
    answer
}

pub async fn send(addr: SocketAddr, bytes: &[u8]) -> Answer {
    Answer::read(&exchange(addr, bytes).await.unwrap())
}

pub async fn get(addr: SocketAddr, path: &str) -> Answer {
    send(addr, &request("GET", path.as_bytes(), &[], b"")).await
}

/// POSTs JSON; an answer that does not come is an error.
pub async fn try_post(addr: SocketAddr, path: &str, body: &Value) -> std::io::Result<Answer> {
    let kind = format!("content-type: {JSON}");
    let bytes = request(
        "POST",
        path.as_bytes(),
        &[&kind],
        body.to_string().as_bytes(),
    );
    let answer = exchange(addr, &bytes).await?;
    match answer.windows(4).any(|four| four == b"\r\n\r\n") {
        true => Ok(Answer::read(&answer)),
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

pub async fn post(addr: SocketAddr, path: &str, body: Value) -> Answer {
    try_post(addr, path, &body).await.unwrap()
}

/// As `curl -d` does.
pub async fn form(addr: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let kind = format!("content-type: {FORM}");
    send(
        addr,
        &request(method, path.as_bytes(), &[&kind], body.as_bytes()),
    )
    .await
}
