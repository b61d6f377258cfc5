//! Deliberate bugs. Each of them must make some property fail: that tests the tests.

/// A bug to build in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers go out before their commit.
    ReplyBeforeCommit,
    /// The highest fencing token is not kept over a crash.
    RewindTokens,
    /// The highest revision of a value is not kept over a crash.
    RewindRevisions,
    /// The first who is granted a lock from a line is told to the last in the line.
    Overtake,
    /// The core's clock jumps ahead, as a wall clock does.
    ClockJump,
    /// Down-time counts as served time.
    ClockRunsWhileDown,
    /// What an end deletes stays in the store.
    ForgetDelete,
    /// What was granted does not reach the store.
    ForgetGrant,
    /// What was put under a key does not reach the store.
    ForgetValue,
    /// What was put of a ticket does not reach the store.
    ForgetTicket,
    /// A FIFO serves one ticket more than it was made to.
    ServeOneMore,
    /// Those who wait for a ticket's turn are not told that it has come.
    SwallowTurn,
    /// The turn of one ticket is told to whoever waits for another.
    TurnToAnother,
    /// A ticket that has lapsed is taken for one that is accepted.
    ReviveLapsed,
    /// An acquire is applied twice.
    ApplyTwice,
    /// A wait that timed out is never told.
    SwallowTimeOut,
    /// What is remembered of requests does not survive a crash.
    ForgetRequests,
    /// A long lease loses its committed end over a crash.
    ForgetRenewals,
    /// A stale token is taken for the current one.
    ObeyStale,
    /// An exclusive request is taken for a shared one.
    ShareExclusive,
    /// `max_shared` is not looked at.
    IgnoreMaxShared,
    /// A client goes on until 1.5 times its TTL.
    LateClient,
    /// A renewal answers without renewing.
    IgnoreRenewal,
    /// A session is not told what it lost.
    SwallowLoss,
    /// A tick is told that no time has passed.
    NeverExpire,
    /// A retry is taken for a new request.
    ForgetRequestId,
    /// What a session said to be answered is remembered all the same.
    KeepAnswered,
    /// What was put into a queue does not reach the store.
    ForgetItem,
    /// An item that is gone stays in the store.
    ForgetAcknowledged,
    /// The highest id of an item is not kept over a crash.
    RewindItems,
    /// A receipt of an earlier delivery is taken for the current one.
    ObeyStaleReceipt,
    /// An item is told to the consumer that came last.
    WrongConsumer,
    /// What a webhook came to does not reach the store.
    ForgetWebhook,
    /// A post carries another grant's token.
    PostOtherToken,
    /// A receiver has less time to take its turn than was asked for.
    ShortAcceptTime,
    /// A lost grant does not hold its lock back.
    IgnoreReleaseDelay,
    /// A hold that was lost is forgotten over a crash, and its delay with it.
    ForgetLapsed,
    /// A grant or a place in line loses its release delay over a crash.
    ForgetReleaseDelay,
    /// A release delay is longer after a crash.
    ProlongReleaseDelay,
}

impl Fault {
    /// Whether it changes what a crash leaves behind.
    pub fn is_of_the_store(self) -> bool {
        matches!(
            self,
            Fault::RewindTokens
                | Fault::RewindRevisions
                | Fault::RewindItems
                | Fault::ForgetRequests
                | Fault::ForgetRenewals
                | Fault::ReviveLapsed
                | Fault::ForgetLapsed
                | Fault::ForgetReleaseDelay
                | Fault::ProlongReleaseDelay
        )
    }
}

/// All of them, with the properties of which at least one has to notice.
pub const FAULTS: &[(Fault, &[&str])] = &[
    (Fault::ReplyBeforeCommit, &["S5", "S11"]),
    (Fault::RewindTokens, &["S3"]),
    (Fault::RewindRevisions, &["S17"]),
    (Fault::Overtake, &["S8", "S10"]),
    (Fault::ClockJump, &["S6", "S11", "S17"]),
    (Fault::ClockRunsWhileDown, &["S6", "S11", "S17"]),
    (Fault::ForgetDelete, &["S5"]),
    (Fault::ForgetGrant, &["S4"]),
    (Fault::ForgetValue, &["S17"]),
    (Fault::ForgetTicket, &["S11"]),
    (Fault::ServeOneMore, &["S11"]),
    (Fault::SwallowTurn, &["S11"]),
    (Fault::TurnToAnother, &["S10", "S11"]),
    (Fault::ReviveLapsed, &["S11"]),
    (Fault::ApplyTwice, &["S10"]),
    (Fault::SwallowTimeOut, &["S8", "S9", "S10"]),
    (Fault::ForgetRequests, &["S11", "S12"]),
    (Fault::ForgetRenewals, &["S6"]),
    (Fault::ObeyStale, &["S7"]),
    (Fault::ShareExclusive, &["S1"]),
    (Fault::IgnoreMaxShared, &["S1"]),
    (Fault::LateClient, &["S2"]),
    (Fault::IgnoreRenewal, &["S2", "S6"]),
    (Fault::SwallowLoss, &["losses"]),
    (Fault::NeverExpire, &["S6", "S11", "S17"]),
    (Fault::ForgetRequestId, &["S12"]),
    (Fault::KeepAnswered, &["S12"]),
    (Fault::ForgetItem, &["S11"]),
    (Fault::ForgetAcknowledged, &["S11"]),
    (Fault::RewindItems, &["S11", "S18"]),
    (Fault::ObeyStaleReceipt, &["S11"]),
    (Fault::WrongConsumer, &["S10", "S11"]),
    (Fault::ForgetWebhook, &["S16", "S18"]),
    (Fault::PostOtherToken, &["S18"]),
    (Fault::ShortAcceptTime, &["S18"]),
    (Fault::IgnoreReleaseDelay, &["S1", "S9"]),
    (Fault::ForgetLapsed, &["S1", "S9"]),
    (Fault::ForgetReleaseDelay, &["S1", "S9"]),
    (Fault::ProlongReleaseDelay, &["S9"]),
];
