package holdfast

import (
	"strings"
	"time"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

// call is one call of a session. Its fields are the session's mutex' own, and grant and err
// everybody's once done is closed.
type call struct {
	id      uint64
	message *pb.AttachRequest
	// acquire is what an acquire asks for, but for its wait.
	acquire *pb.AcquireLockRequest
	// until is when an acquire's wait is over; 0: it has no end.
	until time.Duration
	// waits is whether the acquire stands in line at all.
	waits bool
	// abandoned is whether an acquire's caller has gone: a grant is given back.
	abandoned bool
	// place hears of an acquire's place in line.
	place *place
	// sent is when a renewal was sent.
	sent time.Duration
	// asked is when an acquire was first asked for under its request id.
	asked time.Duration
	// copies is how often the call was sent under its request id.
	copies int
	done   chan struct{}
	grant  *Grant
	err    error
}

// place is the newest place in line.
type place struct{ news chan uint32 }

// tell leaves the place for the reader, in place of one that it has not read.
func (p *place) tell(position uint32) {
	select {
	case <-p.news:
	default:
	}
	p.news <- position
}

func (c *call) isRenewal() bool {
	return c.message.GetRenewLease() != nil
}

// request is the message to send now. It is a fresh one each time: the sender may still be reading
// the last.
func (c *call) request(now time.Duration) *pb.AttachRequest {
	if c.acquire == nil {
		return &pb.AttachRequest{CallId: c.id, Call: c.message.Call}
	}
	wait := time.Duration(0)
	switch {
	case !c.waits:
	case c.until == 0:
		wait = waitMax
	default:
		wait = min(max(c.until-now, 0), waitMax)
	}
	acquire := &pb.AcquireLockRequest{
		Lock:         c.acquire.Lock,
		Mode:         c.acquire.Mode,
		MaxShared:    c.acquire.MaxShared,
		Wait:         span(wait),
		Owner:        c.acquire.Owner,
		Metadata:     c.acquire.Metadata,
		RequestId:    c.acquire.RequestId,
		ReleaseDelay: c.acquire.ReleaseDelay,
	}
	return &pb.AttachRequest{CallId: c.id, Call: &pb.AttachRequest_AcquireLock{AcquireLock: acquire}}
}

// cancelOf takes an acquire back.
func cancelOf(c *call) *pb.AttachRequest {
	return &pb.AttachRequest{Call: &pb.AttachRequest_Cancel{Cancel: &pb.CancelCall{CallId: c.id}}}
}

// add makes a call.
func (s *session) add(c *call) {
	if s.over != nil {
		c.err = s.over
		close(c.done)
		return
	}
	if c.acquire != nil {
		c.asked = s.client.settings.clock.Now()
	}
	c.id = s.nextID
	s.nextID++
	s.calls[c.id] = c
	s.send(c)
}

// askFor makes an acquire one for another grant than before.
func (s *session) askFor(c *call) {
	c.acquire.RequestId = requestID()
	c.copies = 0
	c.asked = s.client.settings.clock.Now()
}

// finish ends a call.
func (s *session) finish(c *call, grant *Grant, err error) {
	delete(s.calls, c.id)
	c.grant, c.err = grant, err
	close(c.done)
}

// abandon takes a call back whose caller has gone, wherever it stands.
func (s *session) abandon(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.abandoned = true
	select {
	case <-c.done:
		if c.grant != nil && c.grant.release == nil {
			c.grant.giveUp()
		}
		return
	default:
	}
	for i, e := range s.early {
		if e.call == c {
			s.early = append(s.early[:i], s.early[i+1:]...)
			s.giveBack(e.grant.lock, e.grant.grantToken)
			s.finish(c, nil, ErrReleased)
			return
		}
	}
	if s.up {
		s.push(outgoing{message: cancelOf(c)})
	}
}

// requestID is what the server remembers the call by.
func (c *call) requestID() string {
	if c.acquire != nil {
		return c.acquire.RequestId
	}
	return c.message.GetReleaseLock().GetRequestId()
}

// settled notes that a call has its answer, so that the server may forget its request id: only where
// no copy of the call can be on its way still.
func (s *session) settled(c *call) {
	if id := c.requestID(); id != "" && c.copies == 1 && len(s.answered) < batchMax {
		s.answered = append(s.answered, id)
	}
}

// acquired takes a grant.
func (s *session) acquired(c *call, told *pb.Grant) {
	if told.GetExpiresIn() != nil && told.GetExpiresIn().AsDuration() == 0 {
		// A retry, and what it once got has ended since.
		delete(s.calls, c.id)
		s.askAnew(c)
		return
	}
	if c.abandoned {
		s.giveBack(told.GetLock(), told.GetGrantToken())
		s.finish(c, nil, ErrReleased)
		return
	}
	g := newGrant(s, told)
	s.reckon()
	if s.over != nil {
		return
	}
	if !s.live {
		delete(s.calls, c.id)
		s.early = append(s.early, early{c, g})
		return
	}
	s.grants[g.fencingToken] = g
	s.finish(c, g, nil)
}

// askAnew asks again for a lock whose grant ended before its caller heard of it.
func (s *session) askAnew(c *call) {
	if c.abandoned {
		s.finish(c, nil, ErrReleased)
		return
	}
	s.askFor(c)
	c.id = s.nextID
	s.nextID++
	s.calls[c.id] = c
	s.send(c)
}

// failed takes the failure of a call.
func (s *session) failed(c *call, why *Error) {
	switch {
	case c.isRenewal():
		// The stream's end tells more.
		s.finish(c, nil, why)
	case why.retryable():
		s.sendLater(c, why.RetryAfter)
	case c.acquire != nil && c.waits && c.until == 0 && why.Is(ErrWaitTimedOut) && !c.abandoned:
		s.sendLater(c, 0)
	case c.acquire != nil && c.waits && why.Is(ErrHeld):
		// The wait was over while the connection was.
		why.Reason = "WAIT_TIMED_OUT"
		s.finish(c, nil, why)
	default:
		s.finish(c, nil, why)
	}
}

// sendLater sends a call again, unless a new stream has done so before.
func (s *session) sendLater(c *call, after time.Duration) {
	generation := s.generation
	time.AfterFunc(max(after, pauseFirst), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.calls[c.id] == c && s.generation == generation {
			s.send(c)
		}
	})
}

// giveBack releases a grant that nobody has any more.
func (s *session) giveBack(lock, token string) {
	s.add(releaseCall(lock, token))
}

func releaseCall(lock, token string) *call {
	release := &pb.ReleaseLockRequest{Lock: lock, GrantToken: token, RequestId: requestID()}
	return &call{
		done:    make(chan struct{}),
		message: &pb.AttachRequest{Call: &pb.AttachRequest_ReleaseLock{ReleaseLock: release}},
	}
}

func lossCause(cause pb.LossCause) string {
	return strings.TrimPrefix(cause.String(), "LOSS_CAUSE_")
}
