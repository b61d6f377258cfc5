//! `holdfast run`, from outside: what it runs, with what, and how it ends.

mod losses;
mod signals;
mod terminal;
mod waiting;

use std::path::{Path, PathBuf};

use super::*;

/// A directory for what commands write, that ends with the test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Waits until a file has a whole line, and gives it without its end.
    fn line(&self, name: &str) -> String {
        let path = self.path(name);
        wait_until(&format!("a line in {name}"), || {
            std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))
        });
        std::fs::read_to_string(&path)
            .unwrap()
            .trim_end()
            .to_owned()
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never saw {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process is there and no zombie.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with(['Z', 'X']))
}

fn wait_for_end(pid: &str) {
    wait_until(&format!("the end of {pid}"), || !is_alive(pid));
}

impl Server {
    fn wait_for_state(&self, lock: &str, state: &str) {
        wait_until(&format!("{lock} {state}"), || {
            self.json(&["lock", "get", lock])["state"] == state
        });
    }

    /// Runs `holdfast run` to its end.
    fn run_to_end(&self, args: &[&str]) -> Output {
        wait(self.run_in_background(args))
    }

    fn run_in_background(&self, args: &[&str]) -> Child {
        let mut command = self.command(&["run"]);
        command.args(args);
        spawn(command)
    }
}

#[test]
fn a_command_runs_while_the_lock_is_held_and_its_code_is_the_exit_code() {
    let server = Server::start();
    let script = "\"$HOLDFAST\" lock get deploy --json; exit 7";
    let mut command = server.command(&["run", "deploy", "--", "sh", "-c", script]);
    command.env("HOLDFAST", env!("CARGO_BIN_EXE_holdfast"));
    let output = wait(spawn(command));
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let lock: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&lock["state"], &lock["holder_count"]),
        (&"HELD".into(), &1.into())
    );
    assert_eq!(lock["holders"][0]["mode"], "EXCLUSIVE");
    assert_eq!(server.json(&["lock", "get", "deploy"])["state"], "FREE");
    assert_eq!(stderr(&output), "");
}

#[test]
fn no_session_is_left_behind() {
    let server = Server::start();
    assert!(server.run_to_end(&["x", "--", "true"]).status.success());
    let leases = server.json(&["lease", "list"]);
    assert_eq!(
        leases["leases"].as_array().map(Vec::len),
        Some(0),
        "{leases}"
    );
}

#[test]
fn a_signal_that_ended_the_command_is_in_the_exit_code() {
    let server = Server::start();
    // 34 is a real-time signal, which has no name.
    for (name, code) in [("TERM", 143), ("KILL", 137), ("34", 162)] {
        let script = format!("kill -{name} $$");
        let output = server.run_to_end(&["x", "--", "sh", "-c", &script]);
        assert_eq!(output.status.code(), Some(code), "{name}");
    }
}

#[test]
fn what_can_not_be_run_is_told_apart_and_the_lock_given_back() {
    let server = Server::start();
    for (program, code) in [("/no/such/command", 127), ("/etc/passwd", 126), ("/", 126)] {
        let output = server.run_to_end(&["x", "--", program]);
        assert_eq!(output.status.code(), Some(code), "{program}");
        let told = stderr(&output);
        assert!(
            told.starts_with(&format!("error: command: {program} can't be run: ")),
            "{told}"
        );
        assert_eq!(server.json(&["lock", "get", "x"])["state"], "FREE");
    }
}

#[test]
fn a_lock_that_was_not_had_is_75_or_what_was_asked_for() {
    let server = Server::start();
    server.json(&["lock", "acquire", "x", "--owner", "somebody"]);
    for (args, code) in [
        (&["--wait", "0s"][..], 75),
        (&["--wait", "50ms"], 75),
        (&["--wait", "0s", "-E", "0"], 0),
        (&["--wait", "0s", "--conflict-exit-code", "9"], 9),
    ] {
        let args = [&["x", "--quiet"], args, &["--", "touch", "/no/such/place"]].concat();
        let output = server.run_to_end(&args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(stderr(&output).contains("somebody"), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
}

#[test]
fn bad_usage_is_64_and_names_what_is_wrong() {
    let server = Server::start();
    for (args, named) in [
        (&[][..], "Usage"),
        (&["x"], "<COMMAND>"),
        (&["--", "true"], "<LOCK>"),
        (&["x", "--no-such-flag", "--", "true"], "--no-such-flag"),
        (&["x", "--ttl", "5", "--", "true"], "ttl"),
        (&["x", "--ttl", "1ms", "--", "true"], "ttl"),
        (&["x", "--wait", "soon", "--", "true"], "wait"),
        (&["x", "--grace", "60m", "--", "true"], "grace"),
        (&["x", "--max", "0", "--", "true"], "max"),
        (&["x", "--on-lost", "cry", "--", "true"], "on-lost"),
        (&["x", "--metadata", "a", "--", "true"], "metadata"),
        (&["x", "-E", "256", "--", "true"], "conflict-exit-code"),
        (&["x", "--fifo", "y", "--", "true"], "--fifo"),
        (&["--fifo", "y", "--shared", "--", "true"], "--shared"),
        (&["a\tb", "--", "true"], "lock"),
    ] {
        let output = server.run_to_end(args);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(named),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn help_says_every_exit_code_and_is_no_error() {
    let output = wait(spawn(command(&["run", "--help"])));
    assert_eq!(output.status.code(), Some(0));
    for code in ["64", "69", "75", "76", "77", "126", "127", "128+N"] {
        let line = format!("\n  {code} ");
        assert!(stdout(&output).contains(&line), "{code}");
    }
}

#[test]
fn every_example_of_the_help_is_a_command_line_that_can_be_read() {
    let help = wait(spawn(command(&["run", "--help"])));
    let (_, examples) = stdout(&help).split_once("Examples:\n").unwrap();
    let server = Server::start();
    let place = Place::new();
    for name in [
        "deploy.sh",
        "backup",
        "migrate",
        "train",
        "read",
        "put",
        "make",
    ] {
        let path = place.path(name);
        std::fs::write(&path, "#!/bin/sh\nexit 3\n").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut tried = 0;
    for example in examples.lines().filter(|line| !line.trim().is_empty()) {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", example])
            .current_dir(place.0.path())
            .env(
                "PATH",
                format!("{}:{}:{path}", place.text(""), bin.display()),
            )
            .env("HOLDFAST_ADDR", server.addr.to_string());
        let output = wait(spawn(shell));
        assert_eq!(
            output.status.code(),
            Some(3),
            "{example}: {}",
            stderr(&output)
        );
        tried += 1;
    }
    assert!(tried > 5, "only {tried} examples");
}

#[test]
fn a_server_that_is_not_there_is_69() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    drop(listener);
    let args = ["run", "x", "--addr", &addr, "--", "true"];
    let output = wait(spawn(command(&args)));
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(stderr(&output).contains(&addr), "{}", stderr(&output));
}

#[test]
fn what_answers_and_is_no_server_is_69_even_where_the_wait_has_no_end() {
    // It takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    for fifo in [false, true] {
        let what = if fifo { &["--fifo", "x"][..] } else { &["x"] };
        let options = ["--addr", &addr, "--timeout", "300ms", "--", "true"];
        let output = wait(spawn(command(&[&["run"], what, &options].concat())));
        assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    }
}

#[test]
fn a_token_that_the_server_does_not_take_is_77() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().to_str().unwrap();
    let make = [
        "token",
        "create",
        "--namespace",
        "default",
        "--data-dir",
        data,
    ];
    let made = command(&make).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let token = stdout(&made).trim().to_owned();
    let server = Server::start_with(&["--listen", "127.0.0.1:0", "--data-dir", data]);
    for (args, code) in [
        (&[][..], 77),
        (&["--token", "wrong"], 77),
        (&["--token", &token], 5),
    ] {
        let args = [&["x"], args, &["--", "sh", "-c", "exit 5"]].concat();
        let output = server.run_to_end(&args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn the_environment_tells_of_the_hold_and_overrides_what_was_inherited() {
    let server = Server::start();
    let mut command = server.command(&["run", "b", "a", "b", "--", "env", "-0"]);
    for name in ["LOCK", "FENCING_TOKEN", "LEASE_ID"] {
        command.env(format!("HOLDFAST_{name}"), "inherited");
    }
    let output = wait(spawn(command));
    let variable = |name: &str| {
        let name = format!("HOLDFAST_{name}=");
        let mut found = stdout(&output)
            .split('\0')
            .filter_map(|v| v.strip_prefix(&name));
        found.next().unwrap().to_owned()
    };
    assert_eq!(variable("LOCK"), "a\nb");
    let tokens = variable("FENCING_TOKEN");
    let tokens: Vec<u64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
    assert!(tokens.len() == 2 && tokens[0] < tokens[1], "{tokens:?}");
    assert_eq!(variable("LEASE_ID").len(), 36);
}

#[test]
fn standard_input_passes_through_unless_it_is_kept() {
    let server = Server::start();
    for (option, came) in [(None, "hello"), (Some("--no-stdin"), "")] {
        let mut command = server.command(&["run", "x"]);
        command
            .args(option)
            .args(["--", "cat"])
            .stdin(Stdio::piped());
        let mut child = spawn(command);
        let mut stdin = child.stdin.take().unwrap();
        // Nobody may be there to read it.
        let _ = stdin.write_all(b"hello");
        drop(stdin);
        assert_eq!(stdout(&wait(child)), came, "{option:?}");
    }
}

#[test]
fn no_shell_stands_between() {
    let server = Server::start();
    let output = server.run_to_end(&["x", "--", "printf", "%s|", "a b", "$HOME", "*", "--", "-x"]);
    assert_eq!(stdout(&output), "a b|$HOME|*|--|-x|");
}

#[test]
fn owner_and_metadata_are_what_is_asked_for_or_tell_where_it_runs() {
    let server = Server::start();
    let holder = |options: &[&str], variables: &[(&str, &str)]| {
        let mut command = server.command(&["run", "x"]);
        for name in [
            "GITHUB_SERVER_URL",
            "GITHUB_REPOSITORY",
            "GITHUB_RUN_ID",
            "BUILD_URL",
        ] {
            command.env_remove(name);
        }
        let get = [env!("CARGO_BIN_EXE_holdfast"), "lock", "get", "x", "--json"];
        command
            .args(options)
            .arg("--")
            .args(get)
            .envs(variables.iter().copied());
        let child = spawn(command);
        let pid = child.id();
        let lock: Value = serde_json::from_slice(&wait(child).stdout).unwrap();
        (lock["holders"][0].clone(), pid)
    };
    let (default, pid) = holder(&[], &[]);
    let owner = default["owner"].as_str().unwrap();
    assert!(
        owner.contains('@') && owner.ends_with(&format!(":{pid}")),
        "{owner}"
    );
    let (jenkins, _) = holder(&[], &[("BUILD_URL", "https://ci/job/a/7/")]);
    assert_eq!(jenkins["owner"], "https://ci/job/a/7/");
    let (named, _) = holder(
        &["--owner", "me", "--metadata", "a=1", "--metadata", "b=2=3"],
        &[("BUILD_URL", "https://ci/job/a/7/")],
    );
    assert_eq!(named["owner"], "me");
    assert_eq!(named["metadata"], serde_json::json!({"a": "1", "b": "2=3"}));
}

#[test]
fn what_the_command_leaves_behind_ends_before_the_lock_is_given_back() {
    let server = Server::start();
    let place = Place::new();
    let pid = place.text("pid");
    // The one that is left ignores TERM.
    let script = format!(
        "sh -c 'trap \"\" TERM; echo $$ > {pid}; while :; do sleep 0.05; done' & \
         while [ ! -s {pid} ]; do sleep 0.01; done; exit 4"
    );
    let child = server.run_in_background(&["x", "--grace", "300ms", "--", "sh", "-c", &script]);
    let left = place.line("pid");
    let output = wait(child);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(!is_alive(&left));
    assert_eq!(server.json(&["lock", "get", "x"])["state"], "FREE");
}

#[test]
fn a_wrapper_that_is_killed_takes_the_command_and_its_children_along() {
    let server = Server::start();
    for (stopped, script) in [(false, "true"), (true, "kill -STOP $$")] {
        let place = Place::new();
        let (child, grandchild) = (place.text("child"), place.text("grandchild"));
        // The grandchild ignores TERM, and outlives its parent.
        let script = format!(
            "sh -c 'trap \"\" TERM; echo $$ > {grandchild}; while :; do sleep 0.05; done' & \
             while [ ! -s {grandchild} ]; do sleep 0.01; done; echo $$ > {child}; {script}; \
             while :; do sleep 0.05; done"
        );
        let args = [
            "x", "--grace", "200ms", "--ttl", "1s", "--", "sh", "-c", &script,
        ];
        let mut wrapper = server.run_in_background(&args);
        let pids = [place.line("child"), place.line("grandchild")];
        if stopped {
            let stat = format!("/proc/{}/stat", pids[0]);
            wait_until("a stopped command", || {
                std::fs::read_to_string(&stat).unwrap().contains(") T ")
            });
        }
        assert!(pids.iter().all(|pid| is_alive(pid)));
        wrapper.kill().unwrap();
        wrapper.wait().unwrap();
        pids.iter().for_each(|pid| wait_for_end(pid));
        server.wait_for_state("x", "FREE");
    }
}

/// The processes that a process has started and that are there still.
fn children(pid: u32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|process| process.file_name().into_string().ok());
    let parent = format!(" {pid} ");
    pids.filter(|child| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
        // Behind the name and the state.
        stat.is_ok_and(|stat| stat.rsplit_once(')').unwrap().1[2..].starts_with(&parent))
    })
    .collect()
}

#[test]
fn a_wrapper_that_is_killed_while_it_waits_leaves_nothing_behind() {
    let server = Server::start();
    server.json(&["lock", "acquire", "x"]);
    let mut wrapper = server.run_in_background(&["x", "--ttl", "500ms", "--", "true"]);
    server.wait_for_waiters("x", 1);
    let guardian = children(wrapper.id());
    assert_eq!(guardian.len(), 1, "{guardian:?}");
    wrapper.kill().unwrap();
    wrapper.wait().unwrap();
    wait_for_end(&guardian[0]);
    server.wait_for_waiters("x", 0);
}

#[test]
fn the_command_has_no_more_open_files_than_it_was_given() {
    let server = Server::start();
    let output = server.run_to_end(&["x", "--", "ls", "/proc/self/fd"]);
    let mut directly = Command::new("ls");
    let directly = directly.arg("/proc/self/fd").stdin(Stdio::null()).output();
    assert_eq!(stdout(&output), stdout(&directly.unwrap()));
}

#[test]
fn several_locks_are_taken_in_the_order_of_their_names() {
    let server = Server::start();
    let held = server.json(&["lock", "acquire", "b"]);
    let child = server.run_in_background(&["c", "b", "a", "--", "true"]);
    server.wait_for_waiters("b", 1);
    assert_eq!(server.json(&["lock", "get", "a"])["state"], "HELD");
    assert_eq!(server.json(&["lock", "get", "c"])["state"], "FREE");
    let token = held["grant_token"].as_str().unwrap();
    server.json(&["lock", "release", "b", "--grant-token", token]);
    assert!(wait(child).status.success());
    for lock in ["a", "b", "c"] {
        assert_eq!(server.json(&["lock", "get", lock])["state"], "FREE");
    }
}

#[test]
fn where_one_of_several_locks_is_not_had_none_is_kept() {
    let server = Server::start();
    server.json(&["lock", "acquire", "b"]);
    let output = server.run_to_end(&["a", "b", "--wait", "50ms", "--", "true"]);
    assert_eq!(output.status.code(), Some(75));
    assert_eq!(server.json(&["lock", "get", "a"])["state"], "FREE");
}

#[test]
fn shared_holders_hold_together_and_no_more_than_asked_for() {
    let server = Server::start();
    for option in [&["--shared"][..], &["--max", "2"]] {
        let place = Place::new();
        let release = place.text("release");
        let script = format!("echo go; while [ ! -e {release} ]; do sleep 0.01; done");
        let args = [&["x"], option, &["--", "sh", "-c", &script]].concat();
        let holders = [
            server.run_in_background(&args),
            server.run_in_background(&args),
        ];
        wait_until("two holders", || {
            server.json(&["lock", "get", "x"])["holder_count"] == 2
        });
        let third = [&["x"], option, &["--wait", "0s", "--", "true"]].concat();
        let bounded = option.len() == 2;
        let code = if bounded { 75 } else { 0 };
        assert_eq!(
            server.run_to_end(&third).status.code(),
            Some(code),
            "{option:?}"
        );
        let alone = server.run_to_end(&["x", "--wait", "0s", "--", "true"]);
        assert_eq!(alone.status.code(), Some(75));
        std::fs::write(&release, "").unwrap();
        for holder in holders {
            assert!(wait(holder).status.success());
        }
    }
}
