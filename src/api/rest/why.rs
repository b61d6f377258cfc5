//! What stands behind a lock: who holds it, who waits, and how its last holds ended.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod::Get;

use super::{Replied, ask};
use crate::api::Api;
use crate::api::http::extract::{Caller, LockPath};
use crate::api::http::fields::ModeWord;
use crate::api::http::paths::rest as paths;
use crate::api::http::unexpected_answer;
use crate::api::http::view::{HolderJson, LockJson, cause_word, mode_word, rfc3339, seconds};
use crate::api::openapi::{
    EndCauseWord, LockNameText, MomentText, Operation, Routes, SecondsNumber,
};
use crate::core::{About, Answer, Command, Explanation, PastHold, WaiterView};

pub(super) fn routes() -> Routes<Api> {
    let operation = Operation::new(
        "locks",
        "explainLock",
        "Tells what stands behind a lock",
        "Who holds it since when, who stands in line, and how its last holds ended, the newest first. \
         At most 8 of them are kept, of the 4,096 locks that were last given up, and none over a restart.",
    );
    Routes::new().on(
        Get,
        paths::WHY,
        why,
        operation
            .in_path::<LockNameText>("name")
            .answers::<WhyResponse>("What stands behind it."),
    )
}

#[derive(Serialize, ToSchema)]
#[schema(as = ExplainLockResponse)]
struct WhyResponse {
    lock: LockJson,
    /// Who stands in line, in order, the first 100 of them.
    waiters: Vec<WaiterJson>,
    /// How the last holds ended, the newest first.
    past_holds: Vec<PastHoldJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Waiter)]
struct WaiterJson {
    /// 1 is the next.
    position: u32,
    owner: String,
    #[schema(value_type = ModeWord)]
    mode: &'static str,
    #[schema(value_type = MomentText)]
    wait_start_time: String,
    #[schema(value_type = SecondsNumber)]
    wait_ends_in: f64,
    metadata: BTreeMap<String, String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PastHold)]
struct PastHoldJson {
    /// As it was, without a time to its end; its metadata is left out where it is over 1 KiB.
    holder: HolderJson,
    #[schema(value_type = EndCauseWord)]
    cause: &'static str,
    #[schema(value_type = MomentText)]
    end_time: String,
}

impl WaiterJson {
    fn new(view: &WaiterView, position: u32) -> WaiterJson {
        let about = view.about.as_deref();
        WaiterJson {
            position,
            owner: about.map(About::owner).unwrap_or_default().to_owned(),
            mode: mode_word(view.mode),
            wait_start_time: rfc3339(view.since),
            wait_ends_in: seconds(view.ends_in),
            metadata: about.map(About::metadata).cloned().unwrap_or_default(),
        }
    }
}

impl From<&PastHold> for PastHoldJson {
    fn from(past: &PastHold) -> PastHoldJson {
        PastHoldJson {
            holder: HolderJson::from(&past.holder),
            cause: cause_word(past.cause),
            end_time: rfc3339(past.at),
        }
    }
}

impl From<&Explanation> for WhyResponse {
    fn from(explained: &Explanation) -> WhyResponse {
        let waiters = explained.waiters.iter().zip(1..);
        WhyResponse {
            lock: LockJson::from(&explained.lock),
            waiters: waiters
                .map(|(view, position)| WaiterJson::new(view, position))
                .collect(),
            past_holds: explained
                .past_holds
                .iter()
                .map(PastHoldJson::from)
                .collect(),
        }
    }
}

async fn why(
    State(api): State<Api>,
    Caller(caller): Caller,
    LockPath(lock): LockPath,
) -> Replied<WhyResponse> {
    match ask(&api, &caller.namespace, Command::Explain { lock }).await? {
        Answer::Explained(explained) => Ok(Json(WhyResponse::from(&*explained))),
        _ => Err(unexpected_answer()),
    }
}
