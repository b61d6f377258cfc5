package holdfast

import (
	"context"
	"errors"
	"time"
)

// keep extends something that ends by itself, until it is stopped. The context ends with ctx and when
// the thing counts as lost: reckoned as grants are. extend tells the time won; nil: no end. stop
// tells how it was lost, if it was.
func (c *Client) keep(
	ctx context.Context,
	what string,
	extend func(context.Context) (*time.Duration, error),
) (inner context.Context, stop func() error, err error) {
	clock := c.settings.clock
	sent := clock.Now()
	left, err := extend(ctx)
	if err != nil {
		return nil, nil, err
	}
	held, lose := context.WithCancelCause(context.Background())
	inner, leave := joined(ctx, held)
	alarm := clock.Alarm(func() { lose(&LossError{What: what, Cause: unconfirmed}) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for left != nil {
			alarm.Set(sent + *left - margin(*left))
			if !sleep(held, min(*left/3, renewalMax)) {
				return
			}
			next := clock.Now()
			more, err := extend(held)
			if held.Err() != nil {
				return
			}
			var told *Error
			switch {
			case err == nil:
				sent, left = next, more
			case errors.As(err, &told) && !told.retryable():
				lose(&LossError{What: what, Cause: "EXPIRED"})
				return
			}
		}
	}()
	return inner, func() error {
		lose(ErrReleased)
		alarm.Stop()
		<-ended
		leave()
		if cause := context.Cause(held); errors.Is(cause, ErrLost) {
			return cause
		}
		return nil
	}, nil
}
