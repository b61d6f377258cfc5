package holdfast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pause is a growing pause between tries, with jitter.
type pause struct {
	next time.Duration
	most time.Duration
}

const pauseFirst = 20 * time.Millisecond

// step is the next pause: at least hint.
func (p *pause) step(hint time.Duration) time.Duration {
	p.next = max(min(p.next*2, p.most), pauseFirst)
	jittered := p.next/2 + rand.N(p.next/2+1)
	return max(jittered, hint)
}

// sleep waits; false: the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// again calls try until it succeeds, fails for good, or the context ends. The call has to be one that
// may be repeated.
func (c *Client) again(ctx context.Context, try func(*grpc.ClientConn) error) error {
	if c.done.Err() != nil {
		return ErrClosed
	}
	p := pause{most: time.Second}
	for {
		link := c.link()
		err := try(link)
		if err == nil {
			return nil
		}
		err = rpcError(ctx, err)
		var told *Error
		if !errors.As(err, &told) || !told.retryable() {
			return err
		}
		if c.done.Err() != nil {
			return ErrClosed
		}
		// The connection may have been replaced under the call: nothing is wrong with the new one.
		if link != c.link() {
			continue
		}
		if !sleep(ctx, p.step(told.RetryAfter)) {
			return fmt.Errorf("%w: last %w", ended(ctx), told)
		}
	}
}

// invoke calls a method until it is answered, bounded by the context and the client's patience.
func invoke[S, Req, Res any](
	ctx context.Context,
	c *Client,
	stub func(grpc.ClientConnInterface) S,
	method func(S, context.Context, Req, ...grpc.CallOption) (Res, error),
	request Req,
) (Res, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	var answer Res
	err := c.again(ctx, func(conn *grpc.ClientConn) (err error) {
		answer, err = method(stub(conn), ctx, request)
		return err
	})
	return answer, err
}

// follow reads a stream of the server's, and opens it again when it breaks, until take says no, or
// ctx ends or the stream is refused, which failed is told.
func follow[M any](
	ctx context.Context,
	c *Client,
	open func(context.Context, *grpc.ClientConn) (grpc.ServerStreamingClient[M], error),
	take func(*M) bool,
	failed func(error),
) {
	ctx, cancel := joined(ctx, c.done)
	defer cancel()
	enough := false
	err := c.again(ctx, func(conn *grpc.ClientConn) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := open(ctx, conn)
		if err != nil {
			return err
		}
		for {
			message, err := stream.Recv()
			if err == io.EOF {
				return status.Error(codes.Unavailable, "the stream ended")
			}
			if err != nil {
				return err
			}
			if !take(message) {
				enough = true
				return nil
			}
		}
	})
	if err != nil && !enough {
		failed(err)
	}
}
