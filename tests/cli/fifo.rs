//! `holdfast fifo` against a real server.

use super::*;

/// Takes a ticket and gives its id.
fn ticket(server: &Server, fifo: &str) -> String {
    let made = server.run(&["fifo", "ticket", fifo]);
    assert!(made.status.success(), "{}", stderr(&made));
    stdout(&made).trim_end().to_owned()
}

#[test]
fn a_script_stands_in_line_and_is_served_in_turn() {
    let server = Server::start();
    let made = server.run(&["fifo", "create", "deploys"]);
    assert_eq!(stdout(&made), "deploys\n");
    let first = ticket(&server, "deploys");
    let second = ticket(&server, "deploys");
    let ready = server.json(&["fifo", "wait", "deploys", &first]);
    assert_eq!(ready["state"], "ACCEPTED");

    let mut waiting = spawn(server.command(&["fifo", "wait", "deploys", &second, "--wait", "1h"]));
    let mut news = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    news.read_line(&mut line).unwrap();
    assert_eq!(line, "waiting for deploys: number 1 in line\n");
    let longer = ["fifo", "extend", "deploys", &first, "--done-timeout", "1h"];
    assert!(server.json(&longer)["lapses_in"].as_f64().unwrap() > 3500.0);
    assert_eq!(
        server.json(&["fifo", "done", "deploys", &first])["completed"],
        true
    );
    let output = wait(waiting);
    assert!(output.status.success());
    assert!(stdout(&output).contains("ACCEPTED"), "{}", stdout(&output));

    let again = server.run(&["fifo", "done", "deploys", &first]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("TICKET_NOT_FOUND"));
    let by_stdin = server
        .command(&["fifo", "cancel", "deploys"])
        .env("HOLDFAST_TICKET", &second)
        .output()
        .unwrap();
    assert_eq!(stdout(&by_stdin), "cancelled\n", "{}", stderr(&by_stdin));
}

#[test]
fn a_turn_that_does_not_come_has_a_code_of_its_own_and_ctrl_c_keeps_the_place() {
    let server = Server::start();
    server.json(&["fifo", "create", "x"]);
    ticket(&server, "x");
    let second = ticket(&server, "x");
    let late = server.run(&["fifo", "wait", "x", &second, "--wait", "0"]);
    assert_eq!(late.status.code(), Some(75), "{}", stderr(&late));
    assert!(stderr(&late).contains("TURN_TIMED_OUT"));

    let mut waiting = spawn(server.command(&["fifo", "wait", "x", &second]));
    let mut news = BufReader::new(waiting.stderr.take().unwrap());
    news.read_line(&mut String::new()).unwrap();
    signal(&waiting, "-INT");
    assert_eq!(wait(waiting).status.code(), Some(130));
    let line = server.json(&["fifo", "get", "x"]);
    assert_eq!(line["waiting_count"], 1);
}

#[test]
fn fifos_and_their_tickets_are_shown_listed_and_deleted() {
    let server = Server::start();
    server.json(&[
        "fifo",
        "create",
        "a/1",
        "--concurrency",
        "2",
        "--wait-timeout",
        "0",
    ]);
    server.json(&["fifo", "create", "b"]);
    let made = server.json(&["fifo", "create"]);
    assert_eq!(made["id"].as_str().unwrap().len(), 36);
    let args = [
        "fifo",
        "ticket",
        "a/1",
        "--owner",
        "ci-42",
        "--metadata",
        "job=7",
    ];
    let made = server.json(&args);
    assert_eq!(made["state"], "NOTIFIED");
    assert!(made.get("wait_timeout").is_none());
    let listed = server.json(&["fifo", "list", "--prefix", "a/"]);
    assert_eq!(listed["fifos"].as_array().unwrap().len(), 1);
    assert_eq!(listed["fifos"][0]["concurrency"], 2);
    assert!(listed["fifos"][0].get("tickets").is_none());
    let tickets = server.json(&["fifo", "tickets", "a/1"]);
    let line = server.json(&["fifo", "get", "a/1"]);
    assert_eq!(tickets["tickets"][0]["id"], made["id"]);
    assert_eq!(line["tickets"][0]["id"], made["id"]);
    assert_eq!(tickets["tickets"][0]["owner"], "ci-42");
    let shown = server.run(&["fifo", "get", "a/1"]);
    let text = stdout(&shown);
    assert!(text.starts_with("a/1 serving=1 waiting=0\n"), "{text}");
    assert!(text.contains("owner=ci-42 job=7"), "{text}");
    let deleted = server.run(&["fifo", "delete", "a/1"]);
    assert_eq!(stdout(&deleted), "deleted; tickets ended: 1\n");
    let gone = server.run(&["fifo", "get", "a/1"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("FIFO_NOT_FOUND"));
}

#[test]
fn bad_values_are_refused_by_the_name_of_their_field() {
    let server = Server::start();
    server.json(&["fifo", "create", "x"]);
    for (args, field) in [
        (
            &["fifo", "create", "y", "--done-timeout", "1M"][..],
            "done_timeout",
        ),
        (
            &["fifo", "create", "y", "--concurrency", "10001"],
            "concurrency",
        ),
        (
            &["fifo", "ticket", "x", "--wait-timeout", "1s"],
            "overrides",
        ),
        (&["fifo", "wait", "x", "nonsense"], "ticket"),
        (&["fifo", "wait", "x", "nonsense", "--wait", "5"], "wait"),
    ] {
        let output = server.run(args);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{args:?}: {}",
            stderr(&output)
        );
        let told = stderr(&output);
        assert!(
            told.starts_with(&format!("error: {field}")),
            "{args:?}: {told}"
        );
    }
}

#[test]
fn a_ticket_that_calls_back_is_made_and_listed_with_its_webhook() {
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
    server.json(&["fifo", "create", "x"]);
    ticket(&server, "x");
    let secret = server.run(&["webhook", "secret"]);
    let mut command = server.command(&["fifo", "ticket", "x", "--callback", &url]);
    let made = command
        .env("HOLDFAST_CALLBACK_SECRET", stdout(&secret).trim())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let id = stdout(&made).trim();
    let tickets = server.json(&["fifo", "tickets", "x"]);
    let calling = &tickets["tickets"][1];
    assert_eq!(calling["id"], id);
    let webhook = calling["webhook"].as_str().unwrap();
    let line = server.run(&["webhook", "list"]);
    let expected = format!("{webhook} waiting fifo=x ticket={id} attempts=0 url={url}");
    assert!(stdout(&line).starts_with(&expected), "{}", stdout(&line));
    let seen = server.json(&["webhook", "get", webhook]);
    assert_eq!((&seen["fifo"], &seen["ticket"]), (&"x".into(), &id.into()));

    for (args, names) in [
        (&["--callback", "http://10.0.0.1/"][..], "callback.url"),
        (
            &["--callback", &url, "--callback-secret", "x"],
            "callback.secret",
        ),
        (&["--callback", ""], "callback.url"),
    ] {
        let refused = server
            .command(&["fifo", "ticket", "x"])
            .args(args)
            .output()
            .unwrap();
        assert!(!refused.status.success(), "{args:?}");
        let told = stderr(&refused);
        assert!(told.contains(names), "{args:?}: {told}");
    }
}
