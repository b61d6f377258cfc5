package holdfast

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bootClock counts time since boot, suspended time included.
type bootClock struct{}

// newClock is the clock of this system.
func newClock() clock { return bootClock{} }

func (bootClock) Now() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		// Every kernel since 2.6.39 has it, and the call has no other way to fail.
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(now.Nano())
}

// Alarm is a timer of the kernel's on the same clock: it is due at once after a suspension.
func (c bootClock) Alarm(f func()) alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newPolledAlarm(c, f)
	}
	a := &timerfd{file: os.NewFile(uintptr(fd), "timerfd"), fd: fd}
	go func() {
		var expirations [8]byte
		for {
			if _, err := a.file.Read(expirations[:]); err != nil {
				return
			}
			f()
		}
	}()
	return a
}

type timerfd struct {
	mu     sync.Mutex
	file   *os.File
	fd     int
	closed bool
}

func (a *timerfd) Set(at time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	// Zero would disarm it.
	due := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(at), 1))}
	_ = unix.TimerfdSettime(a.fd, unix.TFD_TIMER_ABSTIME, &due, nil)
}

func (a *timerfd) Stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.closed = true
		_ = a.file.Close()
	}
}
