package holdfast

import (
	"context"
	"time"
)

// Lease is a lease of its own: one heartbeat for the locks that are acquired through it, which are
// lost together when it is, and given back together.
type Lease struct {
	session *session
}

// Lease makes a lease with this TTL, 100 ms to 30 d, and keeps it alive.
func (c *Client) Lease(ctx context.Context, ttl time.Duration) (*Lease, error) {
	s := newSession(c, ttl, true, nil)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		s.alarm.Stop()
		return nil, ErrClosed
	}
	c.all[s] = struct{}{}
	c.mu.Unlock()
	go s.run()
	ctx, cancel := c.within(ctx)
	defer cancel()
	select {
	case <-s.opened:
		return &Lease{session: s}, nil
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	case <-ctx.Done():
		s.mu.Lock()
		s.end(ErrReleased)
		s.mu.Unlock()
		return nil, ended(ctx)
	}
}

// ID is the lease's id, a UUID. It proves the right to end it: treat it as a password.
func (l *Lease) ID() string {
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	return l.session.leaseID
}

// Context is cancelled when the lease ends: its cause is a LossError, of which errors.Is tells ErrLost,
// when it was lost, and ErrReleased after a release.
func (l *Lease) Context() context.Context { return l.session.ctx }

// Err tells, by the clock of this moment, why the lease is not held any more; nil: it is.
func (l *Lease) Err() error {
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	l.session.reckon()
	if l.session.over == nil && l.session.closing {
		return ErrReleased
	}
	return l.session.over
}

// Lock is the lock of this name, held by the lease.
func (l *Lease) Lock(name string, options ...AcquireOption) *Lock {
	return &Lock{client: l.session.client, lease: l, name: name, asks: options}
}

// Release ends the lease, and gives back all that it holds, at once. When it was lost before, it says
// so with a LossError.
func (l *Lease) Release(ctx context.Context) error {
	if err := l.Err(); err != nil {
		if err == ErrReleased {
			return nil
		}
		return err
	}
	ctx, cancel := l.session.client.within(ctx)
	defer cancel()
	return l.session.shut(ctx, ErrReleased)
}
