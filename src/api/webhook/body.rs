//! What receivers are sent.

use bytes::Bytes;
use serde::Serialize;

use crate::api::Api;
use crate::api::http::view::{GrantJson, rfc3339};
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

/// The body of a job's posts: the same for all of them but for the time left.
pub(super) fn body(api: &Api, job: &WebhookJob) -> Result<Bytes, serde_json::Error> {
    let Turn::Granted(granted) = &job.turn;
    let tokens = api.grant_tokens();
    let bytes = match job.callback.shape {
        CallbackShape::Native => serde_json::to_vec(&Native {
            r#type: "lock.granted",
            timestamp: rfc3339(job.due_at),
            data: GrantJson::new(tokens, &job.namespace, granted),
        }),
        CallbackShape::Webmutex => {
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
