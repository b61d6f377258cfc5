//! FIFOs and tickets over native REST and the sync dialect.

use super::*;

const FIFOS: &str = "/api/v1/fifos";
const SECRET: &str = "00000000-0000-4000-8000-000000000000";

/// Makes a ticket and gives its path.
async fn ticket(server: &Server, fifo: &str, body: Value) -> String {
    let made = server.post(&format!("{FIFOS}/{fifo}/tickets"), body).await;
    assert_eq!(made.status, 200, "{}", made.json);
    format!("{FIFOS}/{fifo}/tickets/{}", made.text("id"))
}

async fn fifo(server: &Server, body: Value) -> String {
    let made = server.post(FIFOS, body).await;
    assert_eq!(made.status, 200, "{}", made.json);
    made.text("id")
}

/// Waits until a ticket is in a state.
async fn settles(server: &Server, ticket: &str, state: &str) -> Value {
    let reached = async {
        loop {
            let seen = server.get(ticket).await.json;
            if seen["state"] == state {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, reached).await.unwrap()
}

fn reason(reply: &Reply) -> (u16, &str) {
    (
        reply.status,
        reply.json["error"]["reason"].as_str().unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_fifo_is_made_with_its_defaults_and_read_with_its_line() {
    let server = Server::start();
    let made = server.post(FIFOS, Value::Null).await;
    assert_eq!(made.status, 200, "{}", made.json);
    for (field, value) in [
        ("wait_timeout", json!(21600.0)),
        ("accept_timeout", json!(60.0)),
        ("done_timeout", json!(600.0)),
        ("unused_destroy_timeout", json!(2_592_000.0)),
        ("allow_overrides", json!(false)),
        ("concurrency", json!(1)),
        ("serving_count", json!(0)),
        ("waiting_count", json!(0)),
        ("tickets", json!([])),
    ] {
        assert_eq!(made.json[field], value, "{field}");
    }
    assert!(made.text("create_time").ends_with('Z'));
    let asked = json!({
        "id": "ci/x", "wait_timeout": "none", "accept_timeout": 0, "done_timeout": "90s",
        "unused_destroy_timeout": "0", "allow_overrides": true, "concurrency": 2,
    });
    assert_eq!(fifo(&server, asked.clone()).await, "ci/x");
    let taken = server.post(FIFOS, asked).await;
    assert_eq!(reason(&taken), (409, "FIFO_EXISTS"));

    for owner in ["a", "b", "c"] {
        let body = json!({"owner": owner, "metadata": {"job": "7"}});
        ticket(&server, "ci%2Fx", body).await;
    }
    let got = server.get(&format!("{FIFOS}/ci%2Fx")).await.json;
    for absent in ["wait_timeout", "accept_timeout", "unused_destroy_timeout"] {
        assert_eq!(got.get(absent), None, "{absent}");
    }
    assert_eq!(got["serving_count"], 2);
    assert_eq!(got["waiting_count"], 1);
    let states: Vec<_> = got["tickets"].as_array().unwrap().iter().collect();
    assert_eq!(states[0]["owner"], "a");
    assert_eq!(states[0]["metadata"], json!({"job": "7"}));
    assert_eq!(states[1]["state"], "NOTIFIED");
    assert_eq!(
        (&states[2]["state"], &states[2]["position"]),
        (&json!("WAITING"), &json!(1))
    );
    assert!(states[2]["state_time"].as_str().unwrap().ends_with('Z'));
    let number = |n: usize| {
        states[n]["number"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(number(0) < number(1) && number(1) < number(2));
}

#[tokio::test]
async fn ids_of_others_tickets_are_for_administrators() {
    let server = Server::start();
    fifo(&server, json!({"id": "x"})).await;
    let own = ticket(&server, "x", Value::Null).await;
    let callback = json!({"callback": {"url": "https://1.1.1.1/turn"}});
    ticket(&server, "x", callback).await;
    for path in ["/api/v1/fifos/x", "/api/v1/fifos/x/tickets"] {
        for (role, shown) in [(Role::Admin, true), (Role::Use, false)] {
            let asked = request("GET", path, None, "");
            let seen = server.send_as(role, "default", asked).await.json;
            assert_eq!(seen["tickets"][0].get("id").is_some(), shown, "{path}");
            let calling = &seen["tickets"][1];
            assert_eq!(calling.get("webhook").is_some(), shown, "{path}");
        }
    }
    let asked = request("GET", &own, None, "");
    let seen = server.send_as(Role::Use, "default", asked).await.json;
    assert!(own.ends_with(seen["id"].as_str().unwrap()));
    for (method, path) in [("GET", FIFOS), ("DELETE", "/api/v1/fifos/x")] {
        let asked = request(method, path, None, "");
        let refused = server.send_as(Role::Use, "default", asked).await;
        assert_eq!(reason(&refused), (403, "PERMISSION_DENIED"), "{method}");
    }
    let elsewhere = server.send_as(Role::Admin, "other", request("GET", &own, None, ""));
    assert_eq!(reason(&elsewhere.await), (404, "FIFO_NOT_FOUND"));
}

#[tokio::test]
async fn a_ticket_goes_through_its_states() {
    let server = Server::start();
    fifo(&server, json!({"id": "x"})).await;
    let first = ticket(&server, "x", Value::Null).await;
    let second = ticket(&server, "x", Value::Null).await;
    let early = server.post(&format!("{first}/extend"), Value::Null).await;
    assert_eq!(reason(&early), (409, "TICKET_NOT_ACCEPTED"));
    let late = server
        .post(&format!("{second}/wait"), json!({"wait": 0}))
        .await;
    assert_eq!(reason(&late), (408, "TURN_TIMED_OUT"));

    let ready = server.post(&format!("{first}/wait"), Value::Null).await;
    assert_eq!(ready.status, 200, "{}", ready.json);
    assert_eq!(ready.json["state"], "ACCEPTED");
    assert_eq!(ready.json["position"], 0);
    assert!(ready.json["lapses_in"].as_f64().unwrap() > 590.0);
    let longer = json!({"done_timeout": "1h"});
    let longer = server.post(&format!("{first}/extend"), longer).await;
    assert!(longer.json["lapses_in"].as_f64().unwrap() > 3500.0);

    let turn = format!("{second}/wait");
    let waits = server.post(&turn, json!({"wait": "10m"}));
    let done = async {
        let body = json!({"request_id": "r"});
        let done = server
            .post(&format!("{first}/complete"), body.clone())
            .await;
        assert_eq!(done.json, json!({"completed": true}));
        let again = server.post(&format!("{first}/complete"), body).await;
        assert_eq!(again.json, json!({"completed": true}));
    };
    let (ready, ()) = tokio::join!(waits, done);
    assert_eq!(ready.json["state"], "ACCEPTED");
    let gone = server.post(&format!("{first}/complete"), Value::Null).await;
    assert_eq!(reason(&gone), (404, "TICKET_NOT_FOUND"));

    let cancelled = server.send(request("DELETE", &second, None, "")).await;
    assert_eq!(cancelled.json, json!({"cancelled": true}));
    let third = ticket(&server, "x", Value::Null).await;
    let cancelled = server.post(&format!("{third}/cancel"), Value::Null).await;
    assert_eq!(cancelled.json, json!({"cancelled": true}));
    assert_eq!(reason(&server.get(&third).await), (404, "TICKET_NOT_FOUND"));
}

#[tokio::test]
async fn a_line_is_streamed_as_events() {
    let server = Server::start();
    fifo(&server, json!({"id": "x"})).await;
    let first = ticket(&server, "x", Value::Null).await;
    let second = ticket(&server, "x", Value::Null).await;
    let admin = || Identity {
        namespace: Namespace::new("default").unwrap(),
        role: Role::Admin,
    };
    let wait = |path: &str| events_request("POST", &format!("{path}/wait"), "");
    let stream = server.raw(Some(admin()), wait(&second)).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut stream = stream.into_body().into_data_stream();
    assert_eq!(
        next_event(&mut stream).await.unwrap(),
        ("queued".to_owned(), json!({"fifo": "x", "position": 1}))
    );
    server.post(&format!("{first}/complete"), Value::Null).await;
    let (event, data) = next_event(&mut stream).await.unwrap();
    assert_eq!(
        (event.as_str(), &data["state"]),
        ("ready", &json!("ACCEPTED"))
    );
    assert!(next_event(&mut stream).await.is_none());

    let third = ticket(&server, "x", Value::Null).await;
    let mut stream = server
        .raw(Some(admin()), wait(&third))
        .await
        .into_body()
        .into_data_stream();
    let (event, queued) = next_event(&mut stream).await.unwrap();
    assert_eq!(event, "queued");
    assert!(queued["time_to_go"].is_number(), "{queued}");
    server
        .send(request("DELETE", "/api/v1/fifos/x", None, ""))
        .await;
    let (event, data) = next_event(&mut stream).await.unwrap();
    assert_eq!(
        (event.as_str(), &data["error"]["reason"]),
        ("error", &json!("TICKET_ENDED"))
    );
}

#[tokio::test]
async fn overrides_are_for_fifos_that_allow_them() {
    let server = Server::start();
    fifo(&server, json!({"id": "strict"})).await;
    let body = json!({"done_timeout": "1s"});
    let refused = server
        .post("/api/v1/fifos/strict/tickets", body.clone())
        .await;
    assert_eq!(reason(&refused), (400, "INVALID_ARGUMENT"));
    assert_eq!(refused.json["error"]["field"], "done_timeout");
    fifo(&server, json!({"id": "loose", "allow_overrides": true})).await;
    let ticket = ticket(
        &server,
        "loose",
        json!({"done_timeout": "1s", "wait_timeout": 0}),
    )
    .await;
    let seen = server.get(&ticket).await.json;
    assert_eq!(seen["done_timeout"], 1.0);
    assert_eq!(seen.get("wait_timeout"), None);
    assert_eq!(seen["accept_timeout"], 60.0);
}

#[tokio::test]
async fn fifos_and_tickets_are_listed_page_by_page() {
    let server = Server::start();
    for id in ["a/1", "a/2", "b"] {
        fifo(&server, json!({"id": id})).await;
    }
    let first = server
        .get(&format!("{FIFOS}?prefix=a/&page_size=1"))
        .await
        .json;
    assert_eq!(first["fifos"][0]["id"], "a/1");
    assert_eq!(first["fifos"][0].get("tickets"), None);
    let token = first["next_page_token"].as_str().unwrap();
    let next = format!("{FIFOS}?prefix=a/&page_size=1&page_token={token}");
    let next = server.get(&next).await.json;
    assert_eq!(next["fifos"][0]["id"], "a/2");
    assert_eq!(next.get("next_page_token"), None);

    for owner in ["1", "2", "3"] {
        ticket(&server, "b", json!({"owner": owner})).await;
    }
    let mut owners = Vec::new();
    let mut token = String::new();
    loop {
        let page = format!("{FIFOS}/b/tickets?page_size=2&page_token={token}");
        let page = server.get(&page).await.json;
        let tickets = page["tickets"].as_array().unwrap();
        owners.extend(tickets.iter().map(|ticket| ticket["owner"].clone()));
        match page["next_page_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(owners, ["1", "2", "3"]);
    let deleted = server
        .send(request("DELETE", &format!("{FIFOS}/b"), None, ""))
        .await;
    assert_eq!(deleted.json, json!({"deleted": true, "tickets": 3}));
}

/// Asks in the sync dialect: status, and body as text.
async fn sync(server: &Server, method: &str, path: &str) -> (u16, String) {
    let identity = Identity {
        namespace: Namespace::new("default").unwrap(),
        role: Role::Use,
    };
    let asked = request(method, &format!("/fifo/{path}"), None, "");
    let response = server.raw(Some(identity), asked).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    if status != 200 {
        assert_eq!(kind.unwrap(), "text/plain; charset=utf-8", "{path}");
        assert!(!body.is_empty());
    }
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn sync_new(server: &Server, query: &str) -> String {
    let (status, body) = sync(server, "GET", &format!("new?{query}")).await;
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    body["uuid"].as_str().unwrap().to_owned()
}

async fn sync_ticket(server: &Server, fifo: &str, query: &str) -> String {
    let (status, body) = sync(server, "POST", &format!("{fifo}/ticket?{query}")).await;
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    body["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn sync_serves_tickets_in_turn() {
    let server = Server::start();
    for method in ["GET", "POST"] {
        for end in ["", "/"] {
            let fifo = sync_new(&server, "").await;
            let first = sync_ticket(&server, &fifo, "").await;
            let second = sync_ticket(&server, &fifo, "").await;
            let path = |verb: &str, ticket: &str| format!("{fifo}/{verb}/{ticket}{end}");
            let empty = (200, String::new());
            for _ in 0..2 {
                assert_eq!(sync(&server, method, &path("wait", &first)).await, empty);
            }
            let (wait, done) = (path("wait", &second), path("done", &first));
            let (waited, done) =
                tokio::join!(sync(&server, method, &wait), sync(&server, method, &done));
            assert_eq!((&waited, &done), (&empty, &empty));
            let (status, _) = sync(&server, method, &path("done", &first)).await;
            assert_eq!(status, 404);
            // A third that stands in line, and is done there: its waiter is told.
            let third = sync_ticket(&server, &fifo, "").await;
            let (wait, done) = (path("wait", &third), path("done", &third));
            let (waited, done) =
                tokio::join!(sync(&server, method, &wait), sync(&server, method, &done));
            assert_eq!((waited.0, &done), (410, &empty));
        }
    }
}

#[tokio::test]
async fn sync_tells_of_time_by_its_statuses() {
    let server = Server::start();
    let fifo = sync_new(&server, "wait_timeout=1ms&accept_timeout=0&done_timeout=1h").await;
    let first = sync_ticket(&server, &fifo, "").await;
    let second = sync_ticket(&server, &fifo, "wait_timeout=1h").await;
    assert_eq!(
        sync(&server, "GET", &format!("{fifo}/wait/{first}"))
            .await
            .0,
        200
    );
    // Its own timeout is left aside: the FIFO allows none.
    assert_eq!(
        sync(&server, "GET", &format!("{fifo}/wait/{second}"))
            .await
            .0,
        408
    );

    let fifo = sync_new(&server, "accept_timeout=1µs&allow_overrides=true").await;
    let lapsed = sync_ticket(&server, &fifo, "").await;
    let held = sync_ticket(&server, &fifo, "accept_timeout=0&done_timeout=1ms").await;
    settles(
        &server,
        &format!("{FIFOS}/{fifo}/tickets/{lapsed}"),
        "LAPSED",
    )
    .await;
    for verb in ["wait", "done"] {
        let (status, _) = sync(&server, "GET", &format!("{fifo}/{verb}/{lapsed}")).await;
        assert_eq!(status, 410, "{verb}");
    }
    assert_eq!(
        sync(&server, "GET", &format!("{fifo}/wait/{held}")).await.0,
        200
    );
    settles(&server, &format!("{FIFOS}/{fifo}/tickets/{held}"), "LAPSED").await;
    assert_eq!(
        sync(&server, "GET", &format!("{fifo}/done/{held}")).await.0,
        410
    );
}

#[tokio::test]
async fn sync_reads_durations_as_documented_and_refuses_the_rest() {
    let server = Server::start();
    for (text, seconds) in [
        ("1h45m", 6300.0),
        ("2h30s", 7230.0),
        ("10s", 10.0),
        ("2d", 172_800.0),
        ("1.5h", 5400.0),
        ("300ms", 0.3),
        ("1%C2%B5s", 0.0),
    ] {
        let fifo = sync_new(&server, &format!("wait_timeout={text}")).await;
        let seen = server.get(&format!("{FIFOS}/{fifo}")).await.json;
        assert_eq!(seen["wait_timeout"], seconds, "{text}");
    }
    let fifo = sync_new(&server, "wait_timeout=0&unused_destroy_timeout=0").await;
    let seen = server.get(&format!("{FIFOS}/{fifo}")).await.json;
    assert_eq!(seen.get("wait_timeout"), None);
    assert_eq!(seen.get("unused_destroy_timeout"), None);
    for field in ["wait_timeout", "accept_timeout", "done_timeout"] {
        for text in [
            "1M", "-1s", "5", "soon", "", "366d", "1e3s", "1h%2030m", "NaN",
        ] {
            for path in ["new".to_owned(), format!("{fifo}/ticket")] {
                let (status, body) = sync(&server, "GET", &format!("{path}?{field}={text}")).await;
                assert_eq!(status, 400, "{path} {field}={text}");
                assert!(body.starts_with(field), "{body}");
            }
        }
    }
    for query in ["unused_destroy_timeout=1M", "allow_overrides=maybe"] {
        let (status, body) = sync(&server, "GET", &format!("new?{query}")).await;
        assert_eq!(status, 400, "{query}");
        assert!(body.starts_with(query.split('=').next().unwrap()), "{body}");
    }
}

#[tokio::test]
async fn sync_tells_what_an_id_must_be() {
    let server = Server::start();
    let fifo = sync_new(&server, "").await;
    let other = sync_new(&server, "").await;
    let ticket = sync_ticket(&server, &fifo, "").await;
    for (path, status, names) in [
        ("x/ticket".to_owned(), 400, "fifo"),
        ("/ticket".to_owned(), 400, "fifo"),
        ("%FF/ticket".to_owned(), 400, "fifo"),
        (format!("x/wait/{ticket}"), 400, "fifo"),
        (format!("/done/{ticket}"), 400, "fifo"),
        (format!("{fifo}/wait/x"), 400, "ticket"),
        (format!("{fifo}/wait/"), 400, "ticket"),
        (format!("{fifo}/done"), 400, "ticket"),
        (format!("{fifo}/done/%FF"), 400, "ticket"),
        (format!("{other}/wait/{ticket}"), 400, "another FIFO"),
        (format!("{other}/done/{ticket}"), 400, "another FIFO"),
        (format!("{SECRET}/ticket"), 404, "FIFO"),
        (format!("{SECRET}/wait/{ticket}"), 404, "FIFO"),
        (format!("{fifo}/wait/{SECRET}"), 404, "ticket"),
        (format!("{fifo}/done/{SECRET}"), 404, "ticket"),
    ] {
        let (told, body) = sync(&server, "GET", &path).await;
        assert_eq!(told, status, "{path}: {body}");
        assert!(body.contains(names), "{path}: {body}");
    }
    let asked = request("PUT", "/fifo/new", None, "");
    let identity = Identity {
        namespace: Namespace::new("default").unwrap(),
        role: Role::Use,
    };
    let refused = server.raw(Some(identity), asked).await;
    assert_eq!(refused.status(), 405);
    assert!(
        refused.headers()["allow"]
            .to_str()
            .unwrap()
            .contains("POST")
    );
    let refused = unauthenticated("/fifo/new");
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.headers()["www-authenticate"],
        "Basic realm=\"holdfast\""
    );
}

#[tokio::test]
async fn sync_and_rest_stand_in_one_line() {
    let server = Server::start();
    let uuid = "28c9c1be-7bb8-4e8c-b22e-c16402a421d5";
    fifo(&server, json!({"id": uuid})).await;
    let native = ticket(&server, uuid, Value::Null).await;
    let by_sync = sync_ticket(&server, &uuid.to_uppercase(), "owner=ci-42").await;
    let path = format!("{FIFOS}/{uuid}/tickets/{by_sync}");
    let seen = server.get(&path).await.json;
    assert_eq!(
        (&seen["position"], &seen["owner"]),
        (&json!(1), &json!("ci-42"))
    );
    server
        .post(&format!("{native}/complete"), Value::Null)
        .await;
    assert_eq!(
        sync(&server, "GET", &format!("{uuid}/wait/{by_sync}"))
            .await
            .0,
        200
    );
    assert_eq!(settles(&server, &path, "ACCEPTED").await["position"], 0);
    let made = sync_new(&server, "").await;
    ticket(&server, &made, Value::Null).await;
}

#[tokio::test]
async fn parameters_of_sync_come_in_every_form() {
    let server = Server::start();
    for (kind, body) in [
        (
            "application/x-www-form-urlencoded",
            "wait_timeout=2d&allow_overrides=true",
        ),
        (
            "application/x-www-form-urlencoded",
            "{\"wait_timeout\":\"2d\",\"allow_overrides\":true}",
        ),
        (
            "application/json",
            "{\"wait_timeout\":\"2d\",\"allow_overrides\":true}",
        ),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=\"wait_timeout\"\r\n\r\n2d\r\n--b\r\nContent-Disposition: form-data; name=\"allow_overrides\"\r\n\r\ntrue\r\n--b--\r\n",
        ),
    ] {
        let made = server
            .send(request("POST", "/fifo/new", Some(kind), body))
            .await;
        assert_eq!(made.status, 200, "{kind}");
        let seen = server
            .get(&format!("{FIFOS}/{}", made.text("uuid")))
            .await
            .json;
        assert_eq!(seen["wait_timeout"], 172_800.0, "{kind}");
        assert_eq!(seen["allow_overrides"], true, "{kind}");
    }
}

#[tokio::test]
async fn sync_can_be_switched_off() {
    let options = DialectOptions {
        sync: false,
        ..DialectOptions::default()
    };
    let server = Server::with(options);
    assert_eq!(server.get("/fifo/new").await.status, 404);
    assert_eq!(server.post(FIFOS, Value::Null).await.status, 200);
}
