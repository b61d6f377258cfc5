//! The real binary as a process of its own, which never outlives its test.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::http;

/// How long anything may take that must happen: generous, and never waited for in vain.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a whole script may take, on a machine that has more to do.
const SCRIPT_PATIENCE: Duration = Duration::from_secs(180);

/// What the server logs in tests: where it listens, and whatever is wrong.
const LOG: &str = "warn,holdfast::cli::serve=info";

pub struct Server {
    process: Child,
    pub addr: SocketAddr,
    log: Arc<Mutex<String>>,
}

/// `holdfast` with nothing of this process's environment that it reads.
pub fn holdfast(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    clear_environment(&mut command);
    command.args(args).stdin(Stdio::null());
    command
}

pub fn clear_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOLDFAST_") {
            command.env_remove(name);
        }
    }
}

/// Runs a command to its end, which must come in time.
pub fn run(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let id = child.id();
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
    end.recv_timeout(SCRIPT_PATIENCE).unwrap_or_else(|_| {
        signal(id, "KILL");
        panic!("{command:?} did not end")
    })
}

fn signal(id: u32, name: &str) {
    let kill = format!("kill -{name} {id}");
    let done = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(done.success(), "{kill}");
}

impl Server {
    /// One that keeps nothing.
    pub fn memory() -> Server {
        Server::spawn(&mut serve(&[
            "--store",
            "memory",
            "--listen",
            "127.0.0.1:0",
        ]))
    }

    /// One over a data directory, on a free port.
    pub fn over(dir: &Path) -> Server {
        Server::spawn(&mut serve_over(dir, "127.0.0.1:0"))
    }

    /// One over a data directory, where another was before it.
    pub fn over_at(dir: &Path, addr: SocketAddr) -> Server {
        Server::spawn(&mut serve_over(dir, &addr.to_string()))
    }

    /// Starts a server by a command and waits until it listens.
    pub fn spawn(command: &mut Command) -> Server {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap());
        let mut read = String::new();
        let addr = loop {
            let begin = read.len();
            if lines.read_line(&mut read).unwrap() == 0 {
                let _ = process.wait();
                panic!("no server: {read}");
            }
            if let Some((_, addr)) = read[begin..].split_once("listening on http://") {
                break addr.trim().parse().unwrap();
            }
        };
        let log = Arc::new(Mutex::new(read));
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Server { process, addr, log }
    }

    pub fn host(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until the process has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// It is the process that was started, it answers, and nothing in it has panicked.
    pub async fn assert_well(&mut self, after: &str) {
        let ended = self.process.try_wait().unwrap();
        assert!(ended.is_none(), "after {after} the server ended: {ended:?}");
        let ready = http::get(self.addr, "/readyz?verbose").await;
        assert_eq!(ready.status, 200, "after {after}: {}", ready.text());
        let log = self.log();
        assert!(!log.contains("panic"), "after {after}: {log}");
    }

    /// The memory that the process has in use, in MiB; 0 where the system does not tell.
    pub fn memory_mib(&self) -> u64 {
        std::fs::read_to_string(format!("/proc/{}/status", self.id()))
            .ok()
            .and_then(|status| {
                let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
                line.split_whitespace().nth(1)?.parse::<u64>().ok()
            })
            .unwrap_or(0)
            / 1024
    }
}

/// `holdfast serve` with few logs.
pub fn serve(args: &[&str]) -> Command {
    let mut command = holdfast(&["serve", "--log", LOG]);
    command.args(args);
    command
}

pub fn serve_over(dir: &Path, listen: &str) -> Command {
    let mut command = serve(&["--listen", listen]);
    command.arg("--data-dir").arg(dir);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}
