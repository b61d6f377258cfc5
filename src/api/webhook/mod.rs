//! Webhooks: what callers may say of a callback, the secrets that posts are signed with, and the
//! task that posts what is due.

mod body;
mod post;
mod secret;

use std::sync::Arc;
use std::time::Duration;

pub use secret::WebhookSecrets;

use super::{AcquireInput, Api};
use crate::core::limits::CALLBACK_ACCEPT_DEFAULT;
use crate::core::{
    Acquire, Callback, CallbackShape, CallbackUrl, Hold, Invalid, Subscribe, WebhookId,
    check_accept_timeout, check_callback_wait,
};
use crate::webhook::{Endpoint, WebhookSecret};

/// What callers of every surface may say of a callback, before it is checked.
#[derive(Clone, Debug)]
pub struct CallbackInput {
    /// Where to post.
    pub url: String,
    /// What to sign with, `whsec_` and base64; empty: the namespace's own secret.
    pub secret: String,
    /// How long the receiver has to take its turn; `None`: 1 m.
    pub accept_timeout: Option<Duration>,
    /// In which shape to tell it.
    pub shape: CallbackShape,
}

impl CallbackInput {
    /// Checks everything, also whether the address may be called: that may look up a name, for up to
    /// [`LOOKUP_TIMEOUT`](crate::webhook::LOOKUP_TIMEOUT).
    ///
    /// # Errors
    /// Names `callback.url`, `callback.secret` or `callback.accept_timeout`.
    pub async fn check(self, api: &Api) -> Result<Subscribe, Invalid> {
        const URL: &str = "callback.url";
        let endpoint = Endpoint::parse(URL, &self.url)?;
        let secret = if self.secret.is_empty() {
            None
        } else {
            let secret = WebhookSecret::parse(&self.secret).map_err(|invalid| Invalid {
                field: "callback.secret",
                ..invalid
            })?;
            Some(secret.to_core()?)
        };
        let accept_timeout = self.accept_timeout.unwrap_or(CALLBACK_ACCEPT_DEFAULT);
        let callback = Callback {
            url: CallbackUrl::new(endpoint.as_str())?,
            secret,
            accept_timeout: check_accept_timeout(accept_timeout)?,
            shape: self.shape,
        };
        api.sender().check(URL, &endpoint).await?;
        Ok(Subscribe {
            id: WebhookId(uuid::Uuid::new_v4().as_u128()),
            callback: Arc::new(callback),
        })
    }
}

impl CallbackInput {
    /// As [`CallbackInput::check`], for a ticket: the time to accept it is the receiver's.
    ///
    /// # Errors
    /// As for [`CallbackInput::check`]; an accept timeout is refused.
    pub async fn check_for_ticket(self, api: &Api) -> Result<Subscribe, Invalid> {
        if self.accept_timeout.is_some() {
            let expected = "is for locks: a ticket's own accept timeout counts";
            return Err(Invalid::new("callback.accept_timeout", expected));
        }
        self.check(api).await
    }
}

impl AcquireInput {
    /// Checks everything of an acquire whose grant is posted; `hold_default` stands where the caller
    /// named none.
    ///
    /// # Errors
    /// As for [`AcquireInput::check`] and [`CallbackInput::check`]; the wait may be longer.
    pub async fn check_with_callback(
        self,
        api: &Api,
        hold_default: Hold,
        callback: CallbackInput,
    ) -> Result<Acquire, Invalid> {
        let wait = check_callback_wait(self.wait)?;
        let input = AcquireInput {
            wait: Duration::ZERO,
            ..self
        };
        let acquire = input.check(hold_default)?;
        Ok(Acquire {
            wait,
            // Last: it may have to look up a name.
            subscribe: Some(callback.check(api).await?),
            ..acquire
        })
    }
}

/// Reads the id of a webhook.
///
/// # Errors
/// Names `webhook`.
pub fn webhook_id(text: &str) -> Result<WebhookId, Invalid> {
    text.strip_prefix("msg_")
        .filter(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|digits| u128::from_str_radix(digits, 16).ok())
        .map(WebhookId)
        .ok_or_else(|| Invalid::new("webhook", "must be msg_ and 32 hexadecimal digits"))
}
