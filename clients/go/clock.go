package holdfast

import "time"

// clock is the time by which a client reckons. It must count while the machine is suspended, since
// the server's does: the runtime's own monotonic time does not on every system.
type clock interface {
	// Now is the time since some fixed moment.
	Now() time.Duration
	// Alarm makes an alarm that calls f, in a goroutine of its own, when it is due.
	Alarm(f func()) alarm
}

// alarm calls a function once its time has come.
type alarm interface {
	// Set says when to call; it replaces what was set before.
	Set(at time.Duration)
	// Stop ends the alarm for good. f may be running.
	Stop()
}

const (
	// marginMin is the least time by which a loss is reckoned too early.
	marginMin = 100 * time.Millisecond
	// marginEnough is where a tenth of the TTL is more than delays and clocks can ask for.
	marginEnough = 5 * time.Second
	// clockDrift is the part of a span by which two clocks may differ; those of computers do far less.
	clockDrift = 1000
)

// margin is how long before the server may end a lease its holder counts it as lost: for the
// difference of two clocks, and for the work that has to stop.
func margin(ttl time.Duration) time.Duration {
	wanted := max(ttl/10, marginMin)
	wanted = min(wanted, max(marginEnough, ttl/clockDrift))
	return min(wanted, ttl/2)
}
