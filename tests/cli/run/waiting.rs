//! Waiting for a lock or a turn: what is told, and FIFOs.

use super::*;

/// Reads what a command tells on stderr, line by line.
fn lines(child: &mut Child) -> std::sync::mpsc::Receiver<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in stderr.lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn who_waits_is_told_its_place_and_who_holds_whenever_that_changes() {
    let server = Server::start();
    let first = server.json(&["lock", "acquire", "x", "--owner", "alice"]);
    let ahead = server.run_in_background(&["x", "--owner", "bob", "--", "cat"]);
    server.wait_for_waiters("x", 1);
    let mut child = server.run_in_background(&["x", "--", "true"]);
    let told = lines(&mut child);
    let next = || told.recv_timeout(PATIENCE).unwrap();
    let line = next();
    assert!(
        line.starts_with("waiting for x: number 2 in line, held by alice for "),
        "{line}"
    );
    let token = first["grant_token"].as_str().unwrap();
    server.json(&["lock", "release", "x", "--grant-token", token]);
    drop(ahead);
    let rest: Vec<String> = told.iter().collect();
    let last = rest.last().unwrap();
    assert!(last.starts_with("got x after "), "{rest:?}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn events_are_lines_of_json_where_that_is_asked_for() {
    let server = Server::start();
    let held = server.json(&["lock", "acquire", "x", "--owner", "alice"]);
    let mut child = server.run_in_background(&["x", "--json", "--", "true"]);
    let told = lines(&mut child);
    let next = || -> Value { serde_json::from_str(&told.recv_timeout(PATIENCE).unwrap()).unwrap() };
    let queued = next();
    assert_eq!(queued["event"], "queued");
    assert_eq!(
        (&queued["lock"], &queued["position"]),
        (&"x".into(), &1.into())
    );
    assert_eq!(queued["holders"][0]["owner"], "alice");
    assert_eq!(queued["holders"][0]["fencing_token"], held["fencing_token"]);
    let token = held["grant_token"].as_str().unwrap();
    server.json(&["lock", "release", "x", "--grant-token", token]);
    let got = next();
    assert_eq!(
        (&got["event"], &got["lock"]),
        (&"acquired".into(), &"x".into())
    );
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_error_is_json_too() {
    let server = Server::start();
    server.json(&["lock", "acquire", "x"]);
    let output = server.run_to_end(&["x", "--wait", "0s", "--json", "--", "true"]);
    let error: Value = serde_json::from_str(stderr(&output)).unwrap();
    assert_eq!(error["error"]["reason"], "LOCK_HELD");
}

#[test]
fn nothing_is_told_where_that_is_asked_for() {
    let server = Server::start();
    let held = server.json(&["lock", "acquire", "x"]);
    let child = server.run_in_background(&["x", "--quiet", "--", "true"]);
    server.wait_for_waiters("x", 1);
    let token = held["grant_token"].as_str().unwrap();
    server.json(&["lock", "release", "x", "--grant-token", token]);
    let output = wait(child);
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_restart_of_the_server_costs_a_waiter_nothing_but_time() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().to_str().unwrap();
    let server = Server::start_with(&["--listen", "127.0.0.1:0", "--data-dir", data]);
    let addr = server.addr;
    server.json(&["lock", "acquire", "x", "--ttl", "1s"]);
    let child = server.run_in_background(&["x", "--", "sh", "-c", "exit 3"]);
    server.wait_for_waiters("x", 1);
    server.kill();
    let again = ["--listen", &addr.to_string(), "--data-dir", data];
    let _server = Server::start_with(&again);
    let output = wait(child);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_ticket_is_taken_kept_and_done() {
    let server = Server::start();
    let place = Place::new();
    let (started, release) = (place.text("started"), place.text("release"));
    let script = format!(
        "echo \"$HOLDFAST_FIFO $HOLDFAST_TICKET\" > {started}; \
         while [ ! -e {release} ]; do sleep 0.01; done; exit 3"
    );
    let run = [
        "--fifo", "line", "--owner", "first", "--ttl", "1s", "--grace", "0s",
    ];
    let first = server.run_in_background(&[&run[..], &["--", "sh", "-c", &script]].concat());
    let told = place.line("started");
    let (fifo, ticket) = told.split_once(' ').unwrap();
    assert_eq!((fifo, ticket.len()), ("line", 36));
    // The FIFO that was not there has been made, and tickets may have times of their own.
    let made = server.json(&["fifo", "get", "line"]);
    assert_eq!(made["allow_overrides"], true, "{made}");
    assert_eq!(made["tickets"][0]["owner"], "first");

    let tried = server.run_to_end(&["--fifo", "line", "--wait", "0s", "--", "true"]);
    assert_eq!(tried.status.code(), Some(75), "{}", stderr(&tried));
    let waited = server.run_to_end(&["--fifo", "line", "--wait", "2500ms", "--", "true"]);
    // So long the first has kept its turn, of a second or two.
    assert_eq!(waited.status.code(), Some(75), "{}", stderr(&waited));
    assert!(
        stderr(&waited).contains("number 1 in line, held by first for "),
        "{}",
        stderr(&waited)
    );
    let tickets = server.json(&["fifo", "get", "line"])["tickets"].clone();
    assert_eq!(tickets.as_array().map(Vec::len), Some(1), "{tickets}");

    std::fs::write(&release, "").unwrap();
    assert_eq!(wait(first).status.code(), Some(3));
    let tickets = server.json(&["fifo", "get", "line"])["tickets"].clone();
    assert_eq!(tickets.as_array().map_or(0, Vec::len), 0, "{tickets}");
    let next = server.run_to_end(&["--fifo", "line", "--wait", "0s", "--", "true"]);
    assert!(next.status.success(), "{}", stderr(&next));
}

#[test]
fn tickets_have_their_turns_in_order() {
    let server = Server::start();
    let place = Place::new();
    let (log, release) = (place.text("log"), place.text("release"));
    let first = format!("while [ ! -e {release} ]; do sleep 0.01; done; echo 0 >> {log}");
    let mut runs = vec![server.run_in_background(&["--fifo", "line", "--", "sh", "-c", &first])];
    for number in 1..5 {
        wait_until("the ticket before", || {
            let output = server.run(&["fifo", "get", "line", "--json"]);
            let fifo: Option<Value> = serde_json::from_slice(&output.stdout).ok();
            fifo.is_some_and(|fifo| fifo["tickets"].as_array().map(Vec::len) == Some(number))
        });
        let script = format!("echo {number} >> {log}");
        runs.push(server.run_in_background(&["--fifo", "line", "--", "sh", "-c", &script]));
    }
    wait_until("all tickets", || {
        server.json(&["fifo", "get", "line"])["tickets"]
            .as_array()
            .map(Vec::len)
            == Some(5)
    });
    std::fs::write(&release, "").unwrap();
    for run in runs {
        assert!(wait(run).status.success());
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "0\n1\n2\n3\n4\n");
}
