//! The processes under measurement.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast::proto::v1::GetLockRequest;
use holdfast::proto::v1::lock_service_client::LockServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::Failed;

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(60);

/// A process that ends with its owner.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Its resident memory, in bytes.
    pub fn resident(&self) -> Result<u64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

/// The processor time that this process has used.
pub fn own_cpu_time() -> Result<Duration, Failed> {
    let tasks = std::fs::read_dir("/proc/self/task")?;
    let mut nanos = 0;
    for task in tasks {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let ran: u64 = text.split(' ').next().unwrap_or_default().parse()?;
        nanos += ran;
    }
    Ok(Duration::from_nanos(nanos))
}

/// The bare tonic echo.
pub struct Echo {
    _process: Process,
    address: String,
}

impl Echo {
    /// Starts this program again as an echo server.
    pub fn start() -> Result<Echo, Failed> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--echo")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let process = Process(child);
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        Ok(Echo {
            _process: process,
            address: address.trim().to_owned(),
        })
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Result<Channel, Failed> {
        connect(&self.address).await
    }
}

/// `holdfast serve` on the embedded store.
pub struct Server {
    /// The process.
    pub process: Process,
    address: String,
}

impl Server {
    /// Starts a server on this data directory, and waits until it answers.
    pub async fn start(data_dir: &Path) -> Result<Server, Failed> {
        // The port may be taken by another before the server binds it; then the start fails.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listen = format!("127.0.0.1:{port}");
        let child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["serve", "--listen", &listen, "--log", "warn", "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Server {
            process: Process(child),
            address: format!("http://{listen}"),
        };
        let began = Instant::now();
        while !server.answers().await {
            if server.process.0.try_wait()?.is_some() || began.elapsed() > START_MAX {
                return Err("the server did not start".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(server)
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Result<Channel, Failed> {
        connect(&self.address).await
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn answers(&self) -> bool {
        let Ok(channel) = self.connect().await else {
            return false;
        };
        let lock = "ready".to_owned();
        let mut locks = LockServiceClient::new(channel);
        locks.get_lock(GetLockRequest { lock }).await.is_ok()
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(mut self) -> Result<(), Failed> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        Ok(())
    }
}

async fn connect(address: &str) -> Result<Channel, Failed> {
    Ok(Endpoint::from_shared(address.to_owned())?
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 22)
        .connect()
        .await?)
}
