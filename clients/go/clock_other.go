//go:build !linux

package holdfast

import (
	"sync"
	"time"
)

// newClock is the clock of this system.
func newClock() clock { return &widerClock{last: time.Now()} }

// widerClock goes on with the wall clock wherever that has come further than the monotonic one, which
// stands still in a suspension on some systems. A wall clock that is set forward makes it lose
// grants too early, which is harmless.
type widerClock struct {
	mu   sync.Mutex
	last time.Time
	now  time.Duration
}

func (c *widerClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	monotonic := now.Sub(c.last)
	wall := now.Round(0).Sub(c.last.Round(0))
	c.now += max(monotonic, wall)
	c.last = now
	return c.now
}

func (c *widerClock) Alarm(f func()) alarm { return newPolledAlarm(c, f) }
