use std::net::IpAddr;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

use super::*;

const PUBLIC: &str = "93.184.216.34";

/// A sender that may call nothing inside the network, and finds `answers` for any name.
fn strict(answers: &[&[&str]]) -> Sender {
    Sender::with_resolver(AddressPolicy::default(), Names::new(answers)).unwrap()
}

/// A URL of the receiver with another host.
fn with_host(receiver: &Receiver, host: &str) -> Endpoint {
    at(&format!("http://{host}:{}/hook", receiver.address.port()))
}

#[tokio::test]
async fn this_machine_is_refused_in_every_form_at_subscription_and_at_connection() {
    let receiver = Receiver::answering(&[200]).await;
    let sender = Sender::new(AddressPolicy::default()).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "LOCALHOST",
    ] {
        let endpoint = with_host(&receiver, host);
        let invalid = sender.check("callback.url", &endpoint).await.unwrap_err();
        assert_eq!(invalid.field, "callback.url");
        let told = "not on the public internet";
        assert!(invalid.expected.contains(told), "{host}: {invalid}");
        let attempt = sender.attempt(&delivery(endpoint), now(), PLENTY).await;
        let reason = reason(attempt);
        assert!(reason.contains(told), "{host}: {reason}");
    }
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn what_the_operator_allows_is_called_by_address_and_by_name() {
    let receiver = Receiver::answering(&[200]).await;
    let policy = AddressPolicy::parse(["127.0.0.0/8"]).unwrap();
    let names = Names::new(&[&["127.0.0.1"]]);
    let sender = Sender::with_resolver(policy, names).unwrap();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "ci.example"] {
        let endpoint = with_host(&receiver, host);
        sender.check("endpoint", &endpoint).await.unwrap();
        let outcome = sender.attempt(&delivery(endpoint), now(), PLENTY).await;
        let status = 200;
        assert_eq!(outcome, AttemptOutcome::Accepted { status }, "{host}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_inside_after_it_was_subscribed_is_refused_at_connection() {
    let receiver = Receiver::answering(&[200]).await;
    for inside in ["127.0.0.1", "::ffff:127.0.0.1"] {
        let sender = strict(&[&[PUBLIC], &[inside]]);
        let endpoint = with_host(&receiver, "rebinding.example");
        sender.check("endpoint", &endpoint).await.unwrap();
        let reason = reason(sender.attempt(&delivery(endpoint), now(), PLENTY).await);
        let told = "no connection: rebinding.example is not on the public internet";
        assert!(reason.starts_with(told), "{reason}");
    }
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn a_name_with_one_address_inside_is_refused_at_subscription() {
    let sender = strict(&[&[PUBLIC, "10.0.0.7"]]);
    let endpoint = at("https://ci.example/");
    let invalid = sender.check("endpoint", &endpoint).await.unwrap_err();
    assert!(invalid.expected.contains("ci.example"), "{invalid}");
    // Which addresses names have inside is for nobody outside to know.
    assert!(!invalid.expected.contains("10.0.0.7"), "{invalid}");
}

#[tokio::test]
async fn only_the_addresses_that_may_be_called_are_tried() {
    let allowed = Receiver::answering(&[200]).await;
    let neighbour = ("127.0.0.2", allowed.address.port());
    let neighbour = TcpListener::bind(neighbour).await.unwrap();
    let policy = AddressPolicy::parse(["127.0.0.1"]).unwrap();
    let names = Names::new(&[&["127.0.0.2", "127.0.0.1"]]);
    let sender = Sender::with_resolver(policy, names).unwrap();
    let endpoint = with_host(&allowed, "ci.example");
    let outcome = sender.attempt(&delivery(endpoint), now(), PLENTY).await;
    assert_eq!(outcome, AttemptOutcome::Accepted { status: 200 });
    assert!(neighbour.accept().now_or_never().is_none());
}

#[tokio::test]
async fn a_name_without_an_address_is_refused_with_the_reason() {
    let sender = strict(&[&[]]);
    let endpoint = at("http://ci.example/");
    let invalid = sender.check("endpoint", &endpoint).await.unwrap_err();
    assert!(invalid.expected.contains("can't be resolved"), "{invalid}");
    let reason = reason(sender.attempt(&delivery(endpoint), now(), PLENTY).await);
    assert!(reason.contains("can't be resolved"), "{reason}");
}

/// A resolver that never answers.
struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: &str) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_resolver_that_hangs_is_given_up() {
    let sender = Sender::with_resolver(AddressPolicy::default(), Silent).unwrap();
    let endpoint = at("http://ci.example/");
    let invalid = sender.check("endpoint", &endpoint).await.unwrap_err();
    assert!(invalid.expected.contains("within 2s"), "{invalid}");
    let reason = reason(sender.attempt(&delivery(endpoint), now(), PLENTY).await);
    assert!(reason.contains("within 2s"), "{reason}");
}
