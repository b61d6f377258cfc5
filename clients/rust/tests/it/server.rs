//! The workspace's server as a process of its own, which never outlives its test.

use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use holdfast_client::proto::GetLockRequest;
use holdfast_client::proto::lock_service_client::LockServiceClient;
use holdfast_client::{Builder, Client};

/// How long anything may take that must happen: generous, and never waited for in vain.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The binary: the one that `HOLDFAST_SERVER` names, or one that is built now.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("HOLDFAST_SERVER") {
            return path.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "holdfast", "--bin", "holdfast"])
            .current_dir(&root)
            .status()
            .unwrap();
        assert!(built.success(), "the server does not build");
        // Beside the directory of this test's own binary.
        let own = std::env::current_exe().unwrap();
        own.parent().unwrap().parent().unwrap().join("holdfast")
    })
}

/// `holdfast` with nothing of this process's environment that it reads.
pub fn holdfast(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOLDFAST_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

pub struct Server {
    process: Child,
    pub addr: SocketAddr,
    dir: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let (process, addr) = spawn(dir.path(), "127.0.0.1:0");
        Server { process, addr, dir }
    }

    /// One that asks for tokens, and one of them.
    pub fn with_token() -> (Server, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut create = holdfast(&["token", "create", "--namespace", "here", "--role", "use"]);
        let made = create.arg("--data-dir").arg(dir.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let (process, addr) = spawn(dir.path(), "127.0.0.1:0");
        let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        (Server { process, addr, dir }, token)
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let name = format!("-{name}");
        let done = Command::new("kill").args([name, id]).status().unwrap();
        assert!(done.success());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again where it was.
    pub fn start_again(&mut self) {
        let (process, _) = spawn(self.dir.path(), &self.addr.to_string());
        self.process = process;
    }

    pub fn builder(&self) -> Builder {
        Client::builder(self.address())
            .backoff(Duration::from_millis(10), Duration::from_millis(100))
    }

    pub async fn client(&self) -> Client {
        self.builder().connect().await.unwrap()
    }

    /// How many hold a lock and how many wait for it.
    pub async fn counts(&self, lock: &str) -> (u32, u32) {
        let mut locks = LockServiceClient::connect(self.address()).await.unwrap();
        let lock = lock.to_owned();
        let got = locks.get_lock(GetLockRequest { lock }).await.unwrap();
        let lock = got.into_inner().lock.unwrap();
        (lock.holder_count, lock.waiter_count)
    }

    /// Waits until so many hold a lock and wait for it.
    pub async fn settles(&self, lock: &str, holders: u32, waiters: u32) {
        let end = Instant::now() + PATIENCE;
        loop {
            let counts = self.counts(lock).await;
            if counts == (holders, waiters) {
                return;
            }
            assert!(Instant::now() < end, "{lock} stays at {counts:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn spawn(dir: &Path, listen: &str) -> (Child, SocketAddr) {
    let mut command = holdfast(&["serve", "--log", "warn,holdfast::cli::serve=info"]);
    command
        .args(["--listen", listen])
        .arg("--data-dir")
        .arg(dir);
    let mut process = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let addr = loop {
        let line = lines.next().expect("no server").unwrap();
        if let Some((_, addr)) = line.split_once("listening on http://") {
            break addr.trim().parse().unwrap();
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    (process, addr)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What must come in time.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it did not come")
}
