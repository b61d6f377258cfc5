//! What the server answers, as JSON with the field names of the REST API, and as text for people.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;

use crate::api::http::view;
use crate::proto::v1;

/// A grant, as told to its holder.
#[derive(Debug, Serialize)]
pub struct Grant {
    /// The lock's name.
    pub lock: String,
    /// The secret that proves the hold.
    pub grant_token: String,
    /// A decimal string: many readers of JSON keep no whole 64-bit number.
    pub fencing_token: String,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    owner: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    lease_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    acquire_time: Option<String>,
}

impl From<v1::Grant> for Grant {
    fn from(grant: v1::Grant) -> Grant {
        Grant {
            mode: mode(grant.mode),
            lock: grant.lock,
            grant_token: grant.grant_token,
            fencing_token: grant.fencing_token.to_string(),
            expires_in: grant.expires_in.as_ref().map(seconds),
            owner: grant.owner,
            metadata: grant.metadata,
            lease_id: grant.lease_id,
            acquire_time: grant.acquire_time.as_ref().map(ToString::to_string),
        }
    }
}

impl Grant {
    /// Lines that a shell evaluates.
    pub fn to_shell(&self) -> String {
        // Neither holds a character that is special in any shell, so they need no quotes.
        format!(
            "export HOLDFAST_GRANT_TOKEN={}\nexport HOLDFAST_FENCING_TOKEN={}",
            self.grant_token, self.fencing_token
        )
    }
}

impl Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "grant_token={} fencing_token={}",
            self.grant_token, self.fencing_token
        )?;
        match self.expires_in {
            Some(seconds) => write!(f, " expires_in={seconds}"),
            None => Ok(()),
        }
    }
}

/// What everyone in the namespace may see of a grant.
#[derive(Debug, Serialize)]
pub struct Holder {
    owner: String,
    fencing_token: String,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acquire_time: Option<String>,
    metadata: BTreeMap<String, String>,
}

impl From<v1::Holder> for Holder {
    fn from(holder: v1::Holder) -> Holder {
        Holder {
            mode: mode(holder.mode),
            owner: holder.owner,
            fencing_token: holder.fencing_token.to_string(),
            expires_in: holder.expires_in.as_ref().map(seconds),
            acquire_time: holder.acquire_time.as_ref().map(ToString::to_string),
            metadata: holder.metadata,
        }
    }
}

impl Holder {
    /// The owner, or what stands for one that gave no name.
    pub fn name(&self) -> &str {
        name(&self.owner)
    }

    /// Writes the holder, with `end` for what is to be said of the end of its hold.
    fn write(&self, f: &mut fmt::Formatter<'_>, end: &str) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.mode)?;
        write!(f, " fencing_token={}{end}", self.fencing_token)?;
        if let Some(time) = &self.acquire_time {
            write!(f, " since={time}")?;
        }
        write_metadata(f, &self.metadata)
    }
}

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.expires_in {
            Some(seconds) => format!(" expires_in={seconds}"),
            None => " expires_in=never".to_owned(),
        };
        self.write(f, &end)
    }
}

/// The owner, or what stands for one that gave no name.
pub fn name(owner: &str) -> &str {
    match owner {
        "" => "someone without a name",
        owner => owner,
    }
}

fn write_metadata(f: &mut fmt::Formatter<'_>, metadata: &BTreeMap<String, String>) -> fmt::Result {
    metadata
        .iter()
        .try_for_each(|(key, value)| write!(f, " {key}={value}"))
}

/// A place in the line of a lock.
#[derive(Debug, Serialize)]
pub struct Waiter {
    position: u32,
    owner: String,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_ends_in: Option<f64>,
    metadata: BTreeMap<String, String>,
}

impl From<v1::Waiter> for Waiter {
    fn from(waiter: v1::Waiter) -> Waiter {
        Waiter {
            position: waiter.position,
            owner: waiter.owner,
            mode: mode(waiter.mode),
            wait_start_time: waiter.wait_start_time.as_ref().map(ToString::to_string),
            wait_ends_in: waiter.wait_ends_in.as_ref().map(seconds),
            metadata: waiter.metadata,
        }
    }
}

impl Display for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {} {}", self.position, name(&self.owner), self.mode)?;
        if let Some(time) = &self.wait_start_time {
            write!(f, " since={time}")?;
        }
        write_metadata(f, &self.metadata)
    }
}

/// A hold that has ended.
#[derive(Debug, Serialize)]
pub struct PastHold {
    cause: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    holder: Holder,
}

impl From<v1::PastHold> for PastHold {
    fn from(past: v1::PastHold) -> PastHold {
        PastHold {
            cause: event_word(past.cause),
            end_time: past.end_time.as_ref().map(ToString::to_string),
            holder: past.holder.unwrap_or_default().into(),
        }
    }
}

impl Display for PastHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = &self.end_time {
            write!(f, "{time} ")?;
        }
        write!(f, "{} ", self.cause)?;
        self.holder.write(f, "")
    }
}

/// A lock.
#[derive(Debug, Serialize)]
pub struct Lock {
    /// The lock's name.
    pub name: String,
    state: &'static str,
    /// The first holders.
    pub holders: Vec<Holder>,
    /// How many holders there are.
    pub holder_count: u32,
    /// How many callers stand in line.
    pub waiters: u32,
    reserved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back_for: Option<f64>,
}

impl From<v1::Lock> for Lock {
    fn from(lock: v1::Lock) -> Lock {
        Lock {
            state: match v1::LockState::try_from(lock.state) {
                Ok(v1::LockState::Held) => "HELD",
                Ok(v1::LockState::HeldBack) => "HELD_BACK",
                _ => "FREE",
            },
            name: lock.name,
            holders: lock.holders.into_iter().map(Holder::from).collect(),
            holder_count: lock.holder_count,
            waiters: lock.waiter_count,
            reserved: lock.reserved,
            held_back_for: lock.held_back_for.as_ref().map(seconds),
        }
    }
}

impl Lock {
    /// The lock on one line.
    pub fn summary(&self) -> String {
        let mut line = format!("{} {}", self.name, self.state);
        if let Some(holder) = self.holders.first() {
            line.push_str(&format!(" by {}", holder.name()));
        }
        if self.holder_count > 1 {
            line.push_str(&format!(" and {} more", self.holder_count - 1));
        }
        if let Some(seconds) = self.held_back_for {
            line.push_str(&format!(" held_back_for={seconds}"));
        }
        if self.waiters > 0 {
            line.push_str(&format!(", {} waiting", self.waiters));
        }
        if self.reserved {
            line.push_str(", reserved");
        }
        line
    }
}

impl Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary())?;
        for holder in &self.holders {
            write!(f, "\n  {holder}")?;
        }
        let hidden = (self.holder_count as usize).saturating_sub(self.holders.len());
        if hidden > 0 {
            write!(f, "\n  and {hidden} more")?;
        }
        Ok(())
    }
}

/// The word for what happened to a grant.
pub fn event_word(kind: i32) -> &'static str {
    use v1::LockEventKind as Kind;
    match Kind::try_from(kind) {
        Ok(Kind::Granted) => "granted",
        Ok(Kind::Released) => "released",
        Ok(Kind::Expired) => "expired",
        Ok(Kind::Revoked) => "revoked",
        Ok(Kind::Forced) => "forced",
        Ok(Kind::CallbackRefused) => "callback_refused",
        Ok(Kind::CallbackTimedOut) => "callback_timed_out",
        Ok(Kind::ReleaseDelayEnded) => "release_delay_ended",
        Ok(Kind::Unspecified) | Err(_) => "unknown",
    }
}

/// A change of a lock's holders, or the end of a release delay.
#[derive(Debug, Serialize)]
pub struct LockEvent {
    event: &'static str,
    lock: String,
    fencing_token: String,
    holder: Option<Holder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time: Option<String>,
    holder_count: u32,
    waiters: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back_for: Option<f64>,
}

impl LockEvent {
    /// A change of `lock`.
    pub fn new(lock: &str, event: v1::LockEvent) -> LockEvent {
        LockEvent {
            lock: lock.to_owned(),
            event: event_word(event.kind),
            fencing_token: event.fencing_token.to_string(),
            holder: event.holder.map(Holder::from),
            event_time: event.event_time.as_ref().map(ToString::to_string),
            holder_count: event.holder_count,
            waiters: event.waiter_count,
            held_back_for: event.held_back_for.as_ref().map(seconds),
        }
    }
}

impl Display for LockEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = &self.event_time {
            write!(f, "{time} ")?;
        }
        write!(f, "{}", self.event)?;
        if let Some(holder) = &self.holder {
            write!(f, " {}", holder.name())?;
        }
        write!(f, " fencing_token={}", self.fencing_token)?;
        write!(f, " holders={} waiters={}", self.holder_count, self.waiters)?;
        match self.held_back_for {
            Some(seconds) => write!(f, " held_back_for={seconds}"),
            None => Ok(()),
        }
    }
}

/// A shared lease.
#[derive(Debug, Serialize)]
pub struct Lease {
    /// The lease's id.
    pub lease_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    owner: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<String>,
    grant_count: u32,
    waiter_count: u32,
}

impl From<v1::Lease> for Lease {
    fn from(lease: v1::Lease) -> Lease {
        Lease {
            lease_id: lease.lease_id,
            ttl: lease.ttl.as_ref().map(seconds),
            expires_in: lease.expires_in.as_ref().map(seconds),
            owner: lease.owner,
            metadata: lease.metadata,
            create_time: lease.create_time.as_ref().map(ToString::to_string),
            grant_count: lease.grant_count,
            waiter_count: lease.waiter_count,
        }
    }
}

impl Lease {
    /// A line that a shell evaluates.
    pub fn to_shell(&self) -> String {
        // A UUID holds no character that is special in any shell.
        format!("export HOLDFAST_LEASE_ID={}", self.lease_id)
    }
}

impl Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease_id={}", self.lease_id)?;
        if let Some(ttl) = self.ttl {
            write!(f, " ttl={ttl}")?;
        }
        if let Some(seconds) = self.expires_in {
            write!(f, " expires_in={seconds}")?;
        }
        write!(
            f,
            " grants={} waiters={}",
            self.grant_count, self.waiter_count
        )?;
        if !self.owner.is_empty() {
            write!(f, " owner={}", self.owner)?;
        }
        for (key, value) in &self.metadata {
            write!(f, " {key}={value}")?;
        }
        Ok(())
    }
}

/// The time that a renewal won.
#[derive(Debug, Serialize)]
pub struct Renewed {
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
}

impl From<Option<prost_types::Duration>> for Renewed {
    fn from(expires_in: Option<prost_types::Duration>) -> Renewed {
        Renewed {
            expires_in: expires_in.as_ref().map(seconds),
        }
    }
}

impl Display for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expires_in {
            Some(seconds) => write!(f, "expires_in={seconds}"),
            None => write!(f, "expires_in=never"),
        }
    }
}

/// So many grants, in words.
pub fn grants(count: u32) -> String {
    match count {
        1 => "1 grant".to_owned(),
        count => format!("{count} grants"),
    }
}

/// A span in seconds, as the REST API writes it.
pub fn seconds(span: &prost_types::Duration) -> f64 {
    let span = std::time::Duration::try_from(*span).unwrap_or_default();
    view::seconds(span)
}

fn mode(mode: i32) -> &'static str {
    match v1::LockMode::try_from(mode) {
        Ok(v1::LockMode::Shared) => "SHARED",
        _ => "EXCLUSIVE",
    }
}
