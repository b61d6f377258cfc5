package holdfast

import (
	"context"
	"iter"
	"slices"
	"sync"

	"google.golang.org/grpc"

	pb "github.com/holdfast-dev/holdfast/clients/go/holdfastpb"
)

// Election chooses one leader among its candidates: the holder of a lock.
type Election struct {
	lock *Lock
	mu   sync.Mutex
	term *Grant
}

// Election is the election of this name, over the lock of the same name.
func (c *Client) Election(name string, options ...AcquireOption) *Election {
	return &Election{lock: c.Lock(name, options...)}
}

// Campaign stands for leader under a name, and waits until elected. The grant is the term of office:
// it ends with a loss, its own release, or Resign.
func (e *Election) Campaign(ctx context.Context, candidate string, options ...AcquireOption) (*Grant, error) {
	g, err := e.lock.Acquire(ctx, append(options[:len(options):len(options)], Owner(candidate))...)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.term = g
	return g, nil
}

// Resign ends the term that Campaign began; without one it does nothing.
func (e *Election) Resign(ctx context.Context) error {
	e.mu.Lock()
	term := e.term
	e.term = nil
	e.mu.Unlock()
	if term == nil {
		return nil
	}
	return term.Release(ctx)
}

// Leader tells who leads; nil: nobody.
func (e *Election) Leader(ctx context.Context) (*Holder, error) {
	state, err := e.lock.State(ctx)
	if err != nil || len(state.Holders) == 0 {
		return nil, err
	}
	return &state.Holders[0], nil
}

// Observe tells who leads, now and whenever that changes; nil: nobody. It ends with ctx, whose end is
// told as the last error, or when the loop is left. A broken connection is made anew.
func (e *Election) Observe(ctx context.Context) iter.Seq2[*Holder, error] {
	open := func(ctx context.Context, conn *grpc.ClientConn) (grpc.ServerStreamingClient[pb.WatchLockResponse], error) {
		return pb.NewLockServiceClient(conn).WatchLock(ctx, &pb.WatchLockRequest{Lock: e.lock.name})
	}
	return func(yield func(*Holder, error) bool) {
		var holders []*pb.Holder
		told, first := uint64(0), true
		tell := func() bool {
			leader := uint64(0)
			if len(holders) > 0 {
				leader = holders[0].GetFencingToken()
			}
			if leader == told && !first {
				return true
			}
			told, first = leader, false
			if leader == 0 {
				return yield(nil, nil)
			}
			holder := holderOf(holders[0])
			return yield(&holder, nil)
		}
		follow(ctx, e.lock.client, open, func(message *pb.WatchLockResponse) bool {
			change := message.GetChange()
			switch {
			case change == nil:
				holders = message.GetState().GetHolders()
			case change.GetKind() == pb.LockEventKind_LOCK_EVENT_KIND_GRANTED:
				holders = append(holders, change.GetHolder())
			default:
				holders = slices.DeleteFunc(holders, func(h *pb.Holder) bool {
					return h.GetFencingToken() == change.GetHolder().GetFencingToken()
				})
			}
			return tell()
		}, func(err error) { yield(nil, err) })
	}
}
