//! HTTP/2 as frames on a socket, for what no client library does: floods, lies and silence.

use std::net::SocketAddr;

use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A setting: 3 is how many streams the peer may open, 4 its window of each stream.
pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// The fields of a gRPC call, uncompressed but for the static table.
pub fn call_headers(method: &str) -> Vec<u8> {
    let path = format!("/holdfast.v1.{method}");
    // :method POST, :scheme http, then :path, :authority, content-type and te by name.
    let mut block = vec![0x83, 0x86, 0x04];
    text(&mut block, &path);
    block.push(0x01);
    text(&mut block, "localhost");
    block.extend([0x0f, 0x10]);
    text(&mut block, "application/grpc");
    block.push(0x00);
    text(&mut block, "te");
    text(&mut block, "trailers");
    block
}

fn text(block: &mut Vec<u8>, text: &str) {
    block.push(u8::try_from(text.len()).unwrap());
    block.extend(text.as_bytes());
}

/// A message with its gRPC prefix.
pub fn message(message: &impl Message) -> Vec<u8> {
    prefixed(&message.encode_to_vec())
}

pub fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], bytes].concat()
}

/// A connection that has said hello with these settings.
pub async fn connect(addr: SocketAddr, settings: &[u8]) -> TcpStream {
    let mut stream = http::connect(addr).await;
    let mut hello = PREFACE.to_vec();
    hello.extend(frame(SETTINGS, 0, 0, settings));
    stream.write_all(&hello).await.unwrap();
    stream
}

/// The next frame: its kind, flags, stream and payload; `None` when the server has hung up.
pub async fn read_frame(
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await.ok()?;
    let [l1, l2, l3, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, l1, l2, l3]) as usize];
    reader.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(stream), payload))
}
