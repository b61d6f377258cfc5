package holdfast

import (
	"sync"
	"time"
)

// pollStep is how often a polled alarm looks at its clock, since the runtime's timers may stand still
// while the machine is suspended.
const pollStep = 100 * time.Millisecond

// polledAlarm is an alarm on any clock.
type polledAlarm struct {
	clock clock
	mu    sync.Mutex
	at    time.Duration
	armed bool
	stop  chan struct{}
	once  sync.Once
	wake  chan struct{}
}

func newPolledAlarm(clock clock, f func()) alarm {
	a := &polledAlarm{clock: clock, stop: make(chan struct{}), wake: make(chan struct{}, 1)}
	go a.run(f)
	return a
}

func (a *polledAlarm) run(f func()) {
	timer := time.NewTimer(pollStep)
	defer timer.Stop()
	for {
		a.mu.Lock()
		left := a.at - a.clock.Now()
		due := a.armed && left <= 0
		armed := a.armed && !due
		if due {
			a.armed = false
		}
		a.mu.Unlock()
		if due {
			f()
			continue
		}
		var tick <-chan time.Time
		if armed {
			timer.Reset(min(left, pollStep))
			tick = timer.C
		}
		select {
		case <-tick:
		case <-a.wake:
		case <-a.stop:
			return
		}
	}
}

func (a *polledAlarm) Set(at time.Duration) {
	a.mu.Lock()
	a.at, a.armed = at, true
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *polledAlarm) Stop() {
	a.once.Do(func() { close(a.stop) })
}
