package holdfast

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

// graceForAnswers is how much longer than its wait an acquire may go without an answer.
const graceForAnswers = time.Second

// Lock is a lock by its name, held by nobody in particular until acquired. It is safe for use by many
// goroutines, each of which acquires a grant of its own.
type Lock struct {
	client *Client
	lease  *Lease
	name   string
	asks   []AcquireOption
}

// AcquireOption says how to acquire a lock.
type AcquireOption func(*ask)

type ask struct {
	ttl       *time.Duration
	wait      *time.Duration
	delay     *time.Duration
	owner     *string
	metadata  map[string]string
	shared    bool
	maxShared uint32
	positions func(position int)
}

// TTL says how long the grant outlives a client that is gone, 100 ms to 30 d; the client's own TTL
// unless said. Grants with the same TTL share a lease and its heartbeat; each TTL has one stream.
func TTL(ttl time.Duration) AcquireOption { return func(a *ask) { a.ttl = &ttl } }

// Wait says how long to stand in line at most; without it for as long as the context lasts.
// 0 asks once.
func Wait(wait time.Duration) AcquireOption { return func(a *ask) { a.wait = &wait } }

// ReleaseDelay says how long the server holds the lock back when the grant is lost, so that the work under
// it can be stopped before the next holder begins: 0 to 1 h; none unless said. After a release the lock
// goes on at once.
func ReleaseDelay(delay time.Duration) AcquireOption { return func(a *ask) { a.delay = &delay } }

// Owner says who holds, for people to read: at most 512 bytes. The client's own unless said.
func Owner(owner string) AcquireOption { return func(a *ask) { a.owner = &owner } }

// Metadata says what the holder says of itself: at most 32 entries and 4 KiB in all.
func Metadata(metadata map[string]string) AcquireOption {
	return func(a *ask) { a.metadata = maps.Clone(metadata) }
}

// Shared holds the lock together with others that hold it so.
func Shared() AcquireOption { return func(a *ask) { a.shared = true } }

// MaxShared holds the lock together with others, of which there are at most n: 1 to 1,000,000. Where
// holders ask for different bounds the smallest counts.
func MaxShared(n int) AcquireOption {
	return func(a *ask) {
		a.shared = true
		a.maxShared = boundOf(n)
	}
}

// boundOf is a bound for the server to check. None makes a bound of none or less look like no bound.
func boundOf(n int) uint32 {
	if n < 1 || n > math.MaxUint32 {
		return math.MaxUint32
	}
	return uint32(n)
}

// OnPosition is told the place in line, counted from 1, at first and when it changes. It is called
// in the goroutine that acquires, with the newest place.
func OnPosition(told func(position int)) AcquireOption {
	return func(a *ask) { a.positions = told }
}

// Lock is the lock of this name, 1 to 512 bytes of UTF-8 without control characters. The options hold
// for every acquire through it, before the acquire's own.
func (c *Client) Lock(name string, options ...AcquireOption) *Lock {
	return &Lock{client: c, name: name, asks: options}
}

// Name is the lock's name.
func (l *Lock) Name() string { return l.name }

// Acquire takes the lock, standing in line for as long as ctx and Wait allow. A place in line outlives
// broken connections and restarts of the server, and is given up when ctx ends.
//
// Errors: ErrWaitTimedOut when Wait passed, the error of ctx when that ended, ErrInvalid, ErrLimit,
// ErrUnauthenticated.
func (l *Lock) Acquire(ctx context.Context, options ...AcquireOption) (*Grant, error) {
	a := ask{}
	for _, option := range l.asks {
		option(&a)
	}
	for _, option := range options {
		option(&a)
	}
	if err := ctx.Err(); err != nil {
		return nil, ended(ctx)
	}
	s, err := l.session(&a)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	return s.acquire(ctx, l.request(&a), &a)
}

// TryAcquire takes the lock if that is possible at once.
//
// Errors: ErrHeld when it is not, and as for Acquire. *Error tells who holds it, in Metadata["owner"].
func (l *Lock) TryAcquire(ctx context.Context, options ...AcquireOption) (*Grant, error) {
	return l.Acquire(ctx, append(options[:len(options):len(options)], Wait(0))...)
}

// Do runs a block under the lock, waiting for it, and releases it whatever the block does. The
// block's context ends with ctx and when the grant is lost. What comes back is the block's error,
// joined with a LossError when the lock was lost meanwhile; where the lock was not had, the block
// has not run, and it is Acquire's.
//
// It is the operation lock(key, ttl?) { block } of etcd libraries; TTL is an option. DoResult brings
// the block's result back as well.
func (l *Lock) Do(
	ctx context.Context,
	block func(ctx context.Context, g *Grant) error,
	options ...AcquireOption,
) (err error) {
	g, err := l.Acquire(ctx, options...)
	if err != nil {
		return err
	}
	inner, cancel := g.scope(ctx)
	defer func() {
		cancel()
		err = errors.Join(err, g.Release(context.WithoutCancel(ctx)))
	}()
	return block(inner, g)
}

// TryDo is Do where the lock can be had at once, and ErrHeld without running the block otherwise.
//
// It is the operation tryLock(key, ttl?) { block } of etcd libraries.
func (l *Lock) TryDo(
	ctx context.Context,
	block func(ctx context.Context, g *Grant) error,
	options ...AcquireOption,
) error {
	return l.Do(ctx, block, append(options[:len(options):len(options)], Wait(0))...)
}

// DoResult is Lock.Do for a block with a result, which comes back.
func DoResult[T any](
	ctx context.Context,
	l *Lock,
	block func(ctx context.Context, g *Grant) (T, error),
	options ...AcquireOption,
) (result T, err error) {
	err = l.Do(ctx, func(ctx context.Context, g *Grant) (err error) {
		result, err = block(ctx, g)
		return err
	}, options...)
	return result, err
}

// LockState is who holds a lock and how many wait.
type LockState struct {
	// Holders are those who hold it, in the order of their grants: the first 100.
	Holders []Holder
	// HolderCount is how many there are.
	HolderCount int
	// WaiterCount is how many stand in line.
	WaiterCount int
}

// Holder is what everyone may see of a grant.
type Holder struct {
	// FencingToken is the grant's number.
	FencingToken uint64
	// Owner is who holds, in the holder's own words.
	Owner string
	// Shared is whether the holder shares the lock.
	Shared bool
	// AcquireTime is when the grant was made, by the server's wall clock.
	AcquireTime time.Time
	// ExpiresIn is the time until the grant ends without a renewal; nil: it has no expiry.
	ExpiresIn *time.Duration
	// Metadata is what the holder said of itself.
	Metadata map[string]string
}

// State tells who holds the lock and how many wait.
func (l *Lock) State(ctx context.Context) (*LockState, error) {
	request := &pb.GetLockRequest{Lock: l.name}
	answer, err := invoke(ctx, l.client, pb.NewLockServiceClient, pb.LockServiceClient.GetLock, request)
	if err != nil {
		return nil, err
	}
	state := &LockState{
		HolderCount: int(answer.GetLock().GetHolderCount()),
		WaiterCount: int(answer.GetLock().GetWaiterCount()),
	}
	for _, h := range answer.GetLock().GetHolders() {
		state.Holders = append(state.Holders, holderOf(h))
	}
	return state, nil
}

func holderOf(h *pb.Holder) Holder {
	return Holder{
		FencingToken: h.GetFencingToken(),
		Owner:        h.GetOwner(),
		Shared:       h.GetMode() == pb.LockMode_LOCK_MODE_SHARED,
		AcquireTime:  h.GetAcquireTime().AsTime(),
		ExpiresIn:    durationOf(h.GetExpiresIn()),
		Metadata:     h.GetMetadata(),
	}
}

// ForceRelease ends every grant of the lock, whoever has it, and tells how many. Wants the role admin.
func (l *Lock) ForceRelease(ctx context.Context) (int, error) {
	request := &pb.ForceReleaseLockRequest{Lock: l.name, RequestId: requestID()}
	answer, err := invoke(ctx, l.client, pb.NewLockServiceClient, pb.LockServiceClient.ForceReleaseLock, request)
	return int(answer.GetReleasedCount()), err
}

// CheckGrant tells whether the grant of a lock with this fencing token is current: for resources that
// the lock protects.
func (c *Client) CheckGrant(ctx context.Context, lock string, fencingToken uint64) (bool, error) {
	request := &pb.CheckGrantRequest{Lock: lock, FencingToken: fencingToken}
	answer, err := invoke(ctx, c, pb.NewLockServiceClient, pb.LockServiceClient.CheckGrant, request)
	return answer.GetCurrent(), err
}

// session is the session to acquire through.
func (l *Lock) session(a *ask) (*session, error) {
	if l.lease == nil {
		ttl := l.client.settings.ttl
		if a.ttl != nil {
			ttl = *a.ttl
		}
		return l.client.session(ttl)
	}
	if a.ttl != nil && *a.ttl != l.lease.session.ttl {
		return nil, fmt.Errorf("holdfast: TTL: a lock of a lease has the lease's: %w", ErrInvalid)
	}
	if !l.lease.session.enter() {
		return nil, l.lease.Err()
	}
	return l.lease.session, nil
}

func (l *Lock) request(a *ask) *pb.AcquireLockRequest {
	mode := pb.LockMode_LOCK_MODE_EXCLUSIVE
	if a.shared {
		mode = pb.LockMode_LOCK_MODE_SHARED
	}
	owner := l.client.settings.owner
	if a.owner != nil {
		owner = *a.owner
	}
	return &pb.AcquireLockRequest{
		Lock:         l.name,
		Mode:         mode,
		MaxShared:    a.maxShared,
		Owner:        owner,
		Metadata:     a.metadata,
		RequestId:    requestID(),
		ReleaseDelay: spanOf(a.delay),
	}
}

// acquire asks for a lock and waits for the answer.
func (s *session) acquire(ctx context.Context, request *pb.AcquireLockRequest, a *ask) (*Grant, error) {
	c := &call{done: make(chan struct{}), acquire: request, waits: a.wait == nil || *a.wait > 0}
	var patience <-chan time.Time
	switch {
	case !c.waits:
		timer := time.NewTimer(s.client.settings.patience)
		defer timer.Stop()
		patience = timer.C
	case a.wait != nil:
		c.until = s.client.settings.clock.Now() + *a.wait
		timer := time.NewTimer(*a.wait + graceForAnswers)
		defer timer.Stop()
		patience = timer.C
	}
	var places <-chan uint32
	if a.positions != nil {
		c.place = &place{news: make(chan uint32, 1)}
		places = c.place.news
	}
	s.mu.Lock()
	s.add(c)
	s.mu.Unlock()
	for {
		select {
		case position := <-places:
			a.positions(int(position))
		case <-c.done:
			return c.grant, c.err
		case <-ctx.Done():
			s.abandon(c)
			return nil, ended(ctx)
		case <-patience:
			s.abandon(c)
			return nil, errPatience
		}
	}
}
