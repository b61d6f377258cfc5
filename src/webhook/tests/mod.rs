//! Webhooks over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod addresses;
mod attempts;
mod deliveries;
mod https;
mod receiver;

use std::time::Duration;

use self::receiver::{Names, Receiver, at};
use super::*;
use crate::core::WebhookId;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Long enough for whatever should succeed.
const PLENTY: Duration = Duration::from_secs(10);

/// A sender that may call this machine.
fn sender() -> Sender {
    let policy = AddressPolicy::parse(["127.0.0.0/8"]).unwrap();
    Sender::new(policy).unwrap()
}

fn delivery(endpoint: Endpoint) -> Delivery {
    Delivery {
        id: WebhookId(7),
        endpoint,
        secret: Some(WebhookSecret::parse(SECRET).unwrap()),
        body: r#"{"status":"ok"}"#.into(),
    }
}

fn now() -> u64 {
    crate::shard::wall_time().0 / 1000
}

/// What was told of an attempt that failed.
fn reason(outcome: AttemptOutcome) -> String {
    match outcome {
        AttemptOutcome::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}
