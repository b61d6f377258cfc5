//! What receivers are sent.

use bytes::Bytes;
use serde::Serialize;

use crate::api::Api;
use crate::api::http::view::{GrantJson, rfc3339, seconds};
use crate::core::{CallbackShape, Turn, WebhookJob};

/// The native shape, as Standard Webhooks suggests it.
#[derive(Serialize)]
struct Native<T> {
    r#type: &'static str,
    timestamp: String,
    data: T,
}

/// The shape of the webmutex dialect.
#[derive(Serialize)]
struct Webmutex<'a> {
    status: &'static str,
    id: &'a str,
    token: String,
    fencing_token: String,
}

/// A ticket whose turn it is.
#[derive(Serialize)]
struct Ready<'a> {
    fifo: &'a str,
    ticket: String,
    number: String,
    /// How long the work may take once the turn is accepted; absent: it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    done_timeout: Option<f64>,
}

/// The body of a job's posts.
pub(super) fn body(api: &Api, job: &WebhookJob) -> Result<Bytes, serde_json::Error> {
    let tokens = api.grant_tokens();
    let timestamp = rfc3339(job.due_at);
    let bytes = match (&job.turn, job.callback.shape) {
        (Turn::Ready(ticket), _) => serde_json::to_vec(&Native {
            r#type: "ticket.ready",
            timestamp,
            data: Ready {
                fifo: ticket.fifo.as_str(),
                ticket: ticket.id.to_string(),
                number: ticket.number.to_string(),
                done_timeout: ticket.timeouts.done.map(seconds),
            },
        }),
        (Turn::Granted(granted), CallbackShape::Native) => serde_json::to_vec(&Native {
            r#type: "lock.granted",
            timestamp,
            data: GrantJson::new(tokens, &job.namespace, granted),
        }),
        (Turn::Granted(granted), CallbackShape::Webmutex) => {
            let fencing_token = granted.holder.fencing_token;
            serde_json::to_vec(&Webmutex {
                status: "ok",
                id: granted.lock.as_str(),
                token: tokens.mint(&job.namespace, &granted.lock, fencing_token),
                fencing_token: fencing_token.to_string(),
            })
        }
    };
    bytes.map(Bytes::from)
}
