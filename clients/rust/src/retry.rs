//! Trying again.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::error::{Error, Result};
use crate::session::Shared;

/// Growing pauses, each with chance in it, so that many clients don't come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { next: min, max }
    }

    /// Pauses before the next attempt, or gives `error` back where there is no time for it.
    pub(crate) async fn pause(
        &mut self,
        shared: &Shared,
        error: Error,
        until: Option<Duration>,
    ) -> Result<()> {
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        let pause = pause.max(error.retry_after().unwrap_or_default().min(self.max));
        self.next = (self.next * 2).min(self.max);
        if until.is_some_and(|until| shared.now() + pause >= until) {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

impl Shared {
    /// Makes a call of its own, which may wait for so long at the server, and makes it again where
    /// that may help. It has to be one that may be made twice: a reading one, or with a request id.
    pub(crate) async fn call<T, F>(
        &self,
        wait: Duration,
        mut call: impl FnMut(Channel) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let timeout = self.config.call_timeout;
        let until = self.now() + wait + timeout;
        let mut backoff = self.config.backoff();
        loop {
            self.check_open()?;
            // A connection that died unnoticed must not take all the time there is.
            let left = until.saturating_sub(self.now());
            let attempt = left.min(wait + timeout / 2);
            let error = match tokio::time::timeout(attempt, call(self.channel())).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status.into(),
                Err(_) => Error::unavailable("the server did not answer in time"),
            };
            if !error.may_be_retried() {
                return Err(error);
            }
            backoff.pause(self, error, Some(until)).await?;
        }
    }
}
