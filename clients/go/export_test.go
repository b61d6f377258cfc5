package holdfast

import (
	"sync/atomic"
	"time"
)

// AheadClock is the system's clock, which a test can move on.
type AheadClock struct {
	system clock
	ahead  atomic.Int64
}

// WithAheadClock is a clock, and the option to reckon by it.
func WithAheadClock() (*AheadClock, Option) {
	c := &AheadClock{system: newClock()}
	return c, func(s *settings) { s.clock = c }
}

// Skip moves the clock on.
func (c *AheadClock) Skip(span time.Duration) { c.ahead.Add(int64(span)) }

// Now is the time since some fixed moment.
func (c *AheadClock) Now() time.Duration {
	return c.system.Now() + time.Duration(c.ahead.Load())
}

// Alarm makes an alarm by this clock.
func (c *AheadClock) Alarm(f func()) alarm { return newPolledAlarm(c, f) }
