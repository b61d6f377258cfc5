//! QueueService.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast::api::Role;
use holdfast::proto::v1::consume_request::Message;
use holdfast::proto::v1::consume_response::Event;
use holdfast::proto::v1::produce_response::Outcome;
use holdfast::proto::v1::queue_service_client::QueueServiceClient;
use holdfast::proto::v1::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::support::*;

type Client = QueueServiceClient<Channel>;

const ACK: Duration = Duration::from_secs(30);

async fn client(server: &Server) -> Client {
    QueueServiceClient::new(server.channel().await)
}

fn item(value: &str) -> EnqueueRequest {
    EnqueueRequest {
        queue: "jobs".into(),
        value: value.into(),
        ..Default::default()
    }
}

async fn enqueue(client: &mut Client, value: &str) -> u64 {
    let response = soon(client.enqueue(item(value))).await.unwrap();
    response.into_inner().id
}

fn taking() -> DequeueRequest {
    DequeueRequest {
        queue: "jobs".into(),
        wait: span(PATIENCE),
        ack_timeout: span(ACK),
        request_id: String::new(),
    }
}

async fn dequeue(client: &mut Client, request: DequeueRequest) -> Option<Item> {
    soon(client.dequeue(request))
        .await
        .unwrap()
        .into_inner()
        .item
}

async fn take(client: &mut Client) -> Item {
    dequeue(client, taking()).await.unwrap()
}

fn acknowledge(item: &Item) -> AcknowledgeRequest {
    AcknowledgeRequest {
        queue: "jobs".into(),
        receipt: item.receipt.clone(),
        request_id: String::new(),
    }
}

async fn look(client: &mut Client) -> Queue {
    let request = GetQueueRequest {
        queue: "jobs".into(),
    };
    let response = soon(client.get_queue(request)).await.unwrap();
    response.into_inner().queue.unwrap()
}

/// Waits until a queue looks so.
async fn settles(client: &mut Client, is_so: impl Fn(&Queue) -> bool) {
    let settled = async {
        while !is_so(&look(client).await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(settled).await;
}

/// A consumer's end of its stream.
struct Consumer {
    says: mpsc::Sender<ConsumeRequest>,
    hears: Streaming<ConsumeResponse>,
}

impl Consumer {
    async fn connect(client: &mut Client) -> Consumer {
        let (says, requests) = mpsc::channel(1_000);
        let hears = soon(client.consume(ReceiverStream::new(requests))).await;
        let hears = hears.unwrap().into_inner();
        Consumer { says, hears }
    }

    async fn open(client: &mut Client, window: u32) -> Consumer {
        let consumer = Consumer::connect(client).await;
        let open = ConsumeOpen {
            queue: "jobs".into(),
            window,
            ack_timeout: span(ACK),
        };
        consumer.say(Message::Open(open)).await;
        consumer
    }

    async fn say(&self, message: Message) {
        let message = Some(message);
        self.says.send(ConsumeRequest { message }).await.unwrap();
    }

    async fn acknowledge(&self, receipts: Vec<String>) {
        let acknowledge = ConsumeAcknowledge { receipts };
        self.say(Message::Acknowledge(acknowledge)).await;
    }

    async fn told(&mut self) -> Result<Option<Event>, Status> {
        let response = soon(self.hears.message()).await?;
        Ok(response.map(|response| response.event.unwrap()))
    }

    async fn item(&mut self) -> Item {
        match self.told().await.unwrap() {
            Some(Event::Item(item)) => item,
            other => panic!("{other:?}"),
        }
    }

    async fn settled(&mut self) -> ConsumeSettled {
        match self.told().await.unwrap() {
            Some(Event::Settled(settled)) => settled,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_item_goes_from_its_producer_to_one_consumer() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let id = enqueue(&mut client, "a").await;
    let taken = take(&mut client).await;
    assert_eq!((taken.id, taken.value.as_slice()), (id, &b"a"[..]));
    assert_eq!(taken.deliveries, 1);
    assert!(taken.ack_in.is_some() && taken.enqueue_time.is_some());
    let none = DequeueRequest {
        wait: None,
        ..taking()
    };
    assert_eq!(dequeue(&mut client, none).await, None);
    client.acknowledge(acknowledge(&taken)).await.unwrap();
    let ended = client.acknowledge(acknowledge(&taken)).await.unwrap_err();
    assert_eq!(ended.code(), Code::FailedPrecondition);
    assert_eq!(reason(&ended), "DELIVERY_ENDED");
    assert_eq!(look(&mut client).await.deliveries_max, 20);
}

#[tokio::test]
async fn a_waiting_dequeue_gets_the_next_item() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let mut other = client.clone();
    let waits = tokio::spawn(async move {
        let request = DequeueRequest {
            ack_timeout: None,
            ..taking()
        };
        dequeue(&mut other, request).await
    });
    settles(&mut client, |queue| queue.consumer_count == 1).await;
    enqueue(&mut client, "a").await;
    let taken = soon(waits).await.unwrap().unwrap();
    assert_eq!(
        (taken.value.as_slice(), taken.receipt.as_str()),
        (&b"a"[..], "")
    );
    assert_eq!(look(&mut client).await.ready_count, 0);
}

#[tokio::test]
async fn a_returned_item_comes_again_until_it_is_dead() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let configure = ConfigureQueueRequest {
        queue: "jobs".into(),
        deliveries_max: 2,
        request_id: "once".into(),
    };
    let response = client.configure_queue(configure).await.unwrap();
    assert!(response.into_inner().queue.unwrap().configured);
    enqueue(&mut client, "a").await;
    for deliveries in 1..=2 {
        let taken = take(&mut client).await;
        assert_eq!(taken.deliveries, deliveries);
        let give_back = ReturnRequest {
            queue: "jobs".into(),
            receipt: taken.receipt,
            request_id: String::new(),
        };
        client.r#return(give_back).await.unwrap();
    }
    let peek = |part: Part| PeekRequest {
        queue: "jobs".into(),
        part: part.into(),
        ..Default::default()
    };
    let dead = client.peek(peek(Part::Dead)).await.unwrap().into_inner();
    assert_eq!(dead.items[0].value, b"a");
    assert_eq!(dead.items[0].receipt, "");
    let redrive = RedriveRequest {
        queue: "jobs".into(),
        request_id: String::new(),
    };
    let redriven = client.redrive(redrive).await.unwrap().into_inner();
    assert_eq!((redriven.count, redriven.more), (1, false));
    let ready = client.peek(peek(Part::Unspecified)).await.unwrap();
    assert_eq!(ready.into_inner().items[0].deliveries, 0);
    let purge = PurgeRequest {
        queue: "jobs".into(),
        part: Part::Ready.into(),
        request_id: String::new(),
    };
    assert_eq!(client.purge(purge).await.unwrap().into_inner().count, 1);
    let list = ListQueuesRequest::default();
    let listed = client.list_queues(list.clone()).await.unwrap();
    assert_eq!(listed.into_inner().queues[0].name, "jobs");
    let delete = DeleteQueueRequest {
        queue: "jobs".into(),
        request_id: String::new(),
    };
    assert_eq!(
        client
            .delete_queue(delete)
            .await
            .unwrap()
            .into_inner()
            .count,
        0
    );
    let listed = client.list_queues(list).await.unwrap().into_inner();
    assert!(listed.queues.is_empty());
}

#[tokio::test]
async fn pages_of_items_and_queues_lead_on() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let ids = [
        enqueue(&mut client, "a").await,
        enqueue(&mut client, "b").await,
        enqueue(&mut client, "c").await,
    ];
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let peek = PeekRequest {
            queue: "jobs".into(),
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = client.peek(peek).await.unwrap().into_inner();
        seen.extend(page.items.iter().map(|item| item.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn extending_gives_more_time() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    enqueue(&mut client, "a").await;
    let receipt = take(&mut client).await.receipt;
    let extend = ExtendRequest {
        queue: "jobs".into(),
        receipt,
        ack_timeout: span(10 * ACK),
    };
    let extended = client.extend(extend).await.unwrap().into_inner();
    assert!(extended.ack_in.unwrap().seconds > ACK.as_secs() as i64);
}

#[tokio::test]
async fn a_retry_has_the_same_outcome() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let put = EnqueueRequest {
        request_id: "put".into(),
        ..item("a")
    };
    let first = client.enqueue(put.clone()).await.unwrap().into_inner();
    assert_eq!(client.enqueue(put).await.unwrap().into_inner(), first);
    let request = DequeueRequest {
        request_id: "take".into(),
        ..taking()
    };
    let taken = dequeue(&mut client, request.clone()).await.unwrap();
    let again = dequeue(&mut client, request.clone()).await.unwrap();
    assert_eq!(again.receipt, taken.receipt);
    let done = AcknowledgeRequest {
        request_id: "done".into(),
        ..acknowledge(&taken)
    };
    client.acknowledge(done.clone()).await.unwrap();
    client.acknowledge(done).await.unwrap();
    let ended = client.dequeue(request).await.unwrap_err();
    assert_eq!(reason(&ended), "DELIVERY_ENDED");
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_the_line() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let mut other = client.clone();
    let waits = tokio::spawn(async move { other.dequeue(taking()).await });
    settles(&mut client, |queue| queue.consumer_count == 1).await;
    waits.abort();
    settles(&mut client, |queue| queue.consumer_count == 0).await;
    enqueue(&mut client, "a").await;
    assert_eq!(look(&mut client).await.ready_count, 1);
}

#[tokio::test]
async fn bad_input_is_named_by_its_field() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let long = || "x".repeat(129);
    let queue = || "jobs".to_owned();
    let minus = || {
        Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        })
    };
    macro_rules! refused {
        ($method:ident, $field:literal, $request:expr) => {
            let status = client.$method($request).await.unwrap_err();
            assert_eq!(bad_field(&status), $field, "{}", stringify!($method));
        };
    }
    refused!(configure_queue, "queue", ConfigureQueueRequest::default());
    refused!(
        configure_queue,
        "deliveries_max",
        ConfigureQueueRequest {
            queue: queue(),
            deliveries_max: 10_001,
            ..Default::default()
        }
    );
    refused!(
        configure_queue,
        "request_id",
        ConfigureQueueRequest {
            queue: queue(),
            request_id: long(),
            ..Default::default()
        }
    );
    refused!(
        get_queue,
        "queue",
        GetQueueRequest {
            queue: "a\0".into()
        }
    );
    refused!(
        list_queues,
        "page_size",
        ListQueuesRequest {
            page_size: 1_001,
            ..Default::default()
        }
    );
    refused!(
        list_queues,
        "page_token",
        ListQueuesRequest {
            page_token: "?".into(),
            ..Default::default()
        }
    );
    refused!(
        list_queues,
        "prefix",
        ListQueuesRequest {
            prefix: "x".repeat(513),
            ..Default::default()
        }
    );
    refused!(delete_queue, "queue", DeleteQueueRequest::default());
    refused!(enqueue, "queue", EnqueueRequest::default());
    refused!(
        enqueue,
        "value",
        EnqueueRequest {
            value: vec![0; 64 * 1024 + 1],
            ..item("")
        }
    );
    refused!(
        enqueue,
        "ttl",
        EnqueueRequest {
            ttl: minus(),
            ..item("a")
        }
    );
    refused!(
        enqueue,
        "request_id",
        EnqueueRequest {
            request_id: long(),
            ..item("a")
        }
    );
    refused!(dequeue, "queue", DequeueRequest::default());
    refused!(
        dequeue,
        "wait",
        DequeueRequest {
            wait: span(Duration::from_secs(86_401)),
            ..taking()
        }
    );
    refused!(
        dequeue,
        "ack_timeout",
        DequeueRequest {
            ack_timeout: span(Duration::from_millis(99)),
            ..taking()
        }
    );
    refused!(
        dequeue,
        "request_id",
        DequeueRequest {
            ack_timeout: None,
            request_id: "r".into(),
            ..taking()
        }
    );
    refused!(acknowledge, "queue", AcknowledgeRequest::default());
    refused!(r#return, "queue", ReturnRequest::default());
    refused!(extend, "queue", ExtendRequest::default());
    refused!(
        extend,
        "ack_timeout",
        ExtendRequest {
            queue: queue(),
            ack_timeout: minus(),
            ..Default::default()
        }
    );
    refused!(peek, "queue", PeekRequest::default());
    refused!(
        peek,
        "part",
        PeekRequest {
            queue: queue(),
            part: 9,
            ..Default::default()
        }
    );
    refused!(
        peek,
        "page_token",
        PeekRequest {
            queue: queue(),
            page_token: "?".into(),
            ..Default::default()
        }
    );
    refused!(purge, "queue", PurgeRequest::default());
    refused!(
        purge,
        "part",
        PurgeRequest {
            queue: queue(),
            part: Part::Delivered.into(),
            ..Default::default()
        }
    );
    refused!(redrive, "queue", RedriveRequest::default());
    for receipt in ["", "x", "1.1.AAAAAAAAAAAAAAAAAAAAAA"] {
        let request = AcknowledgeRequest {
            queue: queue(),
            receipt: receipt.into(),
            request_id: String::new(),
        };
        let status = client.acknowledge(request).await.unwrap_err();
        assert_eq!(reason(&status), "DELIVERY_ENDED", "{receipt:?}");
    }
}

#[tokio::test]
async fn only_administrators_list_delete_purge_and_redrive() {
    let admin = Server::start().await;
    let server = Server::over(admin.api.clone(), Some(("default", Role::Use))).await;
    let mut client = client(&server).await;
    enqueue(&mut client, "a").await;
    let denied = [
        client.list_queues(ListQueuesRequest::default()).await.err(),
        client
            .delete_queue(DeleteQueueRequest::default())
            .await
            .err(),
        client.purge(PurgeRequest::default()).await.err(),
        client.redrive(RedriveRequest::default()).await.err(),
    ];
    for status in denied {
        assert_eq!(status.unwrap().code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn a_producer_streams_items_and_learns_the_fate_of_each() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let (says, requests) = mpsc::channel(1_000);
    let hears = client.produce(ReceiverStream::new(requests)).await;
    let mut hears = hears.unwrap().into_inner();
    let send = |number, enqueue| says.send(ProduceRequest { number, enqueue });
    for number in 0..500 {
        send(number, Some(item(&number.to_string()))).await.unwrap();
    }
    send(1_000, None).await.unwrap();
    send(1_001, Some(EnqueueRequest::default())).await.unwrap();
    drop(says);
    let (mut enqueued, mut refused) = (BTreeSet::new(), Vec::new());
    while let Some(told) = soon(hears.message()).await.unwrap() {
        match told.outcome.unwrap() {
            Outcome::Enqueued(_) => drop(enqueued.insert(told.number)),
            Outcome::Error(error) => refused.push((told.number, error.field)),
        }
    }
    refused.sort();
    assert_eq!(
        enqueued.into_iter().collect::<Vec<_>>(),
        (0..500).collect::<Vec<_>>()
    );
    let fields = [(1_000, "enqueue".to_owned()), (1_001, "queue".to_owned())];
    assert_eq!(refused, fields);
    assert_eq!(look(&mut client).await.ready_count, 500);
    assert_eq!(take(&mut client).await.value, b"0");
}

#[tokio::test]
async fn a_consumer_is_sent_what_its_window_has_room_for() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let mut consumer = Consumer::open(&mut client, 2).await;
    for value in ["a", "b", "c"] {
        enqueue(&mut client, value).await;
    }
    let (a, b) = (consumer.item().await, consumer.item().await);
    assert_eq!(
        (a.value.as_slice(), b.value.as_slice()),
        (&b"a"[..], &b"b"[..])
    );
    let queue = look(&mut client).await;
    assert_eq!((queue.ready_count, queue.delivered_count), (1, 2));
    let receipts = vec![a.receipt.clone(), b.receipt.clone()];
    consumer.acknowledge(receipts).await;
    let (mut items, mut receipts) = (Vec::new(), BTreeSet::new());
    for _ in 0..3 {
        match consumer.told().await.unwrap().unwrap() {
            Event::Item(item) => items.push(item),
            Event::Settled(settled) => {
                assert_eq!(settled.error, None);
                receipts.insert(settled.receipt);
            }
        }
    }
    assert_eq!(receipts, BTreeSet::from([a.receipt, b.receipt]));
    let c = items.pop().unwrap();
    let extend = ConsumeExtend {
        receipt: c.receipt.clone(),
        ack_timeout: None,
    };
    consumer.say(Message::Extend(extend)).await;
    assert_eq!(consumer.settled().await.error, None);
    let give_back = ConsumeReturn { receipt: c.receipt };
    consumer.say(Message::Return(give_back)).await;
    let mut again = None;
    for _ in 0..2 {
        match consumer.told().await.unwrap().unwrap() {
            Event::Item(item) => again = Some(item),
            Event::Settled(settled) => assert_eq!(settled.error, None),
        }
    }
    assert_eq!(again.unwrap().deliveries, 2);
}

#[tokio::test]
async fn what_is_wrong_with_one_message_of_a_consumer_is_told_in_place() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let mut consumer = Consumer::open(&mut client, 0).await;
    consumer.acknowledge(vec!["x".into()]).await;
    let settled = consumer.settled().await;
    assert_eq!(settled.receipt, "x");
    assert_eq!(settled.error.unwrap().reason, "DELIVERY_ENDED");
    consumer.acknowledge(vec!["x".into(); 1_001]).await;
    assert_eq!(consumer.settled().await.error.unwrap().field, "receipts");
    consumer.say(Message::Open(ConsumeOpen::default())).await;
    assert_eq!(consumer.settled().await.error.unwrap().field, "open");
    let nothing = ConsumeRequest { message: None };
    consumer.says.send(nothing).await.unwrap();
    assert_eq!(consumer.settled().await.error.unwrap().field, "message");
    enqueue(&mut client, "a").await;
    assert_eq!(consumer.item().await.value, b"a");
}

#[tokio::test]
async fn a_consumer_that_does_not_open_well_is_refused() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let open = |change: fn(&mut ConsumeOpen)| {
        let mut open = ConsumeOpen {
            queue: "jobs".into(),
            ..Default::default()
        };
        change(&mut open);
        Message::Open(open)
    };
    let cases = [
        ("open", Message::Acknowledge(ConsumeAcknowledge::default())),
        ("queue", open(|open| open.queue.clear())),
        ("window", open(|open| open.window = 1_001)),
        (
            "ack_timeout",
            open(|open| open.ack_timeout = span(Duration::ZERO)),
        ),
    ];
    for (field, message) in cases {
        let mut consumer = Consumer::connect(&mut client).await;
        consumer.say(message).await;
        let status = consumer.told().await.unwrap_err();
        assert_eq!(bad_field(&status), field);
    }
    let Consumer { says, mut hears } = Consumer::connect(&mut client).await;
    drop(says);
    let status = soon(hears.message()).await.unwrap_err();
    assert_eq!(bad_field(&status), "open");
}

#[tokio::test]
async fn what_a_consumer_was_sent_stays_with_it_when_its_stream_ends() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let mut consumer = Consumer::open(&mut client, 10).await;
    enqueue(&mut client, "a").await;
    let sent = consumer.item().await;
    let Consumer { says, mut hears } = consumer;
    drop(says);
    assert!(soon(hears.message()).await.unwrap().is_none());
    settles(&mut client, |queue| queue.consumer_count == 0).await;
    assert_eq!(look(&mut client).await.delivered_count, 1);
    client.acknowledge(acknowledge(&sent)).await.unwrap();
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let mut open = Consumer::open(&mut client, 10).await;
    enqueue(&mut client, "a").await;
    open.item().await;
    let mut silent = Consumer::connect(&mut client).await;
    let (_says, requests) = mpsc::channel::<ProduceRequest>(1);
    let produced = client.produce(ReceiverStream::new(requests)).await;
    let mut produced = produced.unwrap().into_inner();
    server.api.stop_accepting();
    for status in [
        open.told().await.unwrap_err(),
        silent.told().await.unwrap_err(),
        soon(produced.message()).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(reason(&status), "STOPPING");
    }
}
