//! A proxy that can stop to carry anything, as a network does that is cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    pub addr: SocketAddr,
    /// How often it was cut and healed: an odd number is a cut.
    changes: Arc<watch::Sender<u64>>,
}

impl Proxy {
    pub async fn before(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let changes = Arc::new(watch::Sender::new(0));
        let news = changes.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let news = news.subscribe();
                tokio::spawn(async move {
                    let far = TcpStream::connect(server).await.unwrap();
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    tokio::spawn(carry(near_in, far_out, news.clone()));
                    tokio::spawn(carry(far_in, near_out, news));
                });
            }
        });
        Proxy { addr, changes }
    }

    /// Carries nothing more, and tells nobody.
    pub fn cut(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub fn heal(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.addr)
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut changes: watch::Receiver<u64>,
) {
    let begin = *changes.borrow();
    let mut bytes = [0; 4096];
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else {
            return;
        };
        let now = *changes.borrow();
        if now != begin || now % 2 == 1 {
            // What was on its way in a cut is lost, and its connection once there is a network again.
            let _ = changes.wait_for(|changes| changes % 2 == 0).await;
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
