package holdfast_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

func TestAGrantIsHeldAndReleased(t *testing.T) {
	s := start(t)
	one, other := s.client(holdfast.WithOwner("one")), s.client()
	g := acquire(t, one.Lock("deploy"), holdfast.Metadata(map[string]string{"job": "7"}))
	if g.Err() != nil || g.Context().Err() != nil {
		t.Fatal("a fresh grant counts as lost")
	}
	_, err := other.Lock("deploy").TryAcquire(soon(t))
	var told *holdfast.Error
	if !errors.Is(err, holdfast.ErrHeld) || !errors.As(err, &told) || told.Reason != "LOCK_HELD" {
		t.Fatalf("got %v", err)
	}
	state, err := other.Lock("deploy").State(soon(t))
	if err != nil || state.Holders[0].Owner != "one" || state.Holders[0].Metadata["job"] != "7" {
		t.Fatalf("got %+v, %v", state, err)
	}
	current, err := other.CheckGrant(soon(t), "deploy", g.FencingToken())
	if err != nil || !current {
		t.Fatalf("got %v, %v", current, err)
	}
	release(t, g)
	if cause := context.Cause(g.Context()); cause != holdfast.ErrReleased || g.Err() != holdfast.ErrReleased {
		t.Fatalf("got %v", cause)
	}
	release(t, g)
	select {
	case <-g.Lost():
		t.Fatal("a released grant counts as lost")
	default:
	}
	next, err := other.Lock("deploy").TryAcquire(soon(t))
	if err != nil || next.FencingToken() <= g.FencingToken() {
		t.Fatalf("got %v", err)
	}
}

func TestAWaitEndsInTime(t *testing.T) {
	s := start(t)
	one, other := s.client(), s.client()
	acquire(t, one.Lock("x"), holdfast.ReleaseDelay(time.Second))
	_, err := other.Lock("x").Acquire(soon(t), holdfast.Wait(50*time.Millisecond))
	if !errors.Is(err, holdfast.ErrWaitTimedOut) {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err = other.Lock("x").Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	settles(t, one.Lock("x"), 1, 0)
}

func TestAnInvalidArgumentIsNamed(t *testing.T) {
	s := start(t)
	client := s.client()
	refused := func(field string, name string, options ...holdfast.AcquireOption) {
		t.Helper()
		_, err := client.Lock(name).Acquire(soon(t), options...)
		var told *holdfast.Error
		if !errors.Is(err, holdfast.ErrInvalid) || !errors.As(err, &told) || told.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	refused("lock", "")
	refused("max_shared", "x", holdfast.MaxShared(0))
	refused("max_shared", "x", holdfast.MaxShared(-1))
	refused("ttl", "x", holdfast.TTL(time.Millisecond))
	acquire(t, client.Lock("x"))
}

func TestContendersNeverOverlapAndAllHaveTheirTurn(t *testing.T) {
	s := start(t)
	const clients, goroutines, turns = 3, 5, 20
	var inside atomic.Int32
	var done int
	var last uint64
	var work sync.WaitGroup
	for range clients {
		client := s.client()
		for range goroutines {
			work.Go(func() {
				for range turns {
					err := client.Lock("shared").Do(soon(t), func(_ context.Context, g *holdfast.Grant) error {
						if inside.Add(1) != 1 {
							t.Error("two hold the lock")
						}
						if g.FencingToken() <= last {
							t.Error("the fencing token did not rise")
						}
						last = g.FencingToken()
						done++
						inside.Add(-1)
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	work.Wait()
	if done != clients*goroutines*turns {
		t.Fatalf("%d turns", done)
	}
}

func TestSharedHoldersShareUpToTheirBound(t *testing.T) {
	s := start(t)
	client := s.client()
	gpus := client.Semaphore("gpu", 2)
	first, second := acquire(t, gpus), acquire(t, gpus)
	if _, err := gpus.TryAcquire(soon(t)); !errors.Is(err, holdfast.ErrHeld) {
		t.Fatalf("got %v", err)
	}
	release(t, first)
	release(t, second)

	table := client.RWLock("table")
	reading, again := acquire(t, table.Read), acquire(t, table.Read)
	if _, err := table.Write.TryAcquire(soon(t)); !errors.Is(err, holdfast.ErrHeld) {
		t.Fatalf("got %v", err)
	}
	release(t, reading)
	release(t, again)
	acquire(t, table.Write)
}

func TestABlocksResultComesBackAndItsFailureReleases(t *testing.T) {
	s := start(t)
	client := s.client()
	lock := client.Lock("x")
	answer, err := holdfast.DoResult(soon(t), lock, func(context.Context, *holdfast.Grant) (int, error) {
		ran := false
		err := client.Lock("x").TryDo(soon(t), func(context.Context, *holdfast.Grant) error {
			ran = true
			return nil
		})
		if ran || !errors.Is(err, holdfast.ErrHeld) {
			t.Errorf("ran under a held lock: %v", err)
		}
		return 42, nil
	})
	if answer != 42 || err != nil {
		t.Fatalf("got %d, %v", answer, err)
	}
	failure := errors.New("out of paper")
	err = lock.Do(soon(t), func(context.Context, *holdfast.Grant) error { return failure })
	if !errors.Is(err, failure) {
		t.Fatalf("got %v", err)
	}
	func() {
		defer func() { recover() }()
		lock.Do(soon(t), func(context.Context, *holdfast.Grant) error { panic("on fire") })
	}()
	settles(t, lock, 0, 0)
}

func TestPositionsAreTold(t *testing.T) {
	s := start(t)
	one, other := s.client(), s.client()
	first := acquire(t, one.Lock("x"))
	told := make(chan int, 16)
	granted := make(chan *holdfast.Grant)
	go func() { granted <- acquire(t, other.Lock("x"), holdfast.OnPosition(func(n int) { told <- n })) }()
	if n := arrives(t, "the position", told); n != 1 {
		t.Fatalf("position %d", n)
	}
	release(t, first)
	arrives(t, "the grant", granted)
}

func TestAForcedReleaseIsALoss(t *testing.T) {
	s := start(t)
	client := s.client()
	g := acquire(t, client.Lock("x"))
	err := client.Lock("y").Do(soon(t), func(ctx context.Context, held *holdfast.Grant) error {
		for _, name := range []string{"x", "y"} {
			if n, err := client.Lock(name).ForceRelease(soon(t)); n != 1 || err != nil {
				t.Errorf("got %d, %v", n, err)
			}
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, holdfast.ErrLost) {
		t.Fatalf("got %v", err)
	}
	arrives(t, "the loss", g.Lost())
	var loss *holdfast.LossError
	if err := g.Release(soon(t)); !errors.Is(err, holdfast.ErrLost) || !errors.As(err, &loss) || loss.Cause != "FORCED" {
		t.Fatalf("got %v", err)
	}
}

func TestAGrantOutlivesItsTTLWhileItsClientLives(t *testing.T) {
	s := start(t)
	client := s.client()
	ttl := 600 * time.Millisecond
	g := acquire(t, client.Lock("x"), holdfast.TTL(ttl))
	time.Sleep(3 * ttl)
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	if current, err := g.Check(soon(t)); !current || err != nil {
		t.Fatalf("got %v, %v", current, err)
	}
	release(t, g)
}

func TestALeaseKeepsManyLocks(t *testing.T) {
	s := start(t)
	client := s.client()
	lease, err := client.Lease(soon(t), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	a, b := acquire(t, lease.Lock("a")), acquire(t, lease.Lock("b"))
	time.Sleep(1500 * time.Millisecond)
	if a.Err() != nil || b.Err() != nil || lease.ID() == "" {
		t.Fatal("lost", a.Err(), b.Err())
	}
	if err := lease.Release(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*holdfast.Grant{a, b} {
		if context.Cause(g.Context()) != holdfast.ErrReleased {
			t.Fatalf("got %v", context.Cause(g.Context()))
		}
		settles(t, client.Lock(g.Lock()), 0, 0)
	}
	if _, err := lease.Lock("c").Acquire(soon(t)); !errors.Is(err, holdfast.ErrReleased) {
		t.Fatalf("got %v", err)
	}
}

func TestCloseGivesEverythingBack(t *testing.T) {
	s := start(t)
	one, other := s.client(), s.client()
	g := acquire(t, one.Lock("x"))
	acquire(t, one.Lock("y"), holdfast.TTL(time.Minute))
	waiting := make(chan error)
	go func() {
		_, err := one.Lock("x").Acquire(context.Background())
		waiting <- err
	}()
	settles(t, other.Lock("x"), 1, 1)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if err := arrives(t, "the end of the wait", waiting); !errors.Is(err, holdfast.ErrClosed) {
		t.Fatalf("got %v", err)
	}
	if context.Cause(g.Context()) != holdfast.ErrClosed {
		t.Fatalf("got %v", context.Cause(g.Context()))
	}
	settles(t, other.Lock("x"), 0, 0)
	settles(t, other.Lock("y"), 0, 0)
	if _, err := one.Lock("x").Acquire(soon(t)); !errors.Is(err, holdfast.ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

func TestAServerThatIsNotThereIsUnavailable(t *testing.T) {
	_, err := holdfast.Dial(soon(t), freeAddress(t), holdfast.WithDialTimeout(300*time.Millisecond))
	if !errors.Is(err, holdfast.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if _, err := holdfast.Dial(soon(t), ""); !errors.Is(err, holdfast.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
}

func TestHoldsAndPlacesOutliveAKilledServer(t *testing.T) {
	s := start(t)
	one, other := s.client(), s.client()
	g := acquire(t, one.Lock("x"))
	short := acquire(t, one.Lock("short"), holdfast.TTL(10*time.Second))
	order := make(chan int, 2)
	var grants [2]*holdfast.Grant
	for i := range grants {
		go func() {
			grants[i] = acquire(t, other.Lock("x"))
			order <- i
		}()
		settles(t, one.Lock("x"), 1, i+1)
	}
	s.kill()
	s.run()
	settles(t, one.Lock("x"), 1, 2)
	if g.Err() != nil || short.Err() != nil {
		t.Fatal(g.Err(), short.Err())
	}
	release(t, g)
	if i := arrives(t, "the first grant", order); i != 0 {
		t.Fatal("the second in line was first")
	}
	release(t, grants[0])
	arrives(t, "the second grant", order)
	release(t, grants[1])
	release(t, short)
}

func TestCallsAreRepeatedUntilTheServerIsBack(t *testing.T) {
	s := start(t)
	client := s.client()
	g := acquire(t, client.Lock("x"))
	s.kill()
	released, tried := make(chan error), make(chan error)
	go func() { released <- g.Release(soon(t)) }()
	go func() {
		_, err := client.Lock("y").TryAcquire(soon(t))
		tried <- err
	}()
	s.run()
	if err := arrives(t, "the release", released); err != nil {
		t.Fatal(err)
	}
	if err := arrives(t, "the grant", tried); err != nil {
		t.Fatal(err)
	}
	settles(t, client.Lock("x"), 0, 0)
}

// lossIn is how long after the cut a grant was lost.
func lossIn(t *testing.T, g *holdfast.Grant, ttl time.Duration, cut time.Time) {
	t.Helper()
	arrives(t, "the loss", g.Lost())
	took := time.Since(cut)
	if took >= ttl || took < ttl/4 {
		t.Fatalf("lost after %v of %v", took, ttl)
	}
	var loss *holdfast.LossError
	if err := g.Release(soon(t)); !errors.As(err, &loss) || loss.Cause != "UNCONFIRMED" {
		t.Fatalf("got %v", err)
	}
}

func TestAGrantIsLostBeforeItsTTLEndsWhenTheServerStops(t *testing.T) {
	s := start(t)
	client := s.client()
	ttl := 2 * time.Second
	g := acquire(t, client.Lock("x"), holdfast.TTL(ttl))
	cut := time.Now()
	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)
	lossIn(t, g, ttl, cut)
	s.signal(syscall.SIGCONT)
	again := acquire(t, client.Lock("x"), holdfast.TTL(ttl))
	if again.FencingToken() <= g.FencingToken() {
		t.Fatal("the fencing token did not rise")
	}
}

func TestAGrantIsLostBeforeAnybodyElseHasItWhenTheNetworkIsCut(t *testing.T) {
	s := start(t)
	between := startProxy(t, s.address)
	client, other := dial(t, between.address()), s.client()
	ttl := 2 * time.Second
	g := acquire(t, client.Lock("x"), holdfast.TTL(ttl))
	waiter := make(chan error)
	go func() {
		_, err := client.Lock("y").Acquire(soon(t), holdfast.TTL(ttl))
		waiter <- err
	}()
	next := make(chan *holdfast.Grant)
	go func() { next <- acquire(t, other.Lock("x")) }()
	settles(t, other.Lock("x"), 1, 1)
	if err := arrives(t, "the grant", waiter); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	between.silence()
	lossIn(t, g, ttl, cut)
	select {
	case <-next:
		t.Fatal("somebody had the lock before its loss")
	default:
	}
	arrives(t, "the next grant", next)
	// Within the network's time nothing can be given back; healed, everything goes on.
	between.heal()
	acquire(t, client.Lock("z"), holdfast.TTL(ttl))
	settles(t, other.Lock("y"), 0, 0)
}

func TestAGrantOutlivesACutShorterThanItsTTL(t *testing.T) {
	s := start(t)
	between := startProxy(t, s.address)
	client := dial(t, between.address())
	ttl := 3 * time.Second
	g := acquire(t, client.Lock("x"), holdfast.TTL(ttl))
	for range 3 {
		between.silence()
		time.Sleep(ttl / 3)
		between.heal()
		if _, err := client.Lock("y").State(soon(t)); err != nil {
			t.Fatal(err)
		}
		between.drop()
		time.Sleep(ttl / 3)
	}
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	release(t, g)
}

func TestACancelledContextLeavesTheLineAtEveryStage(t *testing.T) {
	s := start(t)
	client, other := s.client(), s.client()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := client.Lock("x").Acquire(ended); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	// Around the moment of the grant.
	for i := range 200 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*20*time.Microsecond)
		if g, err := client.Lock("x").Acquire(ctx); err == nil {
			release(t, g)
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	settles(t, other.Lock("x"), 0, 0)
	// In line, and with nobody there to hear of it.
	for _, killed := range []bool{false, true} {
		g := acquire(t, other.Lock("x"))
		ctx, cancel := context.WithCancelCause(context.Background())
		left := make(chan error)
		go func() {
			_, err := client.Lock("x").Acquire(ctx)
			left <- err
		}()
		settles(t, other.Lock("x"), 1, 1)
		if killed {
			s.kill()
		}
		why := errors.New("changed my mind")
		cancel(why)
		if err := arrives(t, "the end of the wait", left); !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
			t.Fatalf("got %v", err)
		}
		if killed {
			s.run()
		}
		settles(t, other.Lock("x"), 1, 0)
		release(t, g)
	}
}

func TestALeaseIsReleasedThoughItsConnectionBreaksMeanwhile(t *testing.T) {
	s := start(t)
	p := startProxy(t, s.address)
	lease, err := dial(t, p.address()).Lease(soon(t), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	g := acquire(t, lease.Lock("deploy"))
	p.silence()
	released := make(chan error, 1)
	go func() { released <- lease.Release(soon(t)) }()
	eventually(t, "the release begins", func() bool { return g.Err() != nil })
	p.drop()
	p.heal()
	if err := arrives(t, "the release", released); err != nil {
		t.Fatal(err)
	}
	settles(t, s.client().Lock("deploy"), 0, 0)
}

func TestCloseGivesEverythingBackThoughItsConnectionBreaksMeanwhile(t *testing.T) {
	s := start(t)
	p := startProxy(t, s.address)
	c := dial(t, p.address(), holdfast.WithTTL(time.Hour))
	g := acquire(t, c.Lock("deploy"))
	p.silence()
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	eventually(t, "the end begins", func() bool { return g.Err() != nil })
	p.drop()
	p.heal()
	if err := arrives(t, "the end", closed); err != nil {
		t.Fatal(err)
	}
	settles(t, s.client().Lock("deploy"), 0, 0)
}

func TestAShortTTLDoesNotKeepASlowNetworkFromBeingConnected(t *testing.T) {
	s := start(t)
	p := startProxy(t, s.address)
	c := dial(t, p.address(), holdfast.WithTTL(time.Second))
	release(t, acquire(t, c.Lock("deploy")))
	p.slow(600 * time.Millisecond)
	p.drop()
	release(t, acquire(t, c.Lock("deploy")))
}
