//! Posts what is due: follows each shard, and runs one task for each webhook until it is settled or
//! its time is over.
//!
//! What is due is durable, so nothing is lost with a task: whoever follows next posts it again,
//! under the same id.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::body::body;
use crate::api::Api;
use crate::core::{
    Answer, Attempt, Command, Namespace, WebhookAnswer, WebhookCommand, WebhookId, WebhookJob,
};
use crate::shard::{Shard, WatchNews};
use crate::webhook::{self, AttemptOutcome, Delivery, Endpoint, Job, Turns, WebhookSecret};

/// How many webhooks are fetched at once.
const FETCH_MAX: usize = 256;
/// How long to wait before a shard that has failed is followed again.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);
/// Stands for no end of the time to take a turn.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

impl Api {
    /// Posts webhooks until no more calls are accepted.
    pub async fn post_webhooks(self) {
        let turns = Turns::default();
        let follow = self
            .shards()
            .iter()
            .map(|shard| Poster::new(&self, shard, &turns).follow());
        tokio::select! {
            _ = futures_util::future::join_all(follow) => {}
            () = self.stopping() => {}
        }
    }
}

/// Posts what is due in one shard.
struct Poster {
    api: Api,
    shard: Shard,
    turns: Turns,
    /// Dropping it gives up every post that is under way.
    tasks: JoinSet<WebhookId>,
    running: HashMap<WebhookId, AbortHandle>,
    /// The due number of what was fetched last.
    fetched: u64,
}

impl Poster {
    fn new(api: &Api, shard: &Shard, turns: &Turns) -> Poster {
        Poster {
            api: api.clone(),
            shard: shard.clone(),
            turns: turns.clone(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            fetched: 0,
        }
    }

    async fn follow(mut self) {
        // Any namespace will do: the shard tells of all of them.
        let Ok(any) = Namespace::new("default") else {
            return;
        };
        loop {
            self.follow_once(&any).await;
            self.tasks.abort_all();
            self.running.clear();
            self.fetched = 0;
            sleep(FOLLOW_PAUSE).await;
        }
    }

    /// Follows the shard until it fails, or until this reads too slowly.
    async fn follow_once(&mut self, any: &Namespace) {
        let mut watch = self.shard.follow_webhooks(any);
        loop {
            tokio::select! {
                news = watch.next() => match news {
                    Some(WatchNews::WebhooksDue) => {
                        if self.fetch(any).await.is_none() {
                            return;
                        }
                    }
                    Some(WatchNews::WebhookOver(id)) => {
                        if let Some(task) = self.running.remove(&id) {
                            task.abort();
                        }
                    }
                    Some(_) | None => return,
                },
                Some(done) = self.tasks.join_next() => {
                    if let Ok(id) = done {
                        self.running.remove(&id);
                    }
                }
            }
        }
    }

    /// Starts what has come due; `None` when the shard can't tell.
    async fn fetch(&mut self, any: &Namespace) -> Option<()> {
        loop {
            let command = Command::Webhook(WebhookCommand::Due {
                after: self.fetched,
                limit: FETCH_MAX,
            });
            let outcome = self.shard.call(any, command).outcome().await;
            let Ok(Answer::Webhook(WebhookAnswer::Due(jobs))) = outcome else {
                return None;
            };
            let is_all = jobs.len() < FETCH_MAX;
            for job in jobs {
                self.fetched = job.due_number;
                self.start(job);
            }
            if is_all {
                return Some(());
            }
        }
    }

    fn start(&mut self, job: WebhookJob) {
        let id = job.id;
        let task = post(
            self.api.clone(),
            self.shard.clone(),
            self.turns.clone(),
            job,
        );
        let task = self.tasks.spawn(async move {
            task.await;
            id
        });
        self.running.insert(id, task);
    }
}

/// Posts one webhook until it is settled or its time is over.
async fn post(api: Api, shard: Shard, turns: Turns, job: WebhookJob) {
    let until = Instant::now() + job.accept_in.unwrap_or(FOR_EVER);
    let (namespace, id) = (job.namespace.clone(), job.id);
    let delivery = match delivery(&api, &job) {
        Ok(delivery) => delivery,
        Err(problem) => {
            // It was checked when it was subscribed; so this is a defect, told to whoever lists it.
            let attempt = Attempt {
                status: None,
                error: problem,
            };
            return shard.report_webhook(&namespace, WebhookCommand::Attempted { id, attempt });
        }
    };
    let job = Job {
        namespace,
        delivery,
    };
    webhook::deliver(api.sender(), &turns, &job, until, |attempt| {
        shard.report_webhook(&job.namespace, report(id, attempt.outcome));
    })
    .await;
}

fn delivery(api: &Api, job: &WebhookJob) -> Result<Delivery, String> {
    let secret = match &job.callback.secret {
        Some(secret) => WebhookSecret::from_key(secret.bytes().to_vec())
            .map_err(|invalid| invalid.to_string())?,
        None => api.webhook_secrets().of(&job.namespace),
    };
    Ok(Delivery {
        id: job.id,
        endpoint: Endpoint::parse("callback.url", job.callback.url.as_str())
            .map_err(|invalid| invalid.to_string())?,
        secret: Some(secret),
        body: body(api, job).map_err(|error| error.to_string())?,
    })
}

fn report(id: WebhookId, outcome: AttemptOutcome) -> WebhookCommand {
    let settled = |taken, status| WebhookCommand::Settled {
        id,
        taken,
        attempt: Attempt {
            status: Some(status),
            error: String::new(),
        },
    };
    match outcome {
        AttemptOutcome::Accepted { status } => settled(true, status),
        AttemptOutcome::Refused => settled(false, 410),
        AttemptOutcome::Failed { reason, status, .. } => WebhookCommand::Attempted {
            id,
            attempt: Attempt {
                status,
                error: reason,
            },
        },
    }
}
