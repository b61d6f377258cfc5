package holdfast_test

import (
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

// beyondMemory is longer than the server remembers requests.
const beyondMemory = 130 * time.Second

// apart is a client whose connection can be cut and whose clock can be moved on, and another one that
// holds the lock for which the first stands in line.
type apart struct {
	server  *server
	between *proxy
	clock   *holdfast.AheadClock
	client  *holdfast.Client
	other   *holdfast.Client
	before  *holdfast.Grant
	mine    *holdfast.Grant
	asked   chan *holdfast.Grant
}

func startApart(t *testing.T) *apart {
	s := start(t)
	a := &apart{server: s, between: startProxy(t, s.address), other: s.client()}
	clock, option := holdfast.WithAheadClock()
	a.clock = clock
	a.client = dial(t, a.between.address(), option, holdfast.WithTTL(10*time.Minute))
	a.mine = acquire(t, a.client.Lock("mine"))
	a.before = acquire(t, a.other.Lock("deploy"))
	a.asked = make(chan *holdfast.Grant, 1)
	go func() {
		grant, err := a.client.Lock("deploy").Acquire(soon(t))
		if err != nil {
			t.Error(err)
		}
		a.asked <- grant
	}()
	settles(t, a.other.Lock("deploy"), 1, 1)
	return a
}

// cut breaks the connection for longer than the server remembers requests, and does something
// meanwhile.
func (a *apart) cut(meanwhile func()) {
	a.between.silence()
	meanwhile()
	a.clock.Skip(beyondMemory)
	a.between.drop()
	a.between.heal()
}

func TestAGrantTooOldToBeAskedForAgainDoesNotStandInItsOwnWay(t *testing.T) {
	a := startApart(t)
	var unknown uint64
	a.cut(func() {
		release(t, a.before)
		state, err := a.other.Lock("deploy").State(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		unknown = state.Holders[0].FencingToken
	})
	if grant := arrives(t, "the grant", a.asked); grant.FencingToken() <= unknown {
		t.Errorf("got the grant %d again", grant.FencingToken())
	}
	arrives(t, "the loss", a.mine.Lost())
}

func TestALongCutCostsNothingWhereNothingWasGrantedInIt(t *testing.T) {
	a := startApart(t)
	a.cut(func() {})
	// It is answered over the next stream.
	acquire(t, a.client.Lock("another"))
	release(t, a.before)
	if err := arrives(t, "the grant", a.asked).Err(); err != nil {
		t.Error(err)
	}
	if err := a.mine.Err(); err != nil {
		t.Error(err)
	}
}
