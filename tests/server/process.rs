//! The binary as a process: its signals, its exit codes, and where its settings come from.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};

/// `holdfast` without any setting of whoever runs the tests.
fn holdfast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOLDFAST_")) {
        command.env_remove(name);
    }
    command
}

struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    address: SocketAddr,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
            if let Some((_, address)) = line.split_once("listening on http://") {
                let end = address.find(['"', ' ', '\n']).unwrap_or(address.len());
                break address[..end].parse().unwrap();
            }
        };
        Running {
            child,
            log,
            address,
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Its exit code and the rest of its log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

fn throw_away() -> Command {
    let mut command = holdfast();
    command.args(["serve", "--store", "memory", "--listen", "127.0.0.1:0"]);
    command
}

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_signal_stops_it_well() {
    for signal in ["TERM", "INT"] {
        let server = Running::start(&mut throw_away());
        server.signal(signal);
        let (code, log) = server.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (second, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = Running::start(throw_away().args(["--shutdown-deadline", "1h"]));
        let mut half = TcpStream::connect(server.address).unwrap();
        half.write_all(b"POST /api/v1/locks/half/acquire HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
            .unwrap();
        half.read_exact(&mut [0; 25]).unwrap();
        server.signal("TERM");
        let mut line = String::new();
        while !line.contains("stopping") {
            line.clear();
            assert_ne!(server.log.read_line(&mut line).unwrap(), 0, "it ended");
        }
        server.signal(second);
        assert_eq!(server.end().0, Some(code));
    }
}

#[test]
fn a_flag_comes_before_the_environment_and_that_before_the_file() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("holdfast.toml");
    std::fs::write(&file, "listen = \"file\"\nstore = \"memory\"").unwrap();
    let mut command = holdfast();
    command.arg("serve").env("HOLDFAST_CONFIG", &file);
    let error = failed(&command.output().unwrap());
    assert!(error.contains("is \"file\""), "{error}");
    let error = failed(&command.env("HOLDFAST_LISTEN", "env").output().unwrap());
    assert!(error.contains("is \"env\""), "{error}");
    let error = failed(&command.args(["--listen", "flag"]).output().unwrap());
    assert!(error.contains("is \"flag\""), "{error}");
}

#[test]
fn it_says_where_it_keeps_its_data_and_logs_no_token() {
    let home = tempfile::tempdir().unwrap();
    let mut command = holdfast();
    command
        .args(["token", "create", "--namespace", "ci", "--name", "one"])
        .env("HOME", home.path())
        .env_remove("XDG_DATA_HOME");
    let made = command.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert!(token.starts_with("hf_"), "{token}");

    let mut serve = holdfast();
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--log", "trace"])
        .args(["--log-format", "json"])
        .env("HOME", home.path())
        .env_remove("XDG_DATA_HOME");
    let mut child = serve.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("listening on http://") {
        assert_ne!(log.read_line(&mut lines).unwrap(), 0, "it ended: {lines}");
    }
    let place = home.path().join(".local/share/holdfast");
    assert!(lines.contains(&place.display().to_string()), "{lines}");
    let after = lines.split_once("listening on http://").unwrap().1;
    let address: SocketAddr = after[..after.find('"').unwrap()].parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "POST /api/v1/locks/x/acquire HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let grant = answer.split_once("\"grant_token\":\"").unwrap().1;
    let grant = &grant[..grant.find('"').unwrap()];
    let running = Running {
        child,
        log,
        address,
    };
    running.signal("TERM");
    let (code, rest) = running.end();
    assert_eq!(code, Some(0));
    for line in lines.lines().chain(rest.lines()) {
        assert!(line.starts_with('{'), "{line}");
        assert!(!line.contains(&token) && !line.contains(grant), "{line}");
    }
}

#[test]
fn the_life_of_a_token_on_the_command_line() {
    let temp = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = holdfast();
        command.arg("token").args(args);
        command.arg("--data-dir").arg(temp.path()).output().unwrap()
    };
    let made = run(&[
        "create",
        "--namespace",
        "ci",
        "--role",
        "admin",
        "--name",
        "one",
        "--json",
    ]);
    assert!(made.status.success());
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let token = made["token"].as_str().unwrap();
    let list = run(&["list"]);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(text.contains(made["id"].as_str().unwrap()), "{text}");
    assert!(
        text.contains("admin") && text.contains("ci") && text.contains("one"),
        "{text}"
    );
    assert!(!text.contains(token), "{text}");
    let stored = std::fs::read_to_string(temp.path().join("tokens.toml")).unwrap();
    assert!(!stored.contains(token), "{stored}");
    assert!(failed(&run(&["create", "--namespace", "ci", "--name", "one"])).contains("one"));
    assert!(failed(&run(&["create", "--namespace", ""])).contains("namespace"));
    assert!(run(&["revoke", "one"]).status.success());
    assert!(failed(&run(&["revoke", "one"])).contains("one"));
}

#[test]
fn bad_usage_is_2() {
    for args in [
        &["serve", "--stoer", "memory"][..],
        &["serve", "--default-ttl", "1M"],
        &[],
    ] {
        let output = holdfast().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
