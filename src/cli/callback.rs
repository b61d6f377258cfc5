//! Whom to call when a turn comes, as the command line gives it.

use std::fmt::{self, Display};

use clap::Args;
use secrecy::SecretString;
use serde::Serialize;

use super::error::CliError;
use super::input;
use crate::proto::v1::{AcquireLockResponse, Callback};

/// Whom to call.
#[derive(Args, Debug)]
pub struct CallbackArgs {
    /// Don't wait here: post the grant to this address when the turn comes, and print the webhook's id
    #[arg(long, value_name = "URL")]
    callback: Option<String>,

    #[command(flatten)]
    secret: SecretArgs,

    /// How long the receiver has to take its turn before it is the next one's: 1s to 1h; without it,
    /// 1m
    #[arg(long, value_name = "DURATION", requires = "callback")]
    accept_timeout: Option<String>,
}

/// Whom to call when it is a ticket's turn.
#[derive(Args, Debug)]
pub struct TicketCallbackArgs {
    /// Post to this address when it is the ticket's turn: an answer of 2xx accepts it, 410 lets it lapse
    #[arg(long, value_name = "URL")]
    callback: Option<String>,

    #[command(flatten)]
    secret: SecretArgs,
}

/// What posts are signed with.
#[derive(Args, Debug)]
struct SecretArgs {
    /// With --callback: what to sign with, whsec_ and base64; - reads it from stdin; without it, what
    /// `holdfast webhook secret` prints
    #[arg(
        long,
        value_name = "SECRET|-",
        env = "HOLDFAST_CALLBACK_SECRET",
        hide_env_values = true,
        value_parser = input::secret
    )]
    callback_secret: Option<SecretString>,
}

impl CallbackArgs {
    /// As a message; `None`: nobody is to be called.
    pub fn callback(&self) -> Result<Option<Callback>, CliError> {
        let accept_timeout = self.accept_timeout.as_deref();
        let accept_timeout = accept_timeout
            .map(|span| input::proto_duration("accept_timeout", span))
            .transpose()?;
        let callback = callback(self.callback.as_deref(), &self.secret)?;
        Ok(callback.map(|callback| Callback {
            accept_timeout,
            ..callback
        }))
    }
}

impl TicketCallbackArgs {
    /// As a message; `None`: nobody is to be called.
    pub fn callback(&self) -> Result<Option<Callback>, CliError> {
        callback(self.callback.as_deref(), &self.secret)
    }
}

fn callback(url: Option<&str>, secret: &SecretArgs) -> Result<Option<Callback>, CliError> {
    let Some(url) = url else {
        return Ok(None);
    };
    let secret = secret.callback_secret.as_ref();
    Ok(Some(Callback {
        url: url.to_owned(),
        secret: secret
            .map(|secret| input::secret_or_stdin("callback_secret", secret))
            .transpose()?
            .unwrap_or_default(),
        accept_timeout: None,
    }))
}

/// The place in line is taken.
#[derive(Serialize)]
pub struct Subscribed {
    webhook: String,
}

impl From<AcquireLockResponse> for Subscribed {
    fn from(answer: AcquireLockResponse) -> Subscribed {
        Subscribed {
            webhook: answer.webhook,
        }
    }
}

impl Display for Subscribed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.webhook)
    }
}
