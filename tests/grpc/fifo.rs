//! FifoService.

use std::time::Duration;

use holdfast::api::Role;
use holdfast::proto::v1::fifo_service_client::FifoServiceClient;
use holdfast::proto::v1::*;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::support::*;

type Client = FifoServiceClient<Channel>;

const DAY: u64 = 24 * 3600;

fn secs(seconds: u64) -> Option<prost_types::Duration> {
    span(Duration::from_secs(seconds))
}

fn negative() -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    })
}

fn fifo(id: &str) -> CreateFifoRequest {
    CreateFifoRequest {
        id: id.into(),
        ..Default::default()
    }
}

fn ticket_of(fifo: &str) -> CreateTicketRequest {
    CreateTicketRequest {
        fifo: fifo.into(),
        ..Default::default()
    }
}

fn wait_for(ticket: &Ticket) -> WaitTicketRequest {
    WaitTicketRequest {
        fifo: ticket.fifo.clone(),
        ticket: ticket.id.clone(),
        wait: None,
    }
}

fn done(ticket: &Ticket) -> CompleteTicketRequest {
    CompleteTicketRequest {
        fifo: ticket.fifo.clone(),
        ticket: ticket.id.clone(),
        request_id: String::new(),
    }
}

async fn make(client: &mut Client, request: CreateFifoRequest) -> Fifo {
    let response = client.create_fifo(request).await.unwrap().into_inner();
    response.fifo.unwrap()
}

async fn stand(client: &mut Client, fifo: &str) -> Ticket {
    let response = client.create_ticket(ticket_of(fifo)).await.unwrap();
    response.into_inner().ticket.unwrap()
}

async fn see(client: &mut Client, ticket: &Ticket) -> Result<Ticket, Status> {
    let request = GetTicketRequest {
        fifo: ticket.fifo.clone(),
        ticket: ticket.id.clone(),
    };
    let response = client.get_ticket(request).await?.into_inner();
    Ok(response.ticket.unwrap())
}

async fn waits(client: &mut Client, ticket: &Ticket) -> Streaming<WaitTicketResponse> {
    let response = soon(client.wait_ticket(wait_for(ticket))).await.unwrap();
    response.into_inner()
}

/// The next news of a call that waits.
async fn next(turn: &mut Streaming<WaitTicketResponse>) -> wait_ticket_response::Event {
    let news = soon(turn.message()).await.unwrap().expect("more news");
    news.event.unwrap()
}

async fn position(turn: &mut Streaming<WaitTicketResponse>) -> u32 {
    match next(turn).await {
        wait_ticket_response::Event::InLine(in_line) => in_line.position,
        other => panic!("{other:?}"),
    }
}

async fn ready(turn: &mut Streaming<WaitTicketResponse>) -> Ticket {
    match next(turn).await {
        wait_ticket_response::Event::Ready(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_fifo_is_made_read_listed_and_deleted() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    let made = make(&mut fifos, fifo("print")).await;
    assert_eq!(made.id, "print");
    assert_eq!(made.concurrency, 1);
    assert_eq!(made.unused_destroy_timeout, secs(30 * DAY));
    let timeouts = made.timeouts.unwrap();
    assert_eq!(timeouts.wait, secs(6 * 3600));
    assert_eq!(timeouts.accept, secs(60));
    assert_eq!(timeouts.done, secs(600));
    assert!(made.create_time.is_some());

    let endless = Timeouts {
        wait: secs(0),
        accept: secs(0),
        done: secs(7),
    };
    let unnamed = CreateFifoRequest {
        timeouts: Some(endless),
        unused_destroy_timeout: secs(0),
        concurrency: 3,
        allow_overrides: true,
        ..Default::default()
    };
    let other = make(&mut fifos, unnamed).await;
    assert_eq!(other.id.len(), 36, "a UUID: {}", other.id);
    assert_eq!((other.concurrency, other.allow_overrides), (3, true));
    assert_eq!(other.unused_destroy_timeout, None);
    let timeouts = other.timeouts.unwrap();
    assert_eq!((timeouts.wait, timeouts.accept), (None, None));
    assert_eq!(timeouts.done, secs(7));

    let again = fifos.create_fifo(fifo("print")).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert_eq!(reason(&again), "FIFO_EXISTS");

    let first = stand(&mut fifos, "print").await;
    let second = stand(&mut fifos, "print").await;
    let get = GetFifoRequest {
        fifo: "print".into(),
    };
    let seen = fifos.get_fifo(get.clone()).await.unwrap().into_inner();
    let seen = seen.fifo.unwrap();
    assert_eq!((seen.serving_count, seen.waiting_count), (1, 1));
    let ids: Vec<_> = seen.tickets.iter().map(|ticket| &ticket.id).collect();
    assert_eq!(ids, [&first.id, &second.id]);

    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListFifosRequest {
            page_size: 1,
            page_token,
            ..Default::default()
        };
        let page = fifos.list_fifos(request).await.unwrap().into_inner();
        assert!(page.fifos.iter().all(|fifo| fifo.tickets.is_empty()));
        names.extend(page.fifos.into_iter().map(|fifo| fifo.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut expected = vec!["print".to_owned(), other.id];
    expected.sort();
    assert_eq!(names, expected);

    let mut turn = waits(&mut fifos, &second).await;
    assert_eq!(position(&mut turn).await, 1);
    let delete = DeleteFifoRequest {
        fifo: "print".into(),
        request_id: "r".into(),
    };
    for _ in 0..2 {
        let deleted = fifos.delete_fifo(delete.clone()).await.unwrap();
        assert_eq!(deleted.into_inner().tickets, 2);
    }
    let ended = soon(turn.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Aborted);
    assert_eq!(reason(&ended), "TICKET_ENDED");
    let gone = fifos.get_fifo(get).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert_eq!(reason(&gone), "FIFO_NOT_FOUND");
}

#[tokio::test]
async fn tickets_have_their_turns_in_order() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    make(&mut fifos, fifo("print")).await;
    let mine = CreateTicketRequest {
        owner: "ci-42".into(),
        metadata: [("job".to_owned(), "7".to_owned())].into(),
        ..ticket_of("print")
    };
    let first = fifos.create_ticket(mine).await.unwrap().into_inner();
    let first = first.ticket.unwrap();
    assert_eq!(first.state(), TicketState::Notified);
    assert_eq!((first.owner.as_str(), first.position), ("ci-42", 0));
    assert_eq!(first.metadata["job"], "7");
    let second = stand(&mut fifos, "print").await;
    assert_eq!(second.state(), TicketState::Waiting);
    assert_eq!(second.position, 1);
    assert!(second.number > first.number);

    let mut waiting = waits(&mut fifos, &second).await;
    assert_eq!(position(&mut waiting).await, 1);
    let accepted = ready(&mut waits(&mut fifos, &first).await).await;
    assert_eq!(accepted.state(), TicketState::Accepted);
    assert_eq!(accepted.id, first.id);
    fifos.complete_ticket(done(&first)).await.unwrap();
    let turn = ready(&mut waiting).await;
    assert_eq!((turn.id, turn.state), (second.id.clone(), accepted.state));
    assert!(soon(waiting.message()).await.unwrap().is_none());
    ready(&mut waits(&mut fifos, &second).await).await;

    let gone = see(&mut fifos, &first).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert_eq!(reason(&gone), "TICKET_NOT_FOUND");
}

#[tokio::test]
async fn a_ticket_is_extended_once_it_is_accepted() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    make(&mut fifos, fifo("print")).await;
    let ticket = stand(&mut fifos, "print").await;
    let extend = |done| ExtendTicketRequest {
        fifo: "print".into(),
        ticket: ticket.id.clone(),
        done,
    };
    let early = fifos.extend_ticket(extend(None)).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    assert_eq!(reason(&early), "TICKET_NOT_ACCEPTED");
    ready(&mut waits(&mut fifos, &ticket).await).await;
    let longer = fifos.extend_ticket(extend(secs(DAY))).await.unwrap();
    let lapses_in = longer.into_inner().ticket.unwrap().lapses_in.unwrap();
    assert!((DAY as i64 - 60..=DAY as i64).contains(&lapses_in.seconds));
}

#[tokio::test]
async fn overrides_count_only_where_they_are_allowed() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    let open = CreateFifoRequest {
        allow_overrides: true,
        ..fifo("open")
    };
    make(&mut fifos, open).await;
    make(&mut fifos, fifo("closed")).await;
    let with = |fifo: &str| CreateTicketRequest {
        overrides: Some(Timeouts {
            accept: secs(5),
            done: secs(0),
            wait: None,
        }),
        ..ticket_of(fifo)
    };
    let ticket = fifos
        .create_ticket(with("open"))
        .await
        .unwrap()
        .into_inner();
    let timeouts = ticket.ticket.unwrap().timeouts.unwrap();
    assert_eq!((timeouts.accept, timeouts.done), (secs(5), None));
    assert_eq!(timeouts.wait, secs(6 * 3600));
    let refused = fifos.create_ticket(with("closed")).await.unwrap_err();
    assert_eq!(bad_field(&refused), "overrides");
}

#[tokio::test]
async fn a_wait_that_is_over_leaves_the_ticket_in_line() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    make(&mut fifos, fifo("print")).await;
    let first = stand(&mut fifos, "print").await;
    let second = stand(&mut fifos, "print").await;
    for (wait, positions) in [(Duration::ZERO, 0), (Duration::from_millis(20), 1)] {
        let request = WaitTicketRequest {
            wait: span(wait),
            ..wait_for(&second)
        };
        let mut turn = fifos.wait_ticket(request).await.unwrap().into_inner();
        for _ in 0..positions {
            assert_eq!(position(&mut turn).await, 1);
        }
        let status = soon(turn.message()).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(reason(&status), "TURN_TIMED_OUT");
    }
    let mut request = Request::new(wait_for(&second));
    request.set_timeout(Duration::from_millis(50));
    let mut turn = fifos.wait_ticket(request).await.unwrap().into_inner();
    assert_eq!(position(&mut turn).await, 1);
    let status = soon(turn.message()).await.unwrap_err();
    // The client's own timer and the server's run against each other.
    assert!(matches!(
        status.code(),
        Code::DeadlineExceeded | Code::Cancelled
    ));
    fifos.complete_ticket(done(&first)).await.unwrap();
    let seen = see(&mut fifos, &second).await.unwrap();
    assert_eq!(seen.state(), TicketState::Notified);
}

#[tokio::test]
async fn a_lapsed_ticket_says_so() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    let hasty = CreateFifoRequest {
        timeouts: Some(Timeouts {
            accept: span(Duration::from_millis(1)),
            ..Default::default()
        }),
        ..fifo("print")
    };
    make(&mut fifos, hasty).await;
    let ticket = stand(&mut fifos, "print").await;
    let lapsed = async {
        while see(&mut fifos, &ticket).await.unwrap().state() != TicketState::Lapsed {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(lapsed).await;
    let mut turn = waits(&mut fifos, &ticket).await;
    let waited = soon(turn.message()).await.unwrap_err();
    let completed = fifos.complete_ticket(done(&ticket)).await.unwrap_err();
    for status in [waited, completed] {
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason(&status), "TICKET_LAPSED");
    }
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_ticket_is_cancelled() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    make(&mut fifos, fifo("print")).await;
    stand(&mut fifos, "print").await;
    let ticket = stand(&mut fifos, "print").await;
    let mut turn = waits(&mut fifos, &ticket).await;
    assert_eq!(position(&mut turn).await, 1);
    let cancel = CancelTicketRequest {
        fifo: "print".into(),
        ticket: ticket.id.clone(),
        request_id: "r".into(),
    };
    for _ in 0..2 {
        fifos.cancel_ticket(cancel.clone()).await.unwrap();
    }
    let status = soon(turn.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(reason(&status), "TICKET_ENDED");
}

#[tokio::test]
async fn a_caller_that_hangs_up_accepts_nothing() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    make(&mut fifos, fifo("print")).await;
    let first = stand(&mut fifos, "print").await;
    let second = stand(&mut fifos, "print").await;
    let mut gone = waits(&mut fifos, &second).await;
    assert_eq!(position(&mut gone).await, 1);
    drop(gone);
    // The server may hear of the hang-up before or after the turn: in the end nobody has it.
    fifos.complete_ticket(done(&first)).await.unwrap();
    let notified = async {
        while see(&mut fifos, &second).await.unwrap().state() != TicketState::Notified {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(notified).await;
    ready(&mut waits(&mut fifos, &second).await).await;
}

#[tokio::test]
async fn tickets_are_listed_page_by_page_with_ids_for_admins_only() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    make(&mut fifos, fifo("print")).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(stand(&mut fifos, "print").await.id);
    }
    let calling = CreateTicketRequest {
        callback: Some(Callback {
            url: "https://1.1.1.1/turn".into(),
            ..Default::default()
        }),
        ..ticket_of("print")
    };
    let calling = fifos.create_ticket(calling).await.unwrap().into_inner();
    let calling = calling.ticket.unwrap();
    assert!(calling.webhook.starts_with("msg_"), "{calling:?}");
    made.push(calling.id);
    let user = Server::over(server.api.clone(), Some(("default", Role::Use))).await;
    for (mut client, shows_ids) in [(fifos, true), (user.fifos().await, false)] {
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListTicketsRequest {
                fifo: "print".into(),
                page_size: 2,
                page_token,
            };
            let page = client.list_tickets(request).await.unwrap().into_inner();
            seen.extend(page.tickets);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let get = GetFifoRequest {
            fifo: "print".into(),
        };
        let view = client.get_fifo(get).await.unwrap().into_inner();
        for tickets in [seen, view.fifo.unwrap().tickets] {
            let positions: Vec<_> = tickets.iter().map(|ticket| ticket.position).collect();
            assert_eq!(positions, [0, 1, 2, 3, 4, 5]);
            let webhook = &tickets[5].webhook;
            assert_eq!(*webhook, if shows_ids { &calling.webhook } else { "" });
            for (ticket, id) in tickets.iter().zip(&made) {
                assert_eq!(ticket.id, if shows_ids { id.as_str() } else { "" });
            }
        }
    }
}

#[tokio::test]
async fn only_an_admin_lists_and_deletes_fifos() {
    let server = Server::start().await;
    let user = Server::over(server.api.clone(), Some(("default", Role::Use))).await;
    let mut fifos = user.fifos().await;
    make(&mut fifos, fifo("print")).await;
    let list = fifos.list_fifos(ListFifosRequest::default()).await;
    let delete = DeleteFifoRequest {
        fifo: "print".into(),
        ..Default::default()
    };
    let delete = fifos.delete_fifo(delete).await;
    for status in [list.unwrap_err(), delete.unwrap_err()] {
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(reason(&status), "PERMISSION_DENIED");
    }
}

#[tokio::test]
async fn a_retry_makes_nothing_twice() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    let unnamed = || CreateFifoRequest {
        request_id: "make".into(),
        ..Default::default()
    };
    let made = make(&mut fifos, unnamed()).await;
    assert_eq!(make(&mut fifos, unnamed()).await.id, made.id);
    let ticket = || CreateTicketRequest {
        request_id: "stand".into(),
        ..ticket_of(&made.id)
    };
    let first = fifos.create_ticket(ticket()).await.unwrap().into_inner();
    let second = fifos.create_ticket(ticket()).await.unwrap().into_inner();
    let id = |response: CreateTicketResponse| response.ticket.unwrap().id;
    assert_eq!(id(first), id(second));
    let other = CreateFifoRequest {
        concurrency: 2,
        ..unnamed()
    };
    let status = fifos.create_fifo(other).await.unwrap_err();
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn the_id_of_a_ticket_is_read_in_any_usual_form() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    make(&mut fifos, fifo("print")).await;
    let ticket = stand(&mut fifos, "print").await;
    let simple = ticket.id.replace('-', "");
    for id in [
        simple.clone(),
        simple.to_uppercase(),
        format!("{{{}}}", ticket.id),
        format!("urn:uuid:{}", ticket.id),
    ] {
        let named = Ticket {
            id,
            ..ticket.clone()
        };
        assert_eq!(see(&mut fifos, &named).await.unwrap().id, ticket.id);
    }
}

/// The field that a create of a FIFO is refused for.
async fn bad_fifo(client: &mut Client, change: impl FnOnce(&mut CreateFifoRequest)) -> String {
    let mut request = fifo("x");
    change(&mut request);
    bad_field(&client.create_fifo(request).await.unwrap_err())
}

#[tokio::test]
async fn a_fifo_out_of_bounds_is_refused_by_its_field() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    let long = "x".repeat(513);
    assert_eq!(bad_fifo(&mut fifos, |r| r.id = long).await, "fifo");
    assert_eq!(bad_fifo(&mut fifos, |r| r.id = "a\0b".into()).await, "fifo");
    for bad in [negative(), secs(365 * DAY + 1)] {
        let with = |wait, accept, done| Some(Timeouts { wait, accept, done });
        for (timeouts, field) in [
            (with(bad, None, None), "timeouts.wait"),
            (with(None, bad, None), "timeouts.accept"),
            (with(None, None, bad), "timeouts.done"),
        ] {
            let named = bad_fifo(&mut fifos, |r| r.timeouts = timeouts).await;
            assert_eq!(named, field, "{bad:?}");
            let request = CreateTicketRequest {
                overrides: timeouts,
                ..ticket_of("x")
            };
            let named = bad_field(&fifos.create_ticket(request).await.unwrap_err());
            assert_eq!(named, field.replace("timeouts", "overrides"), "{bad:?}");
        }
        let named = bad_fifo(&mut fifos, |r| r.unused_destroy_timeout = bad).await;
        assert_eq!(named, "unused_destroy_timeout");
    }
    let named = bad_fifo(&mut fifos, |r| r.concurrency = 10_001).await;
    assert_eq!(named, "concurrency");
    let named = bad_fifo(&mut fifos, |r| r.request_id = "x".repeat(129)).await;
    assert_eq!(named, "request_id");
}

#[tokio::test]
async fn a_ticket_out_of_bounds_is_refused_by_its_field() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    let cases = [
        (ticket_of(""), "fifo"),
        (
            CreateTicketRequest {
                owner: "a\nb".into(),
                ..ticket_of("x")
            },
            "owner",
        ),
        (
            CreateTicketRequest {
                metadata: [("a".to_owned(), "x".repeat(4096))].into(),
                ..ticket_of("x")
            },
            "metadata",
        ),
        (
            CreateTicketRequest {
                request_id: "\0".into(),
                ..ticket_of("x")
            },
            "request_id",
        ),
    ];
    for (request, field) in cases {
        assert_eq!(
            bad_field(&fifos.create_ticket(request).await.unwrap_err()),
            field
        );
    }
}

#[tokio::test]
async fn every_method_refuses_a_fifo_or_ticket_that_is_no_name_or_uuid() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    let long = "x".repeat(513);
    let uuid = "0192f0c1-2222-7aaa-8bbb-0123456789ab";
    for (fifo, ticket, field) in [
        ("", uuid, "fifo"),
        (long.as_str(), uuid, "fifo"),
        ("a\nb", uuid, "fifo"),
        ("x", "", "ticket"),
        ("x", "7", "ticket"),
        ("x", "0192f0c1-2222-7aaa-8bbb-0123456789xx", "ticket"),
    ] {
        let (fifo, ticket) = (fifo.to_owned(), ticket.to_owned());
        let get = GetTicketRequest {
            fifo: fifo.clone(),
            ticket: ticket.clone(),
        };
        let wait = WaitTicketRequest {
            fifo: fifo.clone(),
            ticket: ticket.clone(),
            wait: None,
        };
        let extend = ExtendTicketRequest {
            fifo: fifo.clone(),
            ticket: ticket.clone(),
            done: None,
        };
        let complete = CompleteTicketRequest {
            fifo: fifo.clone(),
            ticket: ticket.clone(),
            request_id: String::new(),
        };
        let cancel = CancelTicketRequest {
            fifo: fifo.clone(),
            ticket: ticket.clone(),
            request_id: String::new(),
        };
        let refused = [
            fifos.get_ticket(get).await.unwrap_err(),
            fifos.wait_ticket(wait).await.unwrap_err(),
            fifos.extend_ticket(extend).await.unwrap_err(),
            fifos.complete_ticket(complete).await.unwrap_err(),
            fifos.cancel_ticket(cancel).await.unwrap_err(),
        ];
        for status in &refused {
            assert_eq!(bad_field(status), field, "{fifo:?} {ticket:?}");
        }
        if field == "fifo" {
            let get = GetFifoRequest { fifo: fifo.clone() };
            let delete = DeleteFifoRequest {
                fifo: fifo.clone(),
                request_id: String::new(),
            };
            let list = ListTicketsRequest {
                fifo,
                ..Default::default()
            };
            let refused = [
                fifos.get_fifo(get).await.unwrap_err(),
                fifos.delete_fifo(delete).await.unwrap_err(),
                fifos.list_tickets(list).await.unwrap_err(),
            ];
            for status in &refused {
                assert_eq!(bad_field(status), field);
            }
        }
    }
}

#[tokio::test]
async fn the_other_fields_of_every_method_have_their_bounds() {
    let server = Server::start().await;
    let mut fifos = server.fifos().await;
    make(&mut fifos, fifo("x")).await;
    make(&mut fifos, fifo("y")).await;
    let ticket = stand(&mut fifos, "x").await;
    for (request, field) in [
        (
            ListFifosRequest {
                prefix: "x".repeat(513),
                ..Default::default()
            },
            "prefix",
        ),
        (
            ListFifosRequest {
                page_size: 1_001,
                ..Default::default()
            },
            "page_size",
        ),
        (
            ListFifosRequest {
                page_token: "?".into(),
                ..Default::default()
            },
            "page_token",
        ),
    ] {
        assert_eq!(
            bad_field(&fifos.list_fifos(request).await.unwrap_err()),
            field
        );
    }
    for (page_size, page_token, field) in [(1_001, "", "page_size"), (1, "AA", "page_token")] {
        let request = ListTicketsRequest {
            fifo: "x".into(),
            page_size,
            page_token: page_token.into(),
        };
        assert_eq!(
            bad_field(&fifos.list_tickets(request).await.unwrap_err()),
            field
        );
    }
    for bad in [negative(), secs(DAY + 1)] {
        let request = WaitTicketRequest {
            wait: bad,
            ..wait_for(&ticket)
        };
        assert_eq!(
            bad_field(&fifos.wait_ticket(request).await.unwrap_err()),
            "wait"
        );
    }
    for bad in [negative(), secs(0), secs(365 * DAY + 1)] {
        let request = ExtendTicketRequest {
            fifo: "x".into(),
            ticket: ticket.id.clone(),
            done: bad,
        };
        assert_eq!(
            bad_field(&fifos.extend_ticket(request).await.unwrap_err()),
            "done"
        );
    }
    let long = "x".repeat(129);
    let complete = CompleteTicketRequest {
        request_id: long.clone(),
        ..done(&ticket)
    };
    let cancel = CancelTicketRequest {
        fifo: "x".into(),
        ticket: ticket.id.clone(),
        request_id: long.clone(),
    };
    let delete = DeleteFifoRequest {
        fifo: "x".into(),
        request_id: long,
    };
    for status in [
        fifos.complete_ticket(complete).await.unwrap_err(),
        fifos.cancel_ticket(cancel).await.unwrap_err(),
        fifos.delete_fifo(delete).await.unwrap_err(),
    ] {
        assert_eq!(bad_field(&status), "request_id");
    }
    let strange = Ticket {
        fifo: "y".into(),
        ..ticket
    };
    let status = see(&mut fifos, &strange).await.unwrap_err();
    assert_eq!(bad_field(&status), "ticket");
}
