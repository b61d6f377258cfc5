//! Locks, grants, leases and values as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::ModeWord;
use crate::api::openapi::{
    DecimalText, GrantTokenText, LeaseIdText, LockNameText, LockState, MomentText, SecondsNumber,
    ValueKeyText,
};
use crate::api::{GrantTokens, lease_id_text};
use crate::core::{
    EndCause, Granted, HolderView, LeaseView, LockView, Mode, Namespace, ValueKey, ValueView,
    WallTime,
};

/// A span in seconds, to the millisecond and never more than is left.
pub fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1e3
}

/// A moment as RFC 3339 in UTC.
pub fn rfc3339(at: WallTime) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let nanos = (at.0 % 1000) as i32 * 1_000_000;
    prost_types::Timestamp { seconds, nanos }.to_string()
}

/// A mode's word.
pub fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "EXCLUSIVE",
        Mode::Shared => "SHARED",
    }
}

/// The word for how a hold ended.
pub fn cause_word(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Released => "released",
        EndCause::Expired => "expired",
        EndCause::Revoked => "revoked",
        EndCause::Forced => "forced",
        EndCause::CallbackRefused => "callback_refused",
        EndCause::CallbackTimedOut => "callback_timed_out",
    }
}

/// What everyone in the namespace may see of a grant.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Holder)]
pub struct HolderJson {
    owner: String,
    #[schema(value_type = DecimalText)]
    fencing_token: String,
    #[schema(value_type = ModeWord)]
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    expires_in: Option<f64>,
    #[schema(value_type = MomentText)]
    acquire_time: String,
    metadata: BTreeMap<String, String>,
}

impl From<&HolderView> for HolderJson {
    fn from(holder: &HolderView) -> HolderJson {
        let about = holder.about.as_deref();
        HolderJson {
            owner: about
                .map(|about| about.owner().to_owned())
                .unwrap_or_default(),
            fencing_token: holder.fencing_token.to_string(),
            mode: mode_word(holder.mode),
            expires_in: holder.expires_in.map(seconds),
            acquire_time: rfc3339(holder.acquired_at),
            metadata: about
                .map(|about| about.metadata().clone())
                .unwrap_or_default(),
        }
    }
}

/// A lock as it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Lock)]
pub struct LockJson {
    #[schema(value_type = LockNameText)]
    name: String,
    #[schema(value_type = LockState)]
    state: &'static str,
    holders: Vec<HolderJson>,
    holder_count: usize,
    waiters: usize,
    reserved: bool,
    /// How long the release delays of holders that lost it go on; absent: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    held_back_for: Option<f64>,
}

impl From<&LockView> for LockJson {
    fn from(view: &LockView) -> LockJson {
        LockJson {
            name: view.name.to_string(),
            state: match (view.holder_count, view.held_back_for) {
                (0, None) => "FREE",
                (0, Some(_)) => "HELD_BACK",
                _ => "HELD",
            },
            holders: view.holders.iter().map(HolderJson::from).collect(),
            holder_count: view.holder_count,
            waiters: view.waiter_count,
            reserved: view.reserved,
            held_back_for: view.held_back_for.map(seconds),
        }
    }
}

/// A grant as told to its holder: the only place where its grant token is written.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Grant)]
pub struct GrantJson {
    #[schema(value_type = LockNameText)]
    lock: String,
    #[schema(value_type = GrantTokenText)]
    grant_token: String,
    #[schema(value_type = DecimalText)]
    fencing_token: String,
    #[schema(value_type = ModeWord)]
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    expires_in: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = LeaseIdText)]
    lease_id: Option<String>,
    #[schema(value_type = MomentText)]
    acquire_time: String,
}

impl GrantJson {
    /// Of a grant in this namespace.
    pub fn new(tokens: &GrantTokens, namespace: &Namespace, granted: &Granted) -> GrantJson {
        let holder = HolderJson::from(&granted.holder);
        GrantJson {
            lock: granted.lock.to_string(),
            grant_token: tokens.mint(namespace, &granted.lock, granted.holder.fencing_token),
            fencing_token: holder.fencing_token,
            mode: holder.mode,
            expires_in: holder.expires_in,
            owner: Some(holder.owner).filter(|owner| !owner.is_empty()),
            metadata: holder.metadata,
            lease_id: granted.lease.map(lease_id_text),
            acquire_time: holder.acquire_time,
        }
    }
}

/// A shared lease as it stands. Its id is a capability.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Lease)]
pub struct LeaseJson {
    #[schema(value_type = LeaseIdText)]
    lease_id: String,
    #[schema(value_type = SecondsNumber)]
    ttl: f64,
    #[schema(value_type = SecondsNumber)]
    expires_in: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[schema(value_type = MomentText)]
    create_time: String,
    grant_count: usize,
    waiter_count: usize,
}

impl From<&LeaseView> for LeaseJson {
    fn from(view: &LeaseView) -> LeaseJson {
        let about = view.about.as_deref();
        LeaseJson {
            lease_id: lease_id_text(view.id),
            ttl: seconds(view.ttl),
            expires_in: seconds(view.expires_in),
            owner: about
                .map(|about| about.owner().to_owned())
                .filter(|owner| !owner.is_empty()),
            metadata: about
                .map(|about| about.metadata().clone())
                .unwrap_or_default(),
            create_time: rfc3339(view.created_at),
            grant_count: view.grant_count,
            waiter_count: view.waiter_count,
        }
    }
}

/// Bytes that callers keep: text as it is, anything else as base64. The default is none at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = Bytes)]
pub struct BytesJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl BytesJson {
    /// Of these.
    pub fn new(bytes: &[u8]) -> BytesJson {
        let text = std::str::from_utf8(bytes).ok();
        BytesJson {
            value: text.map(str::to_owned),
            value_base64: text.is_none().then(|| STANDARD.encode(bytes)),
        }
    }
}

/// What is under a key; the revision `0` where there is nothing.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Value)]
pub struct ValueJson {
    #[schema(value_type = ValueKeyText)]
    key: String,
    #[serde(flatten)]
    bytes: BytesJson,
    #[schema(value_type = DecimalText)]
    revision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SecondsNumber)]
    expires_in: Option<f64>,
}

impl ValueJson {
    /// What is there, or that there is nothing.
    pub fn new(key: &ValueKey, value: Option<&ValueView>) -> ValueJson {
        match value {
            Some(value) => {
                let left = value.expires_in.map(seconds);
                ValueJson::of(key.as_str(), value.bytes.bytes(), value.revision, left)
            }
            None => ValueJson::none(key.as_str()),
        }
    }

    /// That there is nothing.
    pub fn none(key: &str) -> ValueJson {
        ValueJson {
            key: key.to_owned(),
            bytes: BytesJson::default(),
            revision: "0".to_owned(),
            expires_in: None,
        }
    }

    /// Of a value in parts.
    pub fn of(key: &str, bytes: &[u8], revision: u64, expires_in: Option<f64>) -> ValueJson {
        ValueJson {
            key: key.to_owned(),
            bytes: BytesJson::new(bytes),
            revision: revision.to_string(),
            expires_in,
        }
    }
}

impl From<&ValueView> for ValueJson {
    fn from(view: &ValueView) -> ValueJson {
        ValueJson::new(&view.key, Some(view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(rfc3339(WallTime(0)), "1970-01-01T00:00:00Z");
        assert_eq!(
            rfc3339(WallTime(1_700_000_000_123)),
            "2023-11-14T22:13:20.123Z"
        );
        // A clock that is far off must not take the server with it.
        let _ = rfc3339(WallTime(u64::MAX));
    }

    #[test]
    fn what_is_left_is_never_overstated() {
        assert_eq!(seconds(Duration::from_micros(59_999_999)), 59.999);
        assert_eq!(seconds(Duration::from_secs(30)), 30.0);
    }
}
