//! `holdfast why`: what stands behind a lock.

use std::fmt::{self, Display};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::client::{self, ConnectArgs};
use super::error::EXIT_CODES;
use super::views;
use crate::proto::v1::{ExplainLockRequest, ExplainLockResponse};

/// Tell what stands behind a lock: who holds it, who waits, and how its last holds ended
///
/// The server keeps the last 8 holds of each of the 4,096 locks that were last given up, in memory:
/// a restart forgets them.
#[derive(Args, Debug)]
#[command(after_help = format!("\
Examples:
  holdfast why deploy
  holdfast why deploy --json | jq -r '.past_holds[0].cause'

{EXIT_CODES}"))]
pub struct WhyArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// The lock's name
    #[arg(value_name = "LOCK")]
    lock: String,
}

impl WhyArgs {
    /// Asks the server and prints its answer.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        client::call(&self.connect, async |client, output| {
            let request = ExplainLockRequest { lock: self.lock };
            let answer = client.ask(client.locks().explain_lock(request)).await?;
            output.answer(&Why::from(answer))?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

#[derive(Serialize)]
struct Why {
    lock: views::Lock,
    waiters: Vec<views::Waiter>,
    past_holds: Vec<views::PastHold>,
}

impl From<ExplainLockResponse> for Why {
    fn from(answer: ExplainLockResponse) -> Why {
        Why {
            lock: answer.lock.unwrap_or_default().into(),
            waiters: answer.waiters.into_iter().map(Into::into).collect(),
            past_holds: answer.past_holds.into_iter().map(Into::into).collect(),
        }
    }
}

impl Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.lock)?;
        if !self.waiters.is_empty() {
            write!(f, "\nin line:")?;
        }
        for waiter in &self.waiters {
            write!(f, "\n  {waiter}")?;
        }
        let hidden = (self.lock.waiters as usize).saturating_sub(self.waiters.len());
        if hidden > 0 {
            write!(f, "\n  and {hidden} more")?;
        }
        if self.past_holds.is_empty() {
            return write!(f, "\nno past holds are known");
        }
        write!(f, "\npast holds:")?;
        for past in &self.past_holds {
            write!(f, "\n  {past}")?;
        }
        Ok(())
    }
}
