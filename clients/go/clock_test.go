package holdfast

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestTheMarginIsATenthWithinItsBounds(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		100 * time.Millisecond: 50 * time.Millisecond,
		500 * time.Millisecond: 100 * time.Millisecond,
		30 * time.Second:       3 * time.Second,
		10 * time.Minute:       5 * time.Second,
		30 * 24 * time.Hour:    2592 * time.Second,
	} {
		if got := margin(ttl); got != want {
			t.Errorf("%v: got %v, not %v", ttl, got, want)
		}
	}
}

func TestAnAlarmRingsWhenItIsDueAndNotBefore(t *testing.T) {
	real := newClock()
	for name, system := range map[string]func(func()) alarm{
		"system": real.Alarm,
		"polled": func(f func()) alarm { return newPolledAlarm(real, f) },
	} {
		rang := listen(system)
		start := real.Now()
		rang.alarm.Set(start + time.Hour)
		rang.alarm.Set(start + 50*time.Millisecond)
		select {
		case at := <-rang.at:
			if at < start+50*time.Millisecond {
				t.Errorf("%s: rang early", name)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: did not ring", name)
		}
		rang.alarm.Stop()
		rang.alarm.Stop()
		rang.alarm.Set(0)
	}
}

type ringing struct {
	alarm alarm
	at    chan time.Duration
}

func listen(alarm func(func()) alarm) ringing {
	at := make(chan time.Duration, 8)
	return ringing{alarm(func() { at <- newClock().Now() }), at}
}

// handClock stands still until it is set.
type handClock struct {
	mu     sync.Mutex
	now    time.Duration
	alarms []*handAlarm
}

type handAlarm struct {
	clock *handClock
	at    time.Duration
	f     func()
}

func (c *handClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) Alarm(f func()) alarm {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &handAlarm{clock: c, f: f}
	c.alarms = append(c.alarms, a)
	return a
}

func (a *handAlarm) Set(at time.Duration) {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	a.at = at
}

func (a *handAlarm) Stop() {}

// pass lets time pass; alarms ring only where rings says so.
func (c *handClock) pass(d time.Duration, rings bool) {
	c.mu.Lock()
	c.now += d
	var due []func()
	for _, a := range c.alarms {
		if a.at != 0 && a.at <= c.now && rings {
			due = append(due, a.f)
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// held is a session of a clock by hand with one grant, confirmed when it was sent at 0.
func held(t *testing.T, ttl time.Duration) (*handClock, *session, *Grant) {
	t.Helper()
	clock := &handClock{}
	c := &Client{settings: settings{ttl: ttl, clock: clock}}
	s := newSession(c, ttl, false, nil)
	g := &Grant{session: s, lock: "x", fencingToken: 7, lost: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	s.grants[7] = g
	s.confirm(0, span(ttl))
	return clock, s, g
}

func TestALossIsReckonedFromWhenTheRenewalWasSent(t *testing.T) {
	clock, s, g := held(t, 10*time.Second)
	clock.pass(8*time.Second, true)
	// Sent at 3 s, answered at 8 s.
	s.mu.Lock()
	s.confirm(3*time.Second, span(10*time.Second))
	s.mu.Unlock()
	clock.pass(4*time.Second-1, true)
	if g.Err() != nil {
		t.Fatal("lost too early")
	}
	clock.pass(1, true)
	if g.Context().Err() == nil || !errors.Is(context.Cause(g.Context()), ErrLost) {
		t.Fatal("held at 3 s + 10 s - 1 s")
	}
}

func TestALostGrantIsNotFoundAgainByALateConfirmation(t *testing.T) {
	clock, s, g := held(t, 10*time.Second)
	clock.pass(time.Minute, true)
	s.mu.Lock()
	s.confirm(59*time.Second, span(10*time.Second))
	s.mu.Unlock()
	if !errors.Is(g.Err(), ErrLost) {
		t.Fatal("held again")
	}
}

func TestAGrantTellsItsLossByTheClockBeforeAnAlarmDoes(t *testing.T) {
	clock, _, g := held(t, 10*time.Second)
	clock.pass(time.Minute, false)
	if !errors.Is(g.Err(), ErrLost) {
		t.Fatal("not lost")
	}
}

func TestAShorterAnswerOfTheServerCounts(t *testing.T) {
	clock, s, g := held(t, 10*time.Second)
	s.mu.Lock()
	s.deadline = 0
	s.confirm(0, span(5*time.Second))
	s.mu.Unlock()
	clock.pass(4*time.Second, true)
	if !errors.Is(g.Err(), ErrLost) {
		t.Fatal("not lost")
	}
}
