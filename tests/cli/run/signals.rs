//! Signals: passed on to the command, and ending the waiting.

use super::*;

const FORWARDED: [(&str, i32); 6] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
];

#[test]
fn each_signal_is_passed_on_to_all_in_the_group() {
    let server = Server::start();
    for (name, _) in FORWARDED {
        let place = Place::new();
        let (ready, child, grandchild) = (
            place.text("ready"),
            place.text("child"),
            place.text("grandchild"),
        );
        // In the foreground of its parent: in the background it would ignore INT and QUIT.
        let script = format!(
            "trap 'echo {name} > {child}; exit 5' {name}; \
             sh -c 'trap \"echo {name} > {grandchild}; exit\" {name}; \
                    echo ready > {ready}; while :; do sleep 0.02; done'; exit 9"
        );
        let run = server.run_in_background(&["x", "--", "sh", "-c", &script]);
        place.line("ready");
        signal(&run, &format!("-{name}"));
        let output = wait(run);
        assert_eq!(output.status.code(), Some(5), "{name}: {}", stderr(&output));
        assert_eq!(
            (place.line("child"), place.line("grandchild")),
            (name.into(), name.into())
        );
    }
}

#[test]
fn a_command_that_a_signal_ends_gives_the_code_of_that() {
    let server = Server::start();
    for (name, number) in FORWARDED {
        let place = Place::new();
        let script = format!("echo ready > {}; exec sleep 60", place.text("ready"));
        let run = server.run_in_background(&["x", "--", "sh", "-c", &script]);
        place.line("ready");
        signal(&run, &format!("-{name}"));
        assert_eq!(wait(run).status.code(), Some(128 + number), "{name}");
        assert_eq!(server.json(&["lock", "get", "x"])["state"], "FREE");
    }
}

#[test]
fn each_signal_ends_the_waiting_and_leaves_the_line() {
    let server = Server::start();
    server.json(&["lock", "acquire", "b"]);
    for (name, number) in FORWARDED {
        let run = server.run_in_background(&["a", "b", "--", "true"]);
        server.wait_for_waiters("b", 1);
        signal(&run, &format!("-{name}"));
        assert_eq!(wait(run).status.code(), Some(128 + number), "{name}");
        assert_eq!(server.json(&["lock", "get", "b"])["waiters"], 0);
        assert_eq!(server.json(&["lock", "get", "a"])["state"], "FREE");
    }
}

#[test]
fn a_signal_while_waiting_for_a_turn_takes_the_ticket_back() {
    let server = Server::start();
    server.json(&["fifo", "create", "line"]);
    server.json(&["fifo", "ticket", "line"]);
    let run = server.run_in_background(&["--fifo", "line", "--", "true"]);
    let tickets = || {
        let fifo = server.json(&["fifo", "get", "line"]);
        fifo["tickets"].as_array().map_or(0, Vec::len)
    };
    wait_until("its ticket", || tickets() == 2);
    signal(&run, "-INT");
    assert_eq!(wait(run).status.code(), Some(130));
    assert_eq!(tickets(), 1);
}

#[test]
fn a_signal_ends_the_search_for_a_server_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let run = spawn(command(&["run", "x", "--addr", &addr, "--", "true"]));
    // Once it has connected it listens for signals.
    let (_connection, _) = listener.accept().unwrap();
    signal(&run, "-TERM");
    assert_eq!(wait(run).status.code(), Some(143));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_so() {
    let server = Server::start();
    let place = Place::new();
    let ready = place.text("ready");
    let script = format!("echo ready > {ready}; grep SigIgn /proc/self/status; sleep 0.3; exit 6");
    let mut nohup = Command::new("sh");
    let run = format!(
        "trap '' HUP; exec {} run x -- sh -c '{script}'",
        env!("CARGO_BIN_EXE_holdfast")
    );
    nohup
        .args(["-c", &run])
        .env("HOLDFAST_ADDR", server.addr.to_string());
    let run = spawn(nohup);
    place.line("ready");
    signal(&run, "-HUP");
    let output = wait(run);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    let mask = stdout(&output).trim().rsplit_once('\t').unwrap().1;
    assert_eq!(u64::from_str_radix(mask, 16).unwrap() & 1, 1, "{mask}");
}

#[test]
fn the_command_begins_with_no_signal_blocked() {
    let server = Server::start();
    let output = server.run_to_end(&["x", "--", "grep", "SigBlk", "/proc/self/status"]);
    assert_eq!(stdout(&output), "SigBlk:\t0000000000000000\n");
}
