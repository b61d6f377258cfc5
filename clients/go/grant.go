package holdfast

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

// Grant is a hold on a lock. It is renewed in the background for as long as the client lives, until
// it is released or lost.
//
// It counts as lost before the server can give the lock to anyone else: that is reckoned from the
// moment at which the last renewal that was confirmed had been sent, on a clock that counts suspended
// time, and with a margin of a tenth of the TTL (at least 100 ms; at most 5 s, or a thousandth of a
// long TTL). No client can stop a process that is paused itself: a resource that matters compares
// fencing tokens.
type Grant struct {
	session      *session
	lock         string
	fencingToken uint64
	grantToken   string
	acquireTime  time.Time
	ctx          context.Context
	cancel       context.CancelCauseFunc
	lost         chan struct{}

	// The rest is the session's mutex' own.
	loss    error
	ended   error
	release *call
}

func newGrant(s *session, told *pb.Grant) *Grant {
	g := &Grant{
		session:      s,
		lock:         told.GetLock(),
		fencingToken: told.GetFencingToken(),
		grantToken:   told.GetGrantToken(),
		acquireTime:  told.GetAcquireTime().AsTime(),
		lost:         make(chan struct{}),
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	return g
}

// Lock is the lock's name.
func (g *Grant) Lock() string { return g.lock }

// FencingToken is the number of this grant: greater than that of every earlier one. Hand it to what
// the lock protects, which refuses lower ones than it has seen.
func (g *Grant) FencingToken() uint64 { return g.fencingToken }

// AcquireTime is when the grant was made, by the server's wall clock.
func (g *Grant) AcquireTime() time.Time { return g.acquireTime }

// Context is cancelled when the grant ends: its cause is a LossError, of which errors.Is tells
// ErrLost, when it was lost, ErrReleased after a release, and ErrClosed when the client was closed.
func (g *Grant) Context() context.Context { return g.ctx }

// Lost is closed when the grant is lost. A release does not close it.
func (g *Grant) Lost() <-chan struct{} { return g.lost }

// Err tells, by the clock of this moment, why the grant is not held any more; nil: it is. Ask it
// after anything that may have taken long.
func (g *Grant) Err() error {
	s := g.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reckon()
	switch {
	case g.loss != nil:
		return g.loss
	case g.release != nil:
		return ErrReleased
	default:
		return g.ended
	}
}

// Check asks the server whether it still has the grant.
func (g *Grant) Check(ctx context.Context) (bool, error) {
	return g.session.client.CheckGrant(ctx, g.lock, g.fencingToken)
}

// Release gives the lock back; the next in line gets it. When the grant was lost before, it says so
// with a LossError, of which errors.Is tells ErrLost. Releasing again tells the same as the first
// time. When ctx ends first the release goes on in the background.
func (g *Grant) Release(ctx context.Context) error {
	s := g.session
	s.mu.Lock()
	s.reckon()
	if g.loss != nil || g.ended != nil {
		defer s.mu.Unlock()
		return errors.Join(g.loss, g.ended)
	}
	g.giveUp()
	release := g.release
	s.mu.Unlock()

	ctx, cancel := s.client.within(ctx)
	defer cancel()
	select {
	case <-release.done:
	case <-ctx.Done():
		return ended(ctx)
	}
	if errors.Is(release.err, ErrNotHolder) || errors.Is(release.err, ErrLost) {
		return fmt.Errorf("%w: %w", &LossError{What: "the lock " + g.lock, Cause: "EXPIRED"}, release.err)
	}
	return release.err
}

// giveUp begins the release, once.
func (g *Grant) giveUp() {
	if g.release != nil || g.loss != nil || g.ended != nil {
		return
	}
	delete(g.session.grants, g.fencingToken)
	g.release = releaseCall(g.lock, g.grantToken)
	g.cancel(ErrReleased)
	g.session.add(g.release)
}

// lose says that the grant is lost.
func (g *Grant) lose(cause string) {
	if g.release != nil || g.loss != nil || g.ended != nil {
		return
	}
	g.loss = &LossError{What: "the lock " + g.lock, Cause: cause}
	close(g.lost)
	g.cancel(g.loss)
}

// end says that the grant ended with its client or lease.
func (g *Grant) end(why error) {
	if g.release == nil && g.loss == nil && g.ended == nil {
		g.ended = why
		g.cancel(why)
	}
}

// scope is a context that ends with ctx and with the grant.
func (g *Grant) scope(ctx context.Context) (context.Context, context.CancelFunc) {
	return joined(ctx, g.ctx)
}

// joined is a context that ends with each of the two, for the same cause.
func joined(ctx, other context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	return both, func() {
		stop()
		cancel(context.Canceled)
	}
}
