//! Between the schema's messages and the core's vocabulary.
//!
//! Requests are checked on the way in, each failure naming its field and bound; views go out as
//! they are.

use std::time::Duration;

use prost::Message;

use super::PAGE_BYTES_MAX;
use crate::api::page::{after_lease, after_lease_token, after_name, after_name_token, prefix};
use crate::api::webhook::CallbackInput;
use crate::api::{AcquireInput, Api, ApiError, lease_id, lease_id_text, request_id};
use crate::core::limits::{
    ACK_TIMEOUT_MAX, ACK_TIMEOUT_MIN, CALLBACK_WAIT_MAX, DESTROY_AFTER_DEFAULT, DESTROY_AFTER_MAX,
    DESTROY_AFTER_MIN, LOCK_NAME_BYTES_MAX, RELEASE_DELAY_MAX, TTL_MAX, TTL_MIN, WAIT_MAX,
};
use crate::core::{
    About, Acquire, CallId, Command, EndCause, Explanation, Granted, Hold, HolderView, Invalid,
    LeaseId, LeaseView, LockChange, LockEvent, LockName, LockView, Mode, Namespace, PastHold,
    WaiterView, WallTime, check_ack_timeout, check_destroy_after, check_page_size, check_ttl,
    check_wait,
};
use crate::proto::v1::{self, acquire_lock_request, subscribe_and_grab_request};

/// A span's field with its bounds.
pub(super) struct Span(
    pub(super) &'static str,
    pub(super) Duration,
    pub(super) Duration,
);

const TTL: Span = Span("ttl", TTL_MIN, TTL_MAX);
const RELEASE_DELAY: Span = Span("release_delay", Duration::ZERO, RELEASE_DELAY_MAX);
const WAIT: Span = Span("wait", Duration::ZERO, WAIT_MAX);
const ACK_TIMEOUT: Span = Span("ack_timeout", ACK_TIMEOUT_MIN, ACK_TIMEOUT_MAX);
const CALLBACK_WAIT: Span = Span("wait", Duration::ZERO, CALLBACK_WAIT_MAX);
const DESTROY: Span = Span(
    "unused_destroy_timeout",
    DESTROY_AFTER_MIN,
    DESTROY_AFTER_MAX,
);

/// Reads a span. Those above the bounds pass: the core's own check refuses them.
pub(super) fn duration(span: &Span, value: prost_types::Duration) -> Result<Duration, Invalid> {
    let Span(field, min, max) = span;
    let value = value.normalized();
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds), Ok(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => {
            let expected = format!("must be {min:?} to {max:?}, is negative");
            Err(Invalid::new(field, expected))
        }
    }
}

pub(super) fn ttl(value: Option<prost_types::Duration>) -> Result<Option<Duration>, Invalid> {
    value
        .map(|value| duration(&TTL, value).and_then(check_ttl))
        .transpose()
}

/// Checks how long to wait; absent stands for not at all.
pub(super) fn wait(value: Option<prost_types::Duration>) -> Result<Duration, Invalid> {
    value.map_or(Ok(Duration::ZERO), |value| {
        duration(&WAIT, value).and_then(check_wait)
    })
}

/// Checks the time to acknowledge an item.
pub(super) fn ack_timeout(
    value: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Invalid> {
    value
        .map(|value| duration(&ACK_TIMEOUT, value).and_then(check_ack_timeout))
        .transpose()
}

/// Writes a span; none of ours comes near the end of the type.
pub(super) fn proto_duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn timestamp(at: WallTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(at.0 % 1_000).unwrap_or(0) * 1_000_000,
    }
}

fn shared(mode: i32) -> Result<bool, Invalid> {
    match v1::LockMode::try_from(mode) {
        Ok(v1::LockMode::Unspecified | v1::LockMode::Exclusive) => Ok(false),
        Ok(v1::LockMode::Shared) => Ok(true),
        Err(_) => {
            let expected =
                format!("must be LOCK_MODE_EXCLUSIVE (1) or LOCK_MODE_SHARED (2), is {mode}");
            Err(Invalid::new("mode", expected))
        }
    }
}

fn proto_mode(mode: Mode) -> i32 {
    let mode = match mode {
        Mode::Exclusive => v1::LockMode::Exclusive,
        Mode::Shared => v1::LockMode::Shared,
    };
    mode.into()
}

/// A count for a message; the core's limits keep all of them far below the end of the type.
pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Checks an acquire that is answered here. `hold_default` and `wait_default` stand where the caller
/// named none.
pub(super) fn acquire(
    request: v1::AcquireLockRequest,
    hold_default: Hold,
    wait_default: Duration,
) -> Result<Acquire, Invalid> {
    if request.callback.is_some() {
        let expected = "is for AcquireLock as a call of its own";
        return Err(Invalid::new("callback", expected));
    }
    acquire_input(request, &WAIT, wait_default)?.check(hold_default)
}

/// Checks an acquire whose grant is posted.
pub(super) async fn acquire_with_callback(
    api: &Api,
    request: v1::AcquireLockRequest,
    callback: CallbackInput,
) -> Result<Acquire, Invalid> {
    let hold_default = Hold::Ttl(api.ttl_default());
    acquire_input(request, &CALLBACK_WAIT, CALLBACK_WAIT_MAX)?
        .check_with_callback(api, hold_default, callback)
        .await
}

fn acquire_input(
    request: v1::AcquireLockRequest,
    wait: &Span,
    wait_default: Duration,
) -> Result<AcquireInput, Invalid> {
    use acquire_lock_request::Hold as Asked;
    let hold = match request.hold {
        None | Some(Asked::NoExpiry(false)) => None,
        Some(Asked::NoExpiry(true)) => Some(Hold::Forever),
        Some(Asked::Ttl(value)) => Some(Hold::Ttl(duration(&TTL, value)?)),
        Some(Asked::LeaseId(id)) => Some(Hold::Lease(lease_id(&id)?)),
    };
    Ok(AcquireInput {
        lock: request.lock,
        shared: shared(request.mode)?,
        max_shared: request.max_shared,
        hold,
        release_delay: match request.release_delay {
            Some(value) => duration(&RELEASE_DELAY, value)?,
            None => Duration::ZERO,
        },
        wait: match request.wait {
            Some(value) => duration(wait, value)?,
            None => wait_default,
        },
        owner: request.owner,
        metadata: request.metadata,
        request_id: request.request_id,
    })
}

/// SubscribeAndGrab asks as AcquireLock does, but for the wait where none is named.
pub(super) fn subscribe(
    request: v1::SubscribeAndGrabRequest,
    hold_default: Hold,
) -> Result<Acquire, Invalid> {
    use acquire_lock_request::Hold as To;
    use subscribe_and_grab_request::Hold as From;
    let request = v1::AcquireLockRequest {
        lock: request.lock,
        mode: request.mode,
        max_shared: request.max_shared,
        hold: request.hold.map(|hold| match hold {
            From::Ttl(ttl) => To::Ttl(ttl),
            From::LeaseId(id) => To::LeaseId(id),
            From::NoExpiry(no_expiry) => To::NoExpiry(no_expiry),
        }),
        wait: request.wait,
        owner: request.owner,
        metadata: request.metadata,
        request_id: request.request_id,
        callback: None,
        release_delay: request.release_delay,
    };
    acquire(request, hold_default, WAIT_MAX)
}

pub(super) fn reserve(request: &v1::ReserveLockRequest) -> Result<Command, Invalid> {
    let destroy_after = match request.unused_destroy_timeout {
        Some(value) => check_destroy_after(duration(&DESTROY, value)?)?,
        None => DESTROY_AFTER_DEFAULT,
    };
    Ok(Command::Reserve {
        lock: crate::api::fresh_lock_name()?,
        destroy_after,
        request_id: request_id(&request.request_id)?,
    })
}

pub(super) fn renew(
    api: &Api,
    namespace: &Namespace,
    request: &v1::RenewLockRequest,
) -> Result<Command, ApiError> {
    let lock = LockName::new(&request.lock)?;
    Ok(Command::Renew {
        ttl: ttl(request.ttl)?,
        proof: api.proof(namespace, &lock, &request.grant_token)?,
        lock,
    })
}

pub(super) fn release(
    api: &Api,
    namespace: &Namespace,
    session: Option<CallId>,
    request: &v1::ReleaseLockRequest,
) -> Result<Command, ApiError> {
    let lock = LockName::new(&request.lock)?;
    Ok(Command::Release {
        session,
        request_id: request_id(&request.request_id)?,
        proof: api.proof(namespace, &lock, &request.grant_token)?,
        lock,
    })
}

pub(super) fn check(request: &v1::CheckGrantRequest) -> Result<Command, Invalid> {
    if request.fencing_token == 0 {
        return Err(Invalid::new("fencing_token", "must be at least 1, is 0"));
    }
    Ok(Command::Check {
        lock: LockName::new(&request.lock)?,
        fencing_token: request.fencing_token,
    })
}

pub(super) fn force_release(request: &v1::ForceReleaseLockRequest) -> Result<Command, Invalid> {
    Ok(Command::ForceRelease {
        lock: LockName::new(&request.lock)?,
        fencing_token: (request.fencing_token != 0).then_some(request.fencing_token),
        request_id: request_id(&request.request_id)?,
    })
}

pub(super) fn list_locks(request: v1::ListLocksRequest) -> Result<Command, Invalid> {
    Ok(Command::ListLocks {
        prefix: prefix(request.prefix, LOCK_NAME_BYTES_MAX)?,
        after: after_name(&request.page_token, LockName::new)?,
        limit: check_page_size(request.page_size)?,
    })
}

pub(super) fn create_lease(
    request: v1::CreateLeaseRequest,
    ttl_default: Duration,
) -> Result<Command, Invalid> {
    Ok(Command::CreateLease {
        id: crate::api::fresh_lease_id(),
        ttl: ttl(request.ttl)?.unwrap_or(ttl_default),
        about: About::new(&request.owner, request.metadata)?,
        request_id: request_id(&request.request_id)?,
    })
}

pub(super) fn list_leases(request: &v1::ListLeasesRequest) -> Result<Command, Invalid> {
    Ok(Command::ListLeases {
        after: after_lease(&request.page_token)?,
        limit: check_page_size(request.page_size)?,
    })
}

/// As many entries as fit into one message, at least one, and the token of the next page.
pub(super) fn page<T: Message>(
    mut entries: Vec<T>,
    more: bool,
    last: impl Fn(&T) -> String,
) -> (Vec<T>, String) {
    let mut bytes = 0;
    let fitting = entries
        .iter()
        .take_while(|entry| {
            bytes += entry.encoded_len();
            bytes <= PAGE_BYTES_MAX
        })
        .count()
        .max(1);
    let more = more || fitting < entries.len();
    entries.truncate(fitting);
    let token = entries.last().filter(|_| more).map(last);
    (entries, token.unwrap_or_default())
}

pub(super) fn locks_page(locks: Vec<LockView>, more: bool) -> v1::ListLocksResponse {
    let locks = locks.into_iter().map(lock).collect();
    let (locks, next_page_token) =
        page(locks, more, |lock: &v1::Lock| after_name_token(&lock.name));
    v1::ListLocksResponse {
        locks,
        next_page_token,
    }
}

pub(super) fn leases_page(leases: Vec<LeaseView>, more: bool) -> v1::ListLeasesResponse {
    let leases = leases.into_iter().map(lease).collect();
    let (leases, next_page_token) = page(leases, more, |lease: &v1::Lease| {
        after_lease_token(lease_id(&lease.lease_id).unwrap_or(LeaseId(0)))
    });
    v1::ListLeasesResponse {
        leases,
        next_page_token,
    }
}

pub(super) fn lock(view: LockView) -> v1::Lock {
    let state = match (view.holder_count, view.held_back_for) {
        (0, None) => v1::LockState::Free,
        (0, Some(_)) => v1::LockState::HeldBack,
        _ => v1::LockState::Held,
    };
    v1::Lock {
        name: view.name.as_str().to_owned(),
        state: state.into(),
        holders: view.holders.iter().map(holder).collect(),
        holder_count: count(view.holder_count),
        waiter_count: count(view.waiter_count),
        reserved: view.reserved,
        held_back_for: view.held_back_for.map(proto_duration),
    }
}

fn holder(view: &HolderView) -> v1::Holder {
    let about = view.about.as_deref();
    v1::Holder {
        fencing_token: view.fencing_token,
        owner: about.map(About::owner).unwrap_or_default().to_owned(),
        mode: proto_mode(view.mode),
        acquire_time: Some(timestamp(view.acquired_at)),
        expires_in: view.expires_in.map(proto_duration),
        metadata: about.map(About::metadata).cloned().unwrap_or_default(),
    }
}

/// A grant as told to its holder, with the secret that proves it.
pub(super) fn grant(api: &Api, namespace: &Namespace, granted: &Granted) -> v1::Grant {
    let holder = holder(&granted.holder);
    v1::Grant {
        lock: granted.lock.as_str().to_owned(),
        fencing_token: holder.fencing_token,
        grant_token: api
            .grant_tokens()
            .mint(namespace, &granted.lock, holder.fencing_token),
        mode: holder.mode,
        owner: holder.owner,
        acquire_time: holder.acquire_time,
        expires_in: holder.expires_in,
        lease_id: granted.lease.map(lease_id_text).unwrap_or_default(),
        metadata: holder.metadata,
    }
}

pub(super) fn position(lock: &LockName, position: u32) -> v1::QueuePosition {
    v1::QueuePosition {
        lock: lock.as_str().to_owned(),
        position,
    }
}

pub(super) fn lease(view: LeaseView) -> v1::Lease {
    let about = view.about.as_deref();
    v1::Lease {
        lease_id: lease_id_text(view.id),
        ttl: Some(proto_duration(view.ttl)),
        expires_in: Some(proto_duration(view.expires_in)),
        owner: about.map(About::owner).unwrap_or_default().to_owned(),
        metadata: about.map(About::metadata).cloned().unwrap_or_default(),
        create_time: Some(timestamp(view.created_at)),
        grant_count: count(view.grant_count),
        waiter_count: count(view.waiter_count),
    }
}

/// What stands behind a lock.
pub(super) fn explanation(explained: Explanation) -> v1::ExplainLockResponse {
    let waiters = explained.waiters.iter().zip(1..);
    v1::ExplainLockResponse {
        waiters: waiters.map(|(view, place)| waiter(view, place)).collect(),
        past_holds: explained.past_holds.iter().map(past_hold).collect(),
        lock: Some(lock(explained.lock)),
    }
}

fn waiter(view: &WaiterView, position: u32) -> v1::Waiter {
    let about = view.about.as_deref();
    v1::Waiter {
        position,
        owner: about.map(About::owner).unwrap_or_default().to_owned(),
        mode: proto_mode(view.mode),
        wait_start_time: Some(timestamp(view.since)),
        wait_ends_in: Some(proto_duration(view.ends_in)),
        metadata: about.map(About::metadata).cloned().unwrap_or_default(),
    }
}

fn past_hold(past: &PastHold) -> v1::PastHold {
    v1::PastHold {
        holder: Some(holder(&past.holder)),
        cause: end_kind(past.cause).into(),
        end_time: Some(timestamp(past.at)),
    }
}

fn end_kind(cause: EndCause) -> v1::LockEventKind {
    match cause {
        EndCause::Released => v1::LockEventKind::Released,
        EndCause::Expired => v1::LockEventKind::Expired,
        EndCause::Revoked => v1::LockEventKind::Revoked,
        EndCause::Forced => v1::LockEventKind::Forced,
        EndCause::CallbackRefused => v1::LockEventKind::CallbackRefused,
        EndCause::CallbackTimedOut => v1::LockEventKind::CallbackTimedOut,
    }
}

pub(super) fn event(event: &LockEvent) -> v1::LockEvent {
    let kind = match &event.change {
        LockChange::Granted(_) => v1::LockEventKind::Granted,
        LockChange::Ended(_, cause) => end_kind(*cause),
        LockChange::ReleaseDelayEnded(_) => v1::LockEventKind::ReleaseDelayEnded,
    };
    v1::LockEvent {
        kind: kind.into(),
        holder: event.change.holder().map(holder),
        event_time: Some(timestamp(event.at)),
        holder_count: count(event.holder_count),
        waiter_count: count(event.waiter_count),
        held_back_for: event.held_back_for.map(proto_duration),
        fencing_token: event.change.fencing_token(),
    }
}

pub(super) fn loss(lock: &LockName, fencing_token: u64, cause: EndCause) -> v1::GrantLost {
    let cause = match cause {
        EndCause::Released => v1::LossCause::Released,
        EndCause::Expired => v1::LossCause::Expired,
        EndCause::Revoked => v1::LossCause::Revoked,
        EndCause::Forced => v1::LossCause::Forced,
        EndCause::CallbackRefused | EndCause::CallbackTimedOut => v1::LossCause::Callback,
    };
    v1::GrantLost {
        lock: lock.as_str().to_owned(),
        fencing_token,
        cause: cause.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    type Case = (&'static str, &'static str, fn(&mut v1::AcquireLockRequest));

    fn span(seconds: i64, nanos: i32) -> prost_types::Duration {
        prost_types::Duration { seconds, nanos }
    }

    fn ask(change: impl FnOnce(&mut v1::AcquireLockRequest)) -> Result<Acquire, Invalid> {
        let mut request = v1::AcquireLockRequest {
            lock: "deploy".into(),
            ..Default::default()
        };
        change(&mut request);
        acquire(request, Hold::Ttl(Duration::from_secs(60)), Duration::ZERO)
    }

    #[test]
    fn an_acquire_that_says_nothing_takes_the_defaults() {
        let acquire = ask(|_| {}).unwrap();
        assert_eq!(acquire.hold, Hold::Ttl(Duration::from_secs(60)));
        assert_eq!(acquire.wait, Duration::ZERO);
        assert_eq!(acquire.mode, Mode::Exclusive);
        assert!(acquire.session.is_none() && !acquire.open && !acquire.must_exist);
        let no = acquire_lock_request::Hold::NoExpiry(false);
        let acquire = ask(|request| request.hold = Some(no)).unwrap();
        assert_eq!(acquire.hold, Hold::Ttl(Duration::from_secs(60)));
    }

    #[test]
    fn a_subscriber_that_names_no_wait_waits_a_day() {
        let request = v1::SubscribeAndGrabRequest {
            lock: "deploy".into(),
            hold: Some(subscribe_and_grab_request::Hold::NoExpiry(true)),
            ..Default::default()
        };
        let acquire = subscribe(request, Hold::Lease(LeaseId(1))).unwrap();
        assert_eq!(acquire.wait, WAIT_MAX);
        assert_eq!(acquire.hold, Hold::Forever);
    }

    #[test]
    fn bad_fields_are_named_with_their_bounds() {
        use acquire_lock_request::Hold as Asked;
        let refused = |change: fn(&mut v1::AcquireLockRequest)| {
            let invalid = ask(change).unwrap_err();
            (invalid.field, invalid.expected)
        };
        let cases: [Case; 13] = [
            ("lock", "512", |r| r.lock.clear()),
            ("lock", "512", |r| r.lock = "x".repeat(513)),
            ("lock", "control", |r| r.lock = "a\0b".into()),
            ("mode", "LOCK_MODE_SHARED", |r| r.mode = 7),
            ("max_shared", "SHARED", |r| r.max_shared = 2),
            ("ttl", "negative", |r| {
                r.hold = Some(Asked::Ttl(span(-1, 0)))
            }),
            ("ttl", "100ms", |r| {
                r.hold = Some(Asked::Ttl(span(0, 99_999_999)))
            }),
            ("ttl", "30d", |r| {
                r.hold = Some(Asked::Ttl(span(i64::MAX, i32::MAX)))
            }),
            ("lease_id", "UUID", |r| {
                r.hold = Some(Asked::LeaseId("x".into()))
            }),
            ("wait", "negative", |r| r.wait = Some(span(0, -1))),
            ("wait", "24h", |r| r.wait = Some(span(86_400, 1))),
            ("request_id", "128", |r| r.request_id = "x".repeat(129)),
            ("callback", "own", |r| r.callback = Some(Default::default())),
        ];
        for (field, bound, change) in cases {
            let (named, expected) = refused(change);
            assert_eq!(named, field);
            assert!(expected.contains(bound), "{field}: {expected}");
        }
    }

    #[test]
    fn spans_at_the_ends_of_their_type_do_no_harm() {
        for seconds in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
            for nanos in [i32::MIN, -1_000_000_000, -1, 0, 1, 1_000_000_000, i32::MAX] {
                let _ = duration(&TTL, span(seconds, nanos));
            }
        }
    }

    #[test]
    fn a_page_token_leads_on_and_a_bad_one_is_refused() {
        let view = |name: &str| LockView {
            name: LockName::new(name).unwrap(),
            holders: Vec::new(),
            holder_count: 0,
            waiter_count: 0,
            reserved: true,
            held_back_for: None,
        };
        let response = locks_page(vec![view("a"), view("b/ü")], true);
        let list = |page_token: &str| {
            list_locks(v1::ListLocksRequest {
                page_token: page_token.into(),
                ..Default::default()
            })
        };
        let Ok(Command::ListLocks { after, limit, .. }) = list(&response.next_page_token) else {
            panic!("not a listing");
        };
        assert_eq!(after.as_deref(), Some("b/ü"));
        assert_eq!(limit, 100);
        for token in ["!", "AA==", "AA", "_w"] {
            assert_eq!(list(token).unwrap_err().field, "page_token", "{token}");
        }
        assert_eq!(locks_page(vec![view("a")], false).next_page_token, "");
    }

    #[test]
    fn a_page_of_large_entries_is_cut_to_one_message() {
        let metadata = [("key".to_owned(), "x".repeat(4_000))].into();
        let about = About::new("", metadata).unwrap();
        let leases = (0..1_000)
            .map(|n| LeaseView {
                id: LeaseId(n),
                ttl: Duration::from_secs(1),
                expires_in: Duration::from_secs(1),
                about: about.clone(),
                created_at: WallTime(1_234),
                grant_count: 0,
                waiter_count: 0,
            })
            .collect();
        let response = leases_page(leases, false);
        assert!(response.encoded_len() <= PAGE_BYTES_MAX + 1_000 * 8);
        let last = lease_id(&response.leases.last().unwrap().lease_id).unwrap();
        let request = v1::ListLeasesRequest {
            page_size: 1_000,
            page_token: response.next_page_token,
        };
        let Ok(Command::ListLeases { after, .. }) = list_leases(&request) else {
            panic!("not a listing");
        };
        assert_eq!(after, Some(last));
    }

    #[test]
    fn wall_times_keep_their_milliseconds() {
        let at = timestamp(WallTime(1_700_000_000_123));
        assert_eq!((at.seconds, at.nanos), (1_700_000_000, 123_000_000));
    }
}
