//! `holdfast queue`.

use crate::*;

impl Server {
    /// Runs a command that must succeed with these bytes on its stdin.
    fn feed(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        let mut child = spawn(command);
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        let output = wait(child);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        output
    }

    fn push(&self, items: &[&str]) {
        for item in items {
            self.json(&["queue", "push", "jobs", item]);
        }
    }

    fn length(&self) -> Value {
        self.json(&["queue", "length", "jobs"])
    }

    /// Waits until the queue's state has this in a field.
    fn settles(&self, field: &str, expected: u64) {
        let end = Instant::now() + PATIENCE;
        while self.json(&["queue", "get", "jobs"])[field] != expected {
            assert!(Instant::now() < end, "{field} never was {expected}");
        }
    }
}

#[test]
fn an_item_is_pushed_looked_at_and_popped() {
    let server = Server::start();
    let push = server.json(&["queue", "push", "jobs", "one", "--ttl", "1h"]);
    let id = push["id"].as_str().unwrap();
    let item = &server.json(&["queue", "peek", "jobs"])["items"][0];
    assert_eq!((&item["id"], &item["value"]), (&id.into(), &"one".into()));
    let shown = server.run(&["queue", "peek", "jobs"]);
    assert!(stdout(&shown).contains("\"one\""), "{}", stdout(&shown));
    assert_eq!(stdout(&server.run(&["queue", "length", "jobs"])), "1\n");
    let popped = server.run(&["queue", "pop", "jobs"]);
    assert_eq!((stdout(&popped), stderr(&popped)), ("one", ""));
    let empty = server.run(&["queue", "pop", "jobs", "--wait", "1ms"]);
    assert_eq!(empty.status.code(), Some(75));
    assert_eq!(stdout(&empty), "");
    assert_eq!(stderr(&empty), "no item in the queue jobs\n");
}

#[test]
fn an_item_comes_from_stdin_and_goes_to_stdout_byte_for_byte() {
    let server = Server::start();
    let bytes = [0xff, 0, b'\n', b'x', b'\n'];
    server.feed(&["queue", "push", "jobs", "-"], &bytes);
    assert_eq!(server.run(&["queue", "pop", "jobs"]).stdout, bytes);
    server.feed(&["queue", "push", "jobs", "-"], &bytes);
    let popped = server.json(&["queue", "pop", "jobs"]);
    assert_eq!(popped["value_base64"], "/wAKeAo=");
}

#[test]
fn what_was_popped_is_extended_returned_and_acknowledged_by_its_receipt() {
    let server = Server::start();
    server.push(&["one", "two"]);
    let pop = ["queue", "pop", "jobs", "--ack-timeout", "1m"];
    let popped = server.run(&pop);
    assert_eq!(stdout(&popped), "one");
    let receipt = stderr(&popped).trim().strip_prefix("receipt=").unwrap();
    let extend = ["queue", "extend", "jobs", receipt, "--ack-timeout", "1h"];
    assert!(server.json(&extend)["ack_in"].as_f64().unwrap() > 3000.0);
    assert_eq!(server.length()["delivered_count"], 1);
    let returned = server.run(&["queue", "return", "jobs", receipt]);
    assert_eq!(stdout(&returned), "returned\n");
    let item = server.json(&pop);
    assert_eq!(
        (&item["value"], &item["deliveries"]),
        (&"one".into(), &2.into())
    );
    let receipt = item["receipt"].as_str().unwrap();
    let acknowledged = server.feed(&["queue", "ack", "jobs", "-"], receipt.as_bytes());
    assert_eq!(stdout(&acknowledged), "acknowledged\n");
    let again = server.run(&["queue", "ack", "jobs", receipt]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("DELIVERY_ENDED"));
}

#[test]
fn each_line_of_stdin_is_an_item_in_order() {
    let server = Server::start();
    let lines: String = (0..3000).map(|n| format!("{n}\n")).collect();
    let pushed = server.feed(&["queue", "push", "jobs", "--lines"], lines.as_bytes());
    assert_eq!(stdout(&pushed), "enqueued=3000\n");
    let peek = server.json(&["queue", "peek", "jobs", "--limit", "5000"]);
    let items = peek["items"].as_array().unwrap();
    let values = items.iter().map(|item| item["value"].as_str().unwrap());
    assert!(values.eq((0..3000).map(|n| n.to_string())));
}

#[test]
fn a_line_that_is_too_long_ends_the_push_and_is_told_by_its_number() {
    let server = Server::start();
    let mut command = server.command(&["queue", "push", "jobs", "--lines"]);
    let mut child = spawn({
        command.stdin(Stdio::piped());
        command
    });
    let text = format!("one\n{}\nthree\n", "x".repeat(64 * 1024 + 1));
    // It may end before it has read all of this.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = wait(child);
    assert_eq!(output.status.code(), Some(64));
    let told = stderr(&output);
    assert!(
        told.contains("line 2: value: must have at most 65536 bytes"),
        "{told}"
    );
    assert!(told.contains("at least 1 items are in line"), "{told}");
    assert_eq!(server.length()["length"], 1);
}

#[test]
fn what_the_server_refuses_of_many_lines_is_told_by_its_field() {
    let server = Server::start();
    let mut command = server.command(&["queue", "push", "", "--lines", "--json"]);
    let mut child = spawn({
        command.stdin(Stdio::piped());
        command
    });
    let _ = child.stdin.take().unwrap().write_all(b"one\n");
    let output = wait(child);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["field"], "queue");
}

#[test]
fn consumed_items_are_printed_and_acknowledged() {
    let server = Server::start();
    server.push(&["one", "two"]);
    let consumed = server.run(&["queue", "consume", "jobs", "--wait", "0"]);
    assert!(consumed.status.success(), "{}", stderr(&consumed));
    assert_eq!(stdout(&consumed), "one\ntwo\n");
    assert_eq!(server.length()["delivered_count"], 0);

    let mut consume = spawn(server.command(&["queue", "consume", "jobs", "--json"]));
    server.settles("consumer_count", 1);
    server.push(&["three"]);
    let mut lines = BufReader::new(consume.stdout.take().unwrap()).lines();
    let item: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(item["value"], "three");
    server.settles("delivered_count", 0);
    signal(&consume, "-INT");
    assert_eq!(consume.wait().unwrap().code(), Some(130));
    assert_eq!(server.length()["length"], 0);
}

#[test]
fn an_item_is_acknowledged_where_its_command_succeeds_and_returned_where_it_fails() {
    let server = Server::start();
    server.json(&["queue", "configure", "jobs", "--deliveries-max", "2"]);
    server.push(&["good", "bad", "good"]);
    let script =
        "read -r item; echo \"$HOLDFAST_ITEM_ID\" >&2; echo \"$item\"; test \"$item\" = good";
    let consume = [
        "queue", "consume", "jobs", "--wait", "0", "--", "sh", "-c", script,
    ];
    let consumed = server.run(&consume);
    assert!(consumed.status.success(), "{}", stderr(&consumed));
    assert_eq!(stdout(&consumed), "good\nbad\nbad\ngood\n");
    assert!(stderr(&consumed).contains("returned the item"));
    let dead = server.json(&["queue", "peek", "jobs", "--dead"]);
    assert_eq!(dead["items"][0]["value"], "bad");
    let id = dead["items"][0]["id"].as_str().unwrap();
    assert!(stderr(&consumed).lines().any(|line| line == id));
    assert_eq!(server.length()["length"], 0);
}

#[test]
fn an_item_stays_with_its_command_for_longer_than_its_ack_timeout() {
    let server = Server::start();
    server.push(&["slow"]);
    let consume = [
        "queue",
        "consume",
        "jobs",
        "--wait",
        "0",
        "--ack-timeout",
        "300ms",
        "--",
        "sleep",
        "1",
    ];
    let consumed = server.run(&consume);
    assert!(consumed.status.success(), "{}", stderr(&consumed));
    assert_eq!(stderr(&consumed), "");
    let length = server.length();
    assert_eq!(
        (&length["length"], &length["delivered_count"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_command_that_cannot_be_run_takes_no_item_with_it() {
    let server = Server::start();
    server.push(&["one"]);
    let consumed = server.run(&["queue", "consume", "jobs", "--", "/no/such/command"]);
    assert_eq!(consumed.status.code(), Some(64));
    assert!(stderr(&consumed).contains("command: cannot be run"));
    assert_eq!(server.length()["length"], 1);
}

#[test]
fn a_queue_is_configured_listed_purged_redriven_and_deleted() {
    let server = Server::start();
    let configured = server.json(&["queue", "configure", "jobs", "--deliveries-max", "1"]);
    assert_eq!(configured["deliveries_max"], 1);
    server.push(&["one", "two"]);
    let popped = server.json(&["queue", "pop", "jobs", "--ack-timeout", "1m"]);
    let receipt = popped["receipt"].as_str().unwrap();
    server.json(&["queue", "return", "jobs", receipt]);
    assert_eq!(server.length()["dead_count"], 1);
    assert_eq!(server.json(&["queue", "redrive", "jobs"])["redriven"], 1);
    assert_eq!(server.json(&["queue", "purge", "jobs"])["purged"], 2);
    assert_eq!(
        server.json(&["queue", "purge", "jobs", "--dead"])["purged"],
        0
    );
    let endless = server.run(&["queue", "configure", "jobs", "--deliveries-max", "none"]);
    assert!(stdout(&endless).contains("deliveries_max=none configured"));
    server.push(&["three"]);
    let listed = server.run(&["queue", "list", "--prefix", "jo"]);
    assert!(
        stdout(&listed).starts_with("jobs ready=1"),
        "{}",
        stdout(&listed)
    );
    let deleted = server.run(&["queue", "delete", "jobs"]);
    assert_eq!(stdout(&deleted), "purged=1\n");
    assert_eq!(stdout(&server.run(&["queue", "list"])), "no queues\n");
}

#[test]
fn a_bad_value_of_a_queue_is_refused_by_the_name_of_its_field() {
    let server = Server::start();
    for (args, field) in [
        (&["push", "jobs", "x", "--ttl", "1"][..], "ttl: "),
        (&["push", "jobs", "x", "--ttl", "1ms"], "ttl: "),
        (&["push", "", "x"], "queue: "),
        (&["pop", "jobs", "--wait", "25h"], "wait: "),
        (&["pop", "jobs", "--ack-timeout", "8d"], "ack_timeout: "),
        (
            &["extend", "jobs", "r", "--ack-timeout", "x"],
            "ack_timeout: ",
        ),
        (
            &["configure", "jobs", "--deliveries-max", "0"],
            "deliveries_max: ",
        ),
        (
            &["configure", "jobs", "--deliveries-max", "10001"],
            "deliveries_max: ",
        ),
        (&["consume", "jobs", "--window", "0"], "window: "),
        (&["consume", "jobs", "--window", "1001"], "window: "),
        (
            &["consume", "jobs", "--ack-timeout", "1ms"],
            "ack_timeout: ",
        ),
        (&["peek", "jobs", "--page-token", "?"], "page_token: "),
    ] {
        let refused = server.command(&["queue"]).args(args).output().unwrap();
        let told = stderr(&refused);
        assert_eq!(refused.status.code(), Some(64), "{args:?}: {told}");
        assert!(told.contains(field), "{args:?}: {told}");
    }
    for args in [
        &["push", "jobs"][..],
        &["push", "jobs", "x", "--lines"],
        &["pop", "jobs", "--request-id", "r"],
        &["consume", "jobs", "--window", "x"],
        &["peek", "jobs", "--dead", "--delivered"],
    ] {
        let refused = server.command(&["queue"]).args(args).output().unwrap();
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{args:?}: {}",
            stderr(&refused)
        );
    }
}
