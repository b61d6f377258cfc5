//! Locks that are lost while the command runs.

use super::*;

/// A command that says when it has begun, then notes that TERM came and goes on or ends.
fn noting_term(place: &Place, then: &str) -> String {
    let (ready, term) = (place.text("ready"), place.text("term"));
    format!(
        "trap 'echo term > {term}; {then}' TERM; echo $$ > {ready}; while :; do sleep 0.02; done"
    )
}

/// Whether a line was told, beside what shells say of their children.
fn tells(output: &Output, line: &str) -> bool {
    stderr(output).lines().any(|told| told == line)
}

fn force_release(server: &Server, lock: &str) {
    let forced = server.run(&["lock", "force-release", lock]);
    assert!(forced.status.success(), "{}", stderr(&forced));
}

/// Runs a command that is [`noting_term`] to its end, of which the server knows nothing.
fn lost_without_a_server(server: &Server, place: &Place, args: &[&str]) -> Output {
    let run = server.run_in_background(args);
    place.line("ready");
    signal(&server.process, "-STOP");
    place.line("term");
    let output = wait(run);
    signal(&server.process, "-CONT");
    assert_eq!(output.status.code(), Some(76), "{}", stderr(&output));
    output
}

#[test]
fn a_lost_lock_ends_the_command_by_term_and_is_told_even_where_it_ended_well() {
    let server = Server::start();
    let place = Place::new();
    let run = server.run_in_background(&["x", "--", "sh", "-c", &noting_term(&place, "exit 0")]);
    place.line("ready");
    force_release(&server, "x");
    let output = wait(run);
    assert_eq!(output.status.code(), Some(76), "{}", stderr(&output));
    assert_eq!(place.line("term"), "term");
    assert!(tells(&output, "error: the lock x was lost (forced)"));
}

#[test]
fn what_ignores_term_is_killed_after_the_grace_with_its_children() {
    let server = Server::start();
    let place = Place::new();
    let grandchild = place.text("grandchild");
    let script = format!(
        "sh -c 'trap \"\" TERM; echo $$ > {grandchild}; while :; do sleep 0.02; done' & {}",
        noting_term(&place, ":")
    );
    let args = ["x", "--grace", "400ms", "--json", "--", "sh", "-c", &script];
    let run = server.run_in_background(&args);
    let pids = [place.line("ready"), place.line("grandchild")];
    force_release(&server, "x");
    let lost = Instant::now();
    place.line("term");
    assert!(pids.iter().all(|pid| is_alive(pid)) || lost.elapsed() > Duration::from_millis(400));
    let output = wait(run);
    assert_eq!(output.status.code(), Some(76), "{}", stderr(&output));
    assert!(!pids.iter().any(|pid| is_alive(pid)));
    let mut events = stderr(&output)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let lost = serde_json::json!({"event": "lost", "lock": "x", "cause": "forced"});
    assert!(
        events.any(|event: Value| event == lost),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_child_that_ignores_term_ends_within_the_grace_of_one_that_heeds_it() {
    let server = Server::start();
    let place = Place::new();
    let grandchild = place.text("grandchild");
    let script = format!(
        "sh -c 'trap \"\" TERM; echo $$ > {grandchild}; while :; do sleep 0.02; done' & {}",
        noting_term(&place, "exit 0")
    );
    let run = server.run_in_background(&["x", "--grace", "200ms", "--", "sh", "-c", &script]);
    place.line("ready");
    let grandchild = place.line("grandchild");
    force_release(&server, "x");
    assert_eq!(wait(run).status.code(), Some(76));
    assert!(!is_alive(&grandchild));
}

#[test]
fn on_lost_says_what_becomes_of_the_command() {
    let server = Server::start();
    for (on_lost, code) in [("kill", None), ("ignore", Some("done"))] {
        let place = Place::new();
        let (go, done) = (place.text("go"), place.text("done"));
        let script = format!(
            "trap 'echo term > {}' TERM; echo $$ > {}; \
             while [ ! -e {go} ]; do sleep 0.02; done; echo done > {done}",
            place.text("term"),
            place.text("ready"),
        );
        let args = [
            "x",
            "--quiet",
            "--on-lost",
            on_lost,
            "--",
            "sh",
            "-c",
            &script,
        ];
        let mut run = server.run_in_background(&args);
        place.line("ready");
        force_release(&server, "x");
        if code.is_some() {
            let mut told = String::new();
            let stderr = run.stderr.as_mut().unwrap();
            BufReader::new(stderr).read_line(&mut told).unwrap();
            assert_eq!(told, "error: the lock x was lost (forced)\n");
            std::fs::write(&go, "").unwrap();
        }
        assert_eq!(wait(run).status.code(), Some(76), "{on_lost}");
        assert!(!place.path("term").exists());
        assert_eq!(place.path("done").exists(), code.is_some());
    }
}

#[test]
fn a_lock_is_lost_by_the_clients_own_reckoning_where_the_server_says_nothing() {
    let server = Server::start();
    let place = Place::new();
    let script = noting_term(&place, "exit 0");
    let args = [
        "x",
        "--ttl",
        "1s",
        "--timeout",
        "500ms",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let output = lost_without_a_server(&server, &place, &args);
    assert!(tells(&output, "error: the lock x was lost (expired)"));
}

#[test]
fn one_of_several_locks_is_enough_to_lose() {
    let server = Server::start();
    let place = Place::new();
    let script = noting_term(&place, "exit 0");
    let run = server.run_in_background(&["a", "b", "--", "sh", "-c", &script]);
    place.line("ready");
    force_release(&server, "b");
    assert_eq!(wait(run).status.code(), Some(76));
    assert_eq!(server.json(&["lock", "get", "a"])["state"], "FREE");
}

#[test]
fn a_turn_that_somebody_ended_is_lost() {
    let server = Server::start();
    let place = Place::new();
    let script = format!(
        "echo \"$HOLDFAST_TICKET\" > {}; while :; do sleep 0.02; done",
        place.text("ticket")
    );
    let args = [
        "--fifo", "line", "--ttl", "400ms", "--grace", "100ms", "--", "sh", "-c", &script,
    ];
    let run = server.run_in_background(&args);
    let ticket = place.line("ticket");
    server.json(&["fifo", "cancel", "line", &ticket]);
    let output = wait(run);
    assert_eq!(output.status.code(), Some(76), "{}", stderr(&output));
    assert!(
        stderr(&output).starts_with("error: the turn in line was lost ("),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_turn_is_lost_while_there_is_time_left_to_end_the_command() {
    let server = Server::start();
    let place = Place::new();
    let script = noting_term(&place, "exit 0");
    let args = [
        "--fifo",
        "line",
        "--ttl",
        "1s",
        "--grace",
        "1s",
        "--timeout",
        "300ms",
        "--",
        "sh",
        "-c",
        &script,
    ];
    lost_without_a_server(&server, &place, &args);
    // The turn is three seconds long, and two of them are for the command's end.
    let fifo = server.json(&["fifo", "get", "line"]);
    let left = fifo["tickets"][0]["lapses_in"].as_f64();
    assert!(left.is_some_and(|left| left > 0.0), "{fifo}");
}

#[test]
fn a_server_that_is_gone_at_the_end_does_not_change_how_the_command_ended() {
    let server = Server::start();
    let place = Place::new();
    let (ready, go) = (place.text("ready"), place.text("go"));
    let script = format!("echo ready > {ready}; while [ ! -e {go} ]; do sleep 0.02; done; exit 3");
    let args = ["x", "--timeout", "500ms", "--", "sh", "-c", &script];
    let run = server.run_in_background(&args);
    place.line("ready");
    server.kill();
    std::fs::write(&go, "").unwrap();
    let output = wait(run);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(
        stderr(&output).starts_with("warning: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_server_that_comes_back_in_time_costs_the_command_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().to_str().unwrap();
    let server = Server::start_with(&["--listen", "127.0.0.1:0", "--data-dir", data]);
    let addr = server.addr.to_string();
    let place = Place::new();
    let (ready, go) = (place.text("ready"), place.text("go"));
    let script = format!("echo ready > {ready}; while [ ! -e {go} ]; do sleep 0.02; done; exit 3");
    let run = server.run_in_background(&["x", "--", "sh", "-c", &script]);
    place.line("ready");
    server.kill();
    let server = Server::start_with(&["--listen", &addr, "--data-dir", data]);
    std::fs::write(&go, "").unwrap();
    let output = wait(run);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    assert_eq!(server.json(&["lock", "get", "x"])["state"], "FREE");
}

/// A lost lock goes on only when nothing of the command that had it lives any more.
#[test]
fn the_next_command_begins_when_nothing_of_the_lost_one_lives() {
    let server = Server::start();
    for killed in [false, true] {
        let place = Place::new();
        let script = noting_term(&place, ":");
        let args = [
            "x", "--ttl", "1s", "--grace", "500ms", "--", "sh", "-c", &script,
        ];
        let mut run = server.run_in_background(&args);
        let pid = place.line("ready");
        // What nobody has waited for yet is gone all the same.
        let script = format!(
            "case $(cat /proc/{pid}/stat 2> /dev/null) in '' | *') Z '*) echo is gone ;; *) echo lives ;; esac"
        );
        let next = server.run_in_background(&["x", "--", "sh", "-c", &script]);
        server.wait_for_waiters("x", 1);
        if killed {
            run.kill().unwrap();
            run.wait().unwrap();
        } else {
            force_release(&server, "x");
            server.wait_for_state("x", "HELD_BACK");
            assert_eq!(wait(run).status.code(), Some(76));
        }
        let next = wait(next);
        assert_eq!(String::from_utf8_lossy(&next.stdout), "is gone\n");
        assert!(next.status.success(), "{}", stderr(&next));
    }
}
