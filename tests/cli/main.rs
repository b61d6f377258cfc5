//! The client side of the command line, from outside: the real binary against a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../certificates/mod.rs"]
mod certificates;
mod fifo;
mod queue;
mod run;
mod tls;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything here may take at most before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server of its own, with nothing in it, that ends with the test.
struct Server {
    addr: SocketAddr,
    process: Child,
}

impl Server {
    fn start() -> Server {
        Server::start_with(&["--store", "memory", "--listen", "127.0.0.1:0"])
    }

    fn start_at(addr: SocketAddr) -> Server {
        Server::start_with(&["--store", "memory", "--listen", &addr.to_string()])
    }

    fn start_with(args: &[&str]) -> Server {
        let mut serve = command(&["serve"]);
        serve.args(args).stderr(Stdio::piped());
        let mut process = serve.spawn().unwrap();
        let mut logs = BufReader::new(process.stderr.take().unwrap());
        let mut read = String::new();
        let addr = loop {
            let begin = read.len();
            assert_ne!(logs.read_line(&mut read).unwrap(), 0, "no server: {read}");
            if let Some((_, addr)) = read[begin..].split_once("listening on ") {
                break addr.trim().split_once("://").unwrap().1.parse().unwrap();
            }
        };
        // So that the server never waits for a reader of its logs.
        std::thread::spawn(move || std::io::copy(&mut logs, &mut std::io::sink()));
        Server { addr, process }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// A command that talks to this server, with nothing of this process's environment that it reads.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.env("HOLDFAST_ADDR", self.addr.to_string());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed and gives its JSON.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.command(args).arg("--json").output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the lock has so many callers in line.
    fn wait_for_waiters(&self, lock: &str, waiters: u64) {
        let end = Instant::now() + PATIENCE;
        while self.json(&["lock", "get", lock])["waiters"] != waiters {
            assert!(
                Instant::now() < end,
                "never saw {waiters} waiting for {lock}"
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOLDFAST_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A command that goes on, with its outputs to read.
fn spawn(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a command printed until it ended, which it must do in time.
fn wait(child: Child) -> Output {
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output().unwrap()));
    end.recv_timeout(PATIENCE).expect("the command did not end")
}

fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

#[test]
fn a_lock_is_taken_renewed_checked_and_released() {
    let server = Server::start();
    let grant = server.json(&[
        "lock",
        "acquire",
        "deploy",
        "--ttl",
        "1m30s",
        "--owner",
        "ci-42",
        "--metadata",
        "job=7",
        "--metadata",
        "note=a=b",
    ]);
    assert_eq!(grant["lock"], "deploy");
    assert_eq!(grant["mode"], "EXCLUSIVE");
    assert_eq!(grant["metadata"]["note"], "a=b");
    let (token, number) = (
        grant["grant_token"].as_str().unwrap(),
        grant["fencing_token"].as_str().unwrap(),
    );
    let left = grant["expires_in"].as_f64().unwrap();
    assert!(left > 60.0 && left <= 90.0, "{left}");

    let lock = server.json(&["lock", "get", "deploy"]);
    assert_eq!(
        (&lock["state"], &lock["waiters"]),
        (&"HELD".into(), &0.into())
    );
    assert_eq!(lock["holders"][0]["owner"], "ci-42");
    assert_eq!(lock["holders"][0]["fencing_token"], number);

    let check = server.run(&["lock", "check", "deploy", "--fencing-token", number]);
    assert_eq!(check.status.code(), Some(0));
    assert!(stdout(&check).starts_with("current "), "{}", stdout(&check));

    let renewed = server.json(&[
        "lock",
        "renew",
        "deploy",
        "--ttl",
        "5m",
        "--grant-token",
        token,
    ]);
    assert!(renewed["expires_in"].as_f64().unwrap() > 200.0);

    let released = server.run(&["lock", "release", "deploy", "--grant-token", token]);
    assert_eq!(stdout(&released), "released\n", "{}", stderr(&released));

    let check = server.run(&[
        "lock",
        "check",
        "deploy",
        "--fencing-token",
        number,
        "--json",
    ]);
    assert_eq!(check.status.code(), Some(1));
    assert_eq!(stdout(&check), "{\"current\":false}\n");
}

#[test]
fn a_grant_is_printed_on_one_line_of_words_that_a_script_can_split() {
    let server = Server::start();
    let output = server.run(&["lock", "acquire", "deploy"]);
    let words: Vec<_> = stdout(&output).trim_end().split(' ').collect();
    let [token, number, left] = words[..] else {
        panic!("{words:?}")
    };
    assert!(token.starts_with("grant_token="));
    number
        .strip_prefix("fencing_token=")
        .unwrap()
        .parse::<u64>()
        .unwrap();
    left.strip_prefix("expires_in=")
        .unwrap()
        .parse::<f64>()
        .unwrap();
    let forever = server.run(&["lock", "acquire", "other", "--ttl", "none"]);
    assert!(!stdout(&forever).contains("expires_in"));
}

#[test]
fn a_shell_script_keeps_the_grant_in_its_environment() {
    let server = Server::start();
    let script = r#"set -e
        grant=$("$HOLDFAST" lock acquire deploy --shell); eval "$grant"
        "$HOLDFAST" lock check deploy >/dev/null
        "$HOLDFAST" lock renew deploy >/dev/null
        "$HOLDFAST" lock get deploy --json
        "$HOLDFAST" lock release deploy"#;
    let script = Command::new("sh")
        .args(["-c", script])
        .env("HOLDFAST", env!("CARGO_BIN_EXE_holdfast"))
        .env("HOLDFAST_ADDR", server.addr.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = script.id();
    let output = wait(script);
    assert!(output.status.success(), "{}", stderr(&output));
    let lock: Value = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .next()
        .unwrap()
        .unwrap();
    let owner = lock["holders"][0]["owner"].as_str().unwrap();
    assert!(
        owner.contains('@') && owner.ends_with(&format!(":{pid}")),
        "{owner}"
    );
    assert_eq!(server.json(&["lock", "get", "deploy"])["state"], "FREE");
}

#[test]
fn a_secret_comes_from_stdin_or_the_environment_too() {
    let server = Server::start();
    for from_stdin in [true, false] {
        let grant = server.json(&["lock", "acquire", "deploy"]);
        let token = grant["grant_token"].as_str().unwrap();
        let mut release = server.command(&["lock", "release", "deploy"]);
        let output = if from_stdin {
            let mut child = spawn({
                release.args(["--grant-token", "-"]).stdin(Stdio::piped());
                release
            });
            writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
            wait(child)
        } else {
            release.env("HOLDFAST_GRANT_TOKEN", token).output().unwrap()
        };
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let help = server
        .command(&["lock", "release", "--help"])
        .env("HOLDFAST_GRANT_TOKEN", "hush")
        .output()
        .unwrap();
    assert!(!stdout(&help).contains("hush"));
}

#[test]
fn a_held_lock_is_told_with_its_holder_and_a_code_of_its_own() {
    let server = Server::start();
    server.json(&["lock", "acquire", "deploy", "--owner", "ci-42"]);
    let output = server.run(&["lock", "acquire", "deploy"]);
    assert_eq!(output.status.code(), Some(75));
    assert_eq!(stdout(&output), "");
    assert_eq!(
        stderr(&output),
        "error: the lock deploy is held by ci-42, with 0 waiting (LOCK_HELD)\n"
    );
    let output = server.run(&["lock", "acquire", "deploy", "--json"]);
    assert_eq!(output.status.code(), Some(75));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], 423);
    assert_eq!(error["error"]["reason"], "LOCK_HELD");
    assert_eq!(error["error"]["holders"][0]["owner"], "ci-42");
    assert!(error["error"]["holders"][0]["expires_in"].as_f64().unwrap() > 10.0);

    let output = server.run(&["lock", "acquire", "deploy", "--wait", "50ms", "--quiet"]);
    assert_eq!(output.status.code(), Some(75));
    assert!(
        stderr(&output).ends_with("(WAIT_TIMED_OUT)\n"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stderr(&output).lines().count(), 1);
}

#[test]
fn why_tells_who_holds_who_waits_and_how_the_last_holds_ended() {
    let server = Server::start();
    let nothing = server.run(&["why", "deploy"]);
    assert_eq!(stdout(&nothing), "deploy FREE\nno past holds are known\n");
    let acquire = [
        "lock",
        "acquire",
        "deploy",
        "--metadata",
        "job=7",
        "--owner",
    ];
    let grant = server.json(&[&acquire[..], &["first"]].concat());
    let token = grant["grant_token"].as_str().unwrap();
    server.run(&["lock", "release", "deploy", "--grant-token", token]);
    server.json(&[&acquire[..], &["second"]].concat());
    server.run(&["lock", "force-release", "deploy"]);
    server.json(&[&acquire[..], &["third"]].concat());
    let waiting = spawn(server.command(&[&acquire[..], &["fourth", "--wait", "1m"]].concat()));
    server.wait_for_waiters("deploy", 1);

    let told = server.json(&["why", "deploy"]);
    assert_eq!(told["lock"]["holders"][0]["owner"], "third");
    assert_eq!(told["waiters"][0]["owner"], "fourth");
    assert_eq!(told["past_holds"][0]["cause"], "forced");
    assert_eq!(told["past_holds"][1]["holder"]["metadata"]["job"], "7");
    let text = server.run(&["why", "deploy"]);
    let lines: Vec<&str> = stdout(&text).lines().collect();
    assert_eq!(lines.len(), 7, "{lines:#?}");
    assert_eq!(lines[0], "deploy HELD by third, 1 waiting");
    assert!(lines[1].starts_with("  third EXCLUSIVE fencing_token="));
    assert_eq!(lines[2], "in line:");
    assert!(lines[3].starts_with("  1. fourth EXCLUSIVE since="));
    assert!(lines[3].ends_with(" job=7"), "{}", lines[3]);
    assert_eq!(lines[4], "past holds:");
    assert!(lines[5].contains("Z forced second EXCLUSIVE fencing_token="));
    assert!(lines[6].contains("Z released first EXCLUSIVE fencing_token="));
    assert!(!lines[6].contains("expires_in"), "{}", lines[6]);
    server.run(&["lock", "force-release", "deploy"]);
    assert!(wait(waiting).status.success());
}

#[test]
fn a_lock_that_is_held_back_says_so() {
    let server = Server::start();
    server.json(&["lock", "acquire", "deploy", "--release-delay", "1h"]);
    let force = ["lock", "force-release", "deploy"];
    assert_eq!(stdout(&server.run(&force)), "released 1 grant\n");
    let lock = server.json(&["lock", "get", "deploy"]);
    assert_eq!(lock["state"], "HELD_BACK");
    assert!(lock["held_back_for"].as_f64().unwrap() > 3_000.0);
    let text = server.run(&["lock", "get", "deploy"]);
    let text = stdout(&text);
    assert!(
        text.starts_with("deploy HELD_BACK held_back_for=3"),
        "{text}"
    );
    let mut waiting = spawn(server.command(&["lock", "acquire", "deploy", "--wait", "1m"]));
    let mut line = String::new();
    let mut news = BufReader::new(waiting.stderr.take().unwrap());
    news.read_line(&mut line).unwrap();
    assert!(line.contains("number 1 in line, held back for 3"), "{line}");
    assert_eq!(stdout(&server.run(&force)), "released 1 grant\n");
    assert!(wait(waiting).status.success());
}

#[test]
fn waiting_callers_are_told_their_place_and_served_in_order() {
    let server = Server::start();
    let held = server.json(&["lock", "acquire", "deploy", "--owner", "ci-42"]);
    let first = spawn(server.command(&[
        "lock", "acquire", "deploy", "--wait", "1m", "--owner", "first",
    ]));
    server.wait_for_waiters("deploy", 1);
    let mut second =
        spawn(server.command(&["lock", "acquire", "deploy", "--wait", "forever", "--json"]));
    server.wait_for_waiters("deploy", 2);
    let mut news = BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    news.read_line(&mut line).unwrap();
    let queued: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&queued["event"], &queued["position"]),
        (&"queued".into(), &2.into()),
        "{line}"
    );
    assert_eq!(queued["holders"][0]["owner"], "ci-42");

    let token = held["grant_token"].as_str().unwrap();
    server.json(&["lock", "release", "deploy", "--grant-token", token]);
    let first = wait(first);
    assert!(first.status.success());
    assert!(
        stderr(&first).starts_with("waiting for deploy: number 1 in line, held by ci-42\n"),
        "{}",
        stderr(&first)
    );
    loop {
        line.clear();
        news.read_line(&mut line).unwrap();
        let queued: Value = serde_json::from_str(&line).unwrap();
        if queued["position"] == 1 && queued["holders"][0]["owner"] == "first" {
            break;
        }
    }
    let token = stdout(&first).split(['=', ' ']).nth(1).unwrap();
    server.json(&["lock", "release", "deploy", "--grant-token", token]);
    let second = wait(second);
    assert!(second.status.success());
    let grant: Value = serde_json::from_slice(&second.stdout).unwrap();
    assert!(grant["grant_token"].is_string());
}

#[test]
fn a_free_lock_is_had_at_once_however_long_one_would_wait() {
    let server = Server::start();
    let output = server.run(&["lock", "acquire", "deploy", "--wait", "24h"]);
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_signal_leaves_the_line() {
    let server = Server::start();
    server.json(&["lock", "acquire", "deploy"]);
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let waiting = spawn(server.command(&["lock", "acquire", "deploy", "--wait", "1h", "-q"]));
        server.wait_for_waiters("deploy", 1);
        signal(&waiting, name);
        let output = wait(waiting);
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(stdout(&output), "");
        server.wait_for_waiters("deploy", 0);
    }
}

#[test]
fn a_grant_that_nobody_can_read_is_given_back() {
    let server = Server::start();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else { return };
    let output = server
        .command(&["lock", "acquire", "deploy", "--ttl", "none"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    assert_eq!(server.json(&["lock", "get", "deploy"])["state"], "FREE");
}

#[test]
fn whoever_waits_asks_again_when_the_server_comes_back() {
    let server = Server::start();
    server.json(&["lock", "acquire", "deploy", "--ttl", "none"]);
    let mut waiting = spawn(server.command(&["lock", "acquire", "deploy", "--wait", "1h"]));
    let mut news = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    news.read_line(&mut line).unwrap();
    let addr = server.addr;
    server.kill();
    line.clear();
    news.read_line(&mut line).unwrap();
    assert!(
        line.starts_with("waiting for deploy: asking again"),
        "{line}"
    );
    // This server has forgotten everything, so the lock is free.
    let server = Server::start_at(addr);
    std::thread::spawn(move || news.read_to_string(&mut String::new()));
    assert!(wait(waiting).status.success());
    assert_eq!(server.json(&["lock", "get", "deploy"])["state"], "HELD");
}

#[test]
fn shared_holders_share_up_to_their_bound() {
    let server = Server::start();
    let shared = ["lock", "acquire", "pool", "--shared", "--max-shared", "2"];
    assert_eq!(server.json(&shared)["mode"], "SHARED");
    server.json(&shared);
    assert_eq!(server.run(&shared).status.code(), Some(75));
    let text = server.run(&["lock", "get", "pool"]);
    assert!(stdout(&text).contains(" and 1 more"), "{}", stdout(&text));
    let forced = server.json(&["lock", "force-release", "pool"]);
    assert_eq!(forced["released"], 2);
}

#[test]
fn locks_are_listed_to_the_limit_and_on_from_there() {
    let server = Server::start();
    assert_eq!(stdout(&server.run(&["lock", "list"])), "no locks\n");
    for name in ["ci/a", "ci/b", "ci/c", "other"] {
        server.json(&["lock", "acquire", name]);
    }
    let all = server.json(&["lock", "list", "--prefix", "ci/"]);
    assert_eq!(all["locks"].as_array().unwrap().len(), 3);
    assert!(all.get("next_page_token").is_none());
    let some = server.json(&["lock", "list", "--prefix", "ci/", "--limit", "2"]);
    assert_eq!(some["locks"].as_array().unwrap().len(), 2);
    let token = some["next_page_token"].as_str().unwrap();
    let rest = server.json(&["lock", "list", "--prefix", "ci/", "--page-token", token]);
    assert_eq!(rest["locks"][0]["name"], "ci/c");
}

#[test]
fn a_watch_tells_the_state_and_then_every_change() {
    let server = Server::start();
    let mut watch = spawn(server.command(&["lock", "watch", "deploy", "--json"]));
    let mut events = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&events.next().unwrap().unwrap()).unwrap();
    let state = next();
    assert_eq!(
        (&state["event"], &state["state"]),
        (&"state".into(), &"FREE".into())
    );
    server.json(&["lock", "acquire", "deploy", "--owner", "ci-42"]);
    let granted = next();
    assert_eq!(
        (&granted["event"], &granted["holder"]["owner"]),
        (&"granted".into(), &"ci-42".into())
    );
    server.json(&["lock", "force-release", "deploy"]);
    assert_eq!(next()["event"], "forced");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn a_watch_tells_how_long_a_lock_is_held_back_and_when_that_is_over() {
    let server = Server::start();
    let grant = server.json(&["lock", "acquire", "deploy", "--release-delay", "200ms"]);
    let token = &grant["fencing_token"];
    let mut watch = spawn(server.command(&["lock", "watch", "deploy", "--json"]));
    let mut events = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&events.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["event"], "state");
    server.json(&["lock", "force-release", "deploy"]);
    let forced = next();
    assert_eq!(
        (&forced["event"], &forced["held_back_for"]),
        (&"forced".into(), &0.2.into())
    );
    let over = next();
    assert_eq!(
        (&over["event"], &over["fencing_token"]),
        (&"release_delay_ended".into(), token)
    );
    assert_eq!(
        (&over["holder"], over.get("held_back_for")),
        (&Value::Null, None)
    );
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn a_reserved_lock_has_a_name_hard_to_guess() {
    let server = Server::start();
    let output = server.run(&["lock", "reserve", "--unused-destroy-timeout", "7d"]);
    let name = stdout(&output).trim_end();
    assert!(
        name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()),
        "{name}"
    );
    assert_eq!(server.json(&["lock", "get", name])["reserved"], true);
}

#[test]
fn a_lease_keeps_locks_and_ends_with_them() {
    let server = Server::start();
    let lease = server.json(&["lease", "create", "--ttl", "30s", "--owner", "ci-42"]);
    assert_eq!(lease["ttl"], 30.0);
    let id = lease["lease_id"].as_str().unwrap();
    let grant = server.json(&["lock", "acquire", "deploy", "--lease", id]);
    assert_eq!(grant["lease_id"], id);
    assert!(
        server.json(&["lease", "renew", id])["expires_in"]
            .as_f64()
            .unwrap()
            > 20.0
    );
    assert_eq!(server.json(&["lease", "get", id])["owner"], "ci-42");
    assert_eq!(server.json(&["lease", "list"])["leases"][0]["lease_id"], id);
    assert_eq!(server.json(&["lease", "revoke", id])["released"], 1);
    assert_eq!(server.json(&["lock", "get", "deploy"])["state"], "FREE");
    let gone = server.run(&["lease", "renew", id]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        stderr(&gone).ends_with("(LEASE_NOT_FOUND)\n"),
        "{}",
        stderr(&gone)
    );
}

#[test]
fn a_lease_is_kept_alive_until_it_is_ended() {
    let server = Server::start();
    let lease = server.json(&["lease", "create", "--ttl", "300ms"]);
    let id = lease["lease_id"].as_str().unwrap();
    let mut keep = server.command(&["lease", "keep-alive", "--json"]);
    keep.env("HOLDFAST_LEASE_ID", id);
    let mut keep = spawn(keep);
    let mut renewals = BufReader::new(keep.stdout.take().unwrap()).lines();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(900) {
        let renewal: Value = serde_json::from_str(&renewals.next().unwrap().unwrap()).unwrap();
        assert_eq!(renewal["event"], "renewed");
    }
    server.json(&["lease", "revoke", id]);
    let output = wait(keep);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("LEASE_NOT_FOUND"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_bad_value_is_refused_by_the_name_of_its_field() {
    let server = Server::start();
    let long_name = "x".repeat(513);
    for (args, field) in [
        (&["lock", "acquire", "x", "--ttl", "1M"][..], "ttl"),
        (&["lock", "acquire", "x", "--ttl=-5s"], "ttl"),
        (&["lock", "acquire", "x", "--ttl", "1ms"], "ttl"),
        (&["lock", "acquire", "x", "--ttl", "31d"], "ttl"),
        (
            &["lock", "acquire", "x", "--ttl", "99999999999999999999h"],
            "ttl",
        ),
        (&["lock", "acquire", "x", "--wait", "25h"], "wait"),
        (&["lock", "acquire", "x", "--wait", "soon"], "wait"),
        (
            &["lock", "acquire", "x", "--release-delay", "61m"],
            "release_delay",
        ),
        (
            &["lock", "acquire", "x", "--release-delay=-1s"],
            "release_delay",
        ),
        (
            &["lock", "acquire", "x", "--metadata", "novalue"],
            "metadata",
        ),
        (&["lock", "acquire", "x", "--lease", "nonsense"], "lease_id"),
        (&["lock", "acquire", ""], "lock"),
        (&["lock", "acquire", &long_name], "lock"),
        (&["lock", "get", "a\nb"], "lock"),
        (&["why", ""], "lock"),
        (
            &["lock", "check", "x", "--fencing-token", "0"],
            "fencing_token",
        ),
        (
            &["lock", "check", "x", "--fencing-token", "many"],
            "fencing_token",
        ),
        (&["lock", "list", "--page-token", "%%%"], "page_token"),
        (
            &["lock", "reserve", "--unused-destroy-timeout", "1ms"],
            "unused_destroy_timeout",
        ),
        (&["lock", "get", "x", "--timeout", "soon"], "timeout"),
        (&["lock", "get", "x", "--addr", "ftp://x"], "addr"),
        (&["lock", "get", "x", "--token", "a b\u{e4}"], "token"),
        (
            &["lock", "get", "x", "--token-file", "/nonexistent"],
            "token_file",
        ),
    ] {
        let output = server.command(args).arg("--json").output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(64),
            "{args:?}: {}",
            stderr(&output)
        );
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["error"]["field"], field, "{args:?}: {error}");
        assert_eq!(error["error"]["reason"], "INVALID_ARGUMENT");
        assert_eq!(error["error"]["code"], 400);
    }
}

#[test]
fn a_token_of_another_grant_changes_nothing() {
    let server = Server::start();
    let held = server.json(&["lock", "acquire", "deploy"]);
    for call in ["release", "renew"] {
        let output = server.run(&["lock", call, "deploy", "--grant-token", "1.nonsense"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).ends_with("(NOT_HOLDER)\n"),
            "{}",
            stderr(&output)
        );
    }
    let lock = server.json(&["lock", "get", "deploy"]);
    assert_eq!(lock["holders"][0]["fencing_token"], held["fencing_token"]);
}

#[test]
fn an_api_token_comes_from_flag_file_or_environment_and_a_missing_one_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let data_dir = data_dir.to_str().unwrap();
    let create = [
        "token",
        "create",
        "--namespace",
        "ci",
        "--data-dir",
        data_dir,
    ];
    let token = command(&create).output().unwrap();
    let token = stdout(&token).trim_end();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let file = file.to_str().unwrap();
    let server = Server::start_with(&["--data-dir", data_dir, "--listen", "127.0.0.1:0"]);

    server.json(&["lock", "get", "deploy", "--token", token]);
    server.json(&["lock", "get", "deploy", "--token-file", file]);
    for (name, value) in [("HOLDFAST_TOKEN", token), ("HOLDFAST_TOKEN_FILE", file)] {
        let mut get = server.command(&["lock", "get", "deploy"]);
        assert!(get.env(name, value).status().unwrap().success(), "{name}");
    }
    // What the command line says goes before what the environment says.
    let mut get = server.command(&["lock", "get", "deploy", "--token-file", file]);
    assert!(
        get.env("HOLDFAST_TOKEN", "wrong")
            .status()
            .unwrap()
            .success()
    );

    for (args, reason) in [
        (&["lock", "get", "deploy"][..], "UNAUTHENTICATED"),
        (
            &["lock", "acquire", "deploy", "--wait", "1h"],
            "UNAUTHENTICATED",
        ),
        (
            &["lock", "get", "deploy", "--token", "wrong"],
            "UNAUTHENTICATED",
        ),
        (&["lock", "list", "--token", token], "PERMISSION_DENIED"),
        (
            &["lock", "force-release", "deploy", "--token", token],
            "PERMISSION_DENIED",
        ),
    ] {
        let output = server.run(args);
        assert_eq!(
            output.status.code(),
            Some(77),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).ends_with(&format!("({reason})\n")),
            "{}",
            stderr(&output)
        );
        assert!(!stderr(&output).contains(token));
    }
}

#[test]
fn an_unreachable_server_is_told_in_one_sentence_that_says_what_to_do() {
    // A port of the system's, on which nobody listens.
    let addr = "127.0.0.1:1";
    for args in [
        &["lock", "get", "x"][..],
        &["lock", "acquire", "x", "--wait", "1h"],
        &["lease", "list"],
    ] {
        let output = command(args).args(["--addr", addr]).output().unwrap();
        assert_eq!(output.status.code(), Some(69));
        assert_eq!(
            stderr(&output),
            format!(
                "error: cannot reach a server at http://{addr}: connection refused; start one with `holdfast serve`, or name another with --addr or HOLDFAST_ADDR (UNAVAILABLE)\n"
            )
        );
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let output = command(&["lock", "get", "x", "--addr", &addr, "--timeout", "200ms"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(stderr(&output).contains(&addr), "{}", stderr(&output));
}

#[test]
fn what_is_no_holdfast_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        }
    });
    let output = command(&["lock", "get", "x", "--addr", &addr])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(stderr(&output).contains(&addr), "{}", stderr(&output));
}

#[test]
fn every_command_has_help_with_an_example() {
    for (group, subcommands) in [
        (
            "lock",
            &[
                "acquire",
                "release",
                "renew",
                "get",
                "list",
                "watch",
                "check",
                "force-release",
                "reserve",
            ][..],
        ),
        (
            "lease",
            &["create", "renew", "keep-alive", "revoke", "get", "list"],
        ),
        (
            "fifo",
            &[
                "create", "get", "list", "delete", "ticket", "tickets", "wait", "extend", "done",
                "cancel",
            ],
        ),
        ("webhook", &["list", "get", "cancel", "secret"]),
    ] {
        let help = command(&[group, "--help"]).output().unwrap();
        assert!(stdout(&help).contains("Exit codes:"), "{group}");
        for subcommand in subcommands {
            let help = command(&[group, subcommand, "--help"]).output().unwrap();
            let example = format!("holdfast {group} {subcommand}");
            let examples = stdout(&help).split("Examples:").nth(1).unwrap();
            assert!(examples.contains(&example), "{example}");
        }
    }
}

#[test]
fn why_has_help_with_an_example() {
    let help = command(&["why", "--help"]).output().unwrap();
    let help = stdout(&help);
    assert!(help.contains("Examples:\n  holdfast why deploy"), "{help}");
    assert!(help.contains("Exit codes:"), "{help}");
}

#[test]
fn every_shell_gets_completions_of_these_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = command(&["completions", shell]).output().unwrap();
        for word in ["force-release", "keep-alive", "max-shared", "token-file"] {
            assert!(stdout(&output).contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn what_cannot_be_read_at_all_is_a_matter_of_usage() {
    for args in [
        &["lock", "acquire"][..],
        &["lock", "acquire", "x", "--max-shared", "2"],
        &["lock", "acquire", "x", "--ttl", "1s", "--lease", "y"],
        &["lock", "acquire", "x", "--json", "--shell"],
        &["lock", "release", "x"],
        &["lock", "get", "x", "--token", "a", "--token-file", "b"],
    ] {
        let output = command(args).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_value_is_put_read_changed_listed_and_deleted() {
    let server = Server::start();
    let put = server.json(&["value", "put", "k/1", "one", "--ttl", "1h"]);
    let revision = put["revision"].as_str().unwrap();
    let got = server.run(&["value", "get", "k/1"]);
    assert_eq!(stdout(&got), "one");
    let changed = [
        "value",
        "put",
        "k/1",
        "two",
        "--expected-revision",
        revision,
    ];
    let next = server.json(&changed)["revision"].clone();
    let refused = server.command(&changed).arg("--json").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(error["error"]["reason"], "REVISION_MISMATCH");
    assert_eq!(error["error"]["current"]["revision"], next);
    let listed = server.json(&["value", "list", "--prefix", "k/"]);
    assert_eq!(listed["values"][0]["value"], "two");
    let deleted = server.json(&["value", "delete", "k/1"]);
    assert_eq!(deleted["revision"], next);
    let gone = server.run(&["value", "get", "k/1"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("VALUE_NOT_FOUND"));
}

#[test]
fn a_value_comes_from_stdin_or_a_file_byte_for_byte() {
    let server = Server::start();
    let bytes = [0xff, 0, b'\n', b'x', b'\n'];
    let mut put = server.command(&["value", "put", "stdin", "-"]);
    let mut child = spawn({
        put.stdin(Stdio::piped());
        put
    });
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert!(wait(child).status.success());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    std::fs::write(&file, bytes).unwrap();
    let put = ["value", "put", "file", "--file", file.to_str().unwrap()];
    assert!(server.run(&put).status.success());
    for key in ["stdin", "file"] {
        assert_eq!(server.run(&["value", "get", key]).stdout, bytes);
    }
    assert_eq!(
        server.json(&["value", "get", "file"])["value_base64"],
        "/wAKeAo="
    );
    std::fs::write(&file, vec![0; 64 * 1024 + 1]).unwrap();
    let refused = server.run(&put);
    assert_eq!(refused.status.code(), Some(64));
    assert!(stderr(&refused).contains("value: must have at most 65536 bytes"));
}

#[test]
fn a_watched_value_tells_what_happens_to_it() {
    let server = Server::start();
    let mut watch = spawn(server.command(&["value", "watch", "k", "--json"]));
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!(
        (&first["event"], &first["revision"]),
        (&"state".into(), &"0".into())
    );
    server.json(&["value", "put", "k", "one"]);
    let put = next();
    assert_eq!(
        (&put["event"], &put["value"]),
        (&"put".into(), &"one".into())
    );
    server.json(&["value", "delete", "k"]);
    assert_eq!(next()["event"], "deleted");
    signal(&watch, "-INT");
    watch.wait().unwrap();
}

#[test]
fn a_callback_is_subscribed_looked_at_and_given_up() {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/turn", receiver.local_addr().unwrap());
    let server = Server::start_with(&[
        "--store",
        "memory",
        "--listen",
        "127.0.0.1:0",
        "--webhook-allow",
        "127.0.0.0/8",
    ]);
    let secret = server.run(&["webhook", "secret"]);
    assert!(stdout(&secret).starts_with("whsec_"), "{secret:?}");
    assert_eq!(stdout(&server.run(&["webhook", "list"])), "no webhooks\n");
    server.json(&["lock", "acquire", "deploy"]);
    let subscribe = ["lock", "acquire", "deploy", "--callback", &url];

    let mut command = server.command(&subscribe);
    command
        .args(["--accept-timeout", "30s", "--wait", "10m", "--owner", "ci"])
        .env("HOLDFAST_CALLBACK_SECRET", stdout(&secret).trim());
    let subscribed = command.output().unwrap();
    assert!(subscribed.status.success(), "{}", stderr(&subscribed));
    let id = stdout(&subscribed).trim();
    assert!(id.starts_with("msg_"), "{id}");
    let seen = server.json(&["webhook", "get", id]);
    assert_eq!(
        (&seen["id"], &seen["state"]),
        (&id.into(), &"waiting".into())
    );
    assert_eq!(
        (&seen["lock"], &seen["url"]),
        (&"deploy".into(), &url.as_str().into())
    );
    let listed = server.json(&["webhook", "list"]);
    assert_eq!(listed["webhooks"][0], seen);
    let line = server.run(&["webhook", "list"]);
    assert!(stdout(&line).starts_with(&format!("{id} waiting lock=deploy attempts=0 url=")));

    assert_eq!(
        stdout(&server.run(&["webhook", "cancel", id])),
        "cancelled\n"
    );
    assert_eq!(server.json(&["webhook", "get", id])["state"], "cancelled");
    let again = server.run(&["webhook", "cancel", id, "--json"]);
    assert!(!again.status.success());
    assert!(
        stderr(&again).contains("WEBHOOK_NOT_WAITING"),
        "{}",
        stderr(&again)
    );

    for (args, names) in [
        (&["--callback", "http://10.0.0.1/"][..], "callback.url"),
        (
            &["--callback", &url, "--callback-secret", "x"],
            "callback.secret",
        ),
        (
            &["--callback", &url, "--accept-timeout", "soon"],
            "accept_timeout",
        ),
        (
            &["--callback", &url, "--accept-timeout", "1ms"],
            "accept_timeout",
        ),
        (&["--callback", &url, "--wait", "31d"], "wait"),
        (&["--callback", &url, "--wait", "0"], "held"),
        (&["--accept-timeout", "1m"], "--callback"),
    ] {
        let refused = server
            .command(&["lock", "acquire", "deploy"])
            .args(args)
            .output()
            .unwrap();
        assert!(!refused.status.success(), "{args:?}");
        assert!(
            stderr(&refused).contains(names),
            "{args:?}: {}",
            stderr(&refused)
        );
    }
}
