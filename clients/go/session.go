package holdfast

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

const (
	// renewalMax is how long a lease goes without a renewal at most, however long it lasts: the
	// runtime's timers may have stood still in a suspension.
	renewalMax = time.Minute
	// answerMin and answerMax bound how long an answer may take before the connection counts as dead.
	answerMin = 250 * time.Millisecond
	answerMax = 10 * time.Second
	// reattachMax is the longest pause between two tries to take a session up again.
	reattachMax = time.Second
	// requestMemory is how long the server surely knows a request id again: it promises two minutes.
	requestMemory = 110 * time.Second
	// batchMax and batchBytesMax bound what goes in one message: the server takes 1,024 in 256 KiB.
	batchMax      = 1024
	batchBytesMax = 64 * 1024
)

// errStalled is why a stream on which nothing comes any more is given up.
var errStalled = errors.New("holdfast: no answer in time")

// errUnknownGrants is why a session is given up on whose lease there are grants that nobody knows.
var errUnknownGrants = errors.New("holdfast: the connection was broken for too long to know what is held")

// errNotOpened is why a stream is given up whose session ends, or which was answered with nonsense.
var errNotOpened = errors.New("holdfast: the session was not opened")

// session is one Attach stream after another, and the lease that they keep alive. All that is
// acquired through it hangs on the lease, so one heartbeat keeps all of it, and one deadline tells
// when all of it counts as lost.
type session struct {
	client *Client
	ttl    time.Duration
	// named is whether this is a Lease of the caller's: one that ended is not made anew.
	named    bool
	metadata map[string]string
	// ctx ends with the session.
	ctx    context.Context
	cancel context.CancelCauseFunc
	alarm  alarm
	// wake tells the sender that there is something to send.
	wake chan struct{}

	mu sync.Mutex
	// leaseID is empty until the session was opened, and when its lease is known to have ended.
	leaseID string
	// opened is closed when the session was opened for the first time.
	opened     chan struct{}
	wasOpened  bool
	generation uint64
	// up is whether a stream is open.
	up bool
	// batches is whether the server takes several messages in one.
	batches bool
	// live is whether the lease lasts at this moment, by the client's own reckoning: until deadline.
	live     bool
	deadline time.Duration
	// heard is when the last message came.
	heard time.Duration
	// closing is whether the session is being shut.
	closing bool
	// closed is closed when the server has confirmed that, and parted when the stream broke before it could.
	closed, parted chan struct{}
	// over is why the session has ended.
	over   error
	users  int
	nextID uint64
	calls  map[uint64]*call
	out    []outgoing
	// answered are the request ids with which nothing will be asked again, told with the next calls.
	answered []string
	grants   map[uint64]*Grant
	// early are grants that came while the session was not live: told once a renewal is confirmed.
	early []early
}

type early struct {
	call  *call
	grant *Grant
}

// newSession makes a session that is not running yet.
func newSession(c *Client, ttl time.Duration, named bool, metadata map[string]string) *session {
	s := &session{
		client:   c,
		ttl:      ttl,
		named:    named,
		metadata: metadata,
		wake:     make(chan struct{}, 1),
		opened:   make(chan struct{}),
		closed:   make(chan struct{}),
		parted:   make(chan struct{}),
		calls:    map[uint64]*call{},
		grants:   map[uint64]*Grant{},
		nextID:   1,
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.alarm = c.settings.clock.Alarm(s.checkDeadline)
	return s
}

// run keeps the session attached until it ends.
func (s *session) run() {
	p := pause{most: min(reattachMax, s.ttl/6)}
	patience := s.answerWithin()
	for {
		opened, err := s.attach(patience)
		switch {
		case opened:
			p.next = 0
			patience = s.answerWithin()
		case errors.Is(err, errStalled):
			// The network may be slow, and the next try begins with a new connection: it has longer.
			patience = min(2*patience, answerMax)
		}
		s.detached(err)
		if s.ctx.Err() != nil || !sleep(s.ctx, p.step(0)) {
			s.alarm.Stop()
			s.client.forget(s)
			return
		}
	}
}

// detached takes note of why a stream ended, or could not be opened.
func (s *session) detached(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = false
	if s.closing {
		s.isParted()
		return
	}
	told := readStatus(err)
	switch {
	case errors.Is(err, errUnknownGrants) || told.Reason == "LEASE_EXPIRED" || told.Reason == "LEASE_NOT_FOUND":
		s.leaseGone()
	case told.retryable() || told.Reason == "SESSION_TAKEN" || told.Reason == "SLOW_READER":
	case told.Is(ErrUnauthenticated) || told.Is(ErrPermissionDenied) || told.Is(ErrInvalid) ||
		told.Is(ErrLimit) || told.Code == codes.Unimplemented:
		s.refused(told)
	}
}

// refused fails what waits when the server does not take the session. One that holds something goes
// on trying.
func (s *session) refused(why *Error) {
	for _, c := range s.calls {
		s.finish(c, nil, why)
	}
	if len(s.grants) == 0 {
		s.end(why)
	}
}

// leaseGone ends all that hung on the lease, which the server says is gone; what stood in line stands
// in line again, on a new one.
func (s *session) leaseGone() {
	gone := &LossError{What: "the lease", Cause: "EXPIRED"}
	s.leaseID = ""
	s.live = false
	s.deadline = 0
	s.loseAll("EXPIRED")
	for _, e := range s.early {
		s.calls[e.call.id] = e.call
	}
	s.early = nil
	if s.named {
		s.end(gone)
		return
	}
	for _, c := range s.calls {
		if c.acquire == nil || c.abandoned {
			s.finish(c, nil, gone)
		} else {
			// With its old id it would ask for a grant on the old lease.
			s.askFor(c)
		}
	}
}

// loseAll loses every grant.
func (s *session) loseAll(cause string) {
	for _, g := range s.grants {
		g.lose(cause)
	}
	clear(s.grants)
}

// confirm takes note of a renewal that was sent at this moment and left so much time.
func (s *session) confirm(sent time.Duration, left *durationpb.Duration) {
	deadline := sent + min(s.ttl, left.AsDuration()) - margin(s.ttl)
	if deadline <= s.client.settings.clock.Now() || deadline <= s.deadline {
		return
	}
	s.live = true
	s.deadline = deadline
	s.alarm.Set(deadline)
	for _, e := range s.early {
		s.grants[e.grant.fencingToken] = e.grant
		s.finish(e.call, e.grant, nil)
	}
	s.early = nil
}

// checkDeadline loses what counts as lost by now.
func (s *session) checkDeadline() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reckon()
}

// reckon loses everything once the deadline has passed. The server may still have the grants, and
// would keep them with the lease, so they are given back.
func (s *session) reckon() {
	if !s.live || s.client.settings.clock.Now() < s.deadline {
		return
	}
	s.live = false
	lost := s.grants
	s.grants = map[uint64]*Grant{}
	for _, g := range lost {
		g.lose(unconfirmed)
	}
	if s.named {
		// The server gives back what hangs on it when its TTL has passed.
		s.end(&LossError{What: "the lease", Cause: unconfirmed})
		return
	}
	for _, g := range lost {
		s.giveBack(g.lock, g.grantToken)
	}
}

// enter counts one more user; false: the session is ending.
func (s *session) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.over != nil {
		return false
	}
	s.users++
	return true
}

// leave takes a user off.
func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
}

// endIfIdle ends a session that nobody uses, unless it is the client's own or a Lease.
func (s *session) endIfIdle() {
	s.mu.Lock()
	idle := !s.named && s.ttl != s.client.settings.ttl && s.users == 0 &&
		len(s.grants)+len(s.calls)+len(s.early) == 0
	if idle {
		s.closing = true
	}
	s.mu.Unlock()
	if idle {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			defer cancel()
			_ = s.shutNow(ctx, ErrReleased)
		}()
	}
}

// end ends the session at once.
func (s *session) end(why error) {
	if s.over != nil {
		return
	}
	s.over = why
	s.closing = true
	for _, c := range s.calls {
		s.finish(c, nil, why)
	}
	for _, e := range s.early {
		s.finish(e.call, nil, why)
	}
	s.early = nil
	s.loseAll("EXPIRED")
	s.cancel(why)
}

// shut gives back all that hangs on the session and ends it.
func (s *session) shut(ctx context.Context, why error) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	s.mu.Unlock()
	return s.shutNow(ctx, why)
}

// shutNow is shut for who has set closing.
func (s *session) shutNow(ctx context.Context, why error) error {
	s.mu.Lock()
	for _, g := range s.grants {
		g.end(why)
	}
	clear(s.grants)
	up, lease := s.up, s.leaseID
	// What they may still get ends with the lease.
	for _, c := range s.calls {
		s.finish(c, nil, why)
	}
	if up {
		bye := &pb.AttachRequest{CallId: s.nextID, Call: &pb.AttachRequest_Close{Close: &pb.CloseSession{}}}
		s.nextID++
		s.push(outgoing{message: bye})
	}
	s.mu.Unlock()
	var err error
	if up {
		select {
		case <-s.closed:
			lease = ""
		case <-s.parted:
		case <-s.ctx.Done():
		case <-ctx.Done():
			err = ended(ctx)
		}
	}
	if lease != "" && err == nil {
		revoke := &pb.RevokeLeaseRequest{LeaseId: lease, RequestId: requestID()}
		_, err = invoke(ctx, s.client, pb.NewLeaseServiceClient, pb.LeaseServiceClient.RevokeLease, revoke)
		if errors.Is(err, ErrLost) {
			err = nil
		}
	}
	s.mu.Lock()
	s.end(why)
	s.mu.Unlock()
	return err
}

// isClosed takes note of the server's confirmation.
func (s *session) isClosed() {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
}

// isParted takes note of a stream that ended while the session was being shut: without a confirmation
// there will be none.
func (s *session) isParted() {
	select {
	case <-s.closed:
	case <-s.parted:
	default:
		close(s.parted)
	}
}
