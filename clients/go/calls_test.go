package holdfast

import (
	"testing"
	"time"
)

func TestAnAcquireCarriesItsReleaseDelay(t *testing.T) {
	l := &Lock{client: &Client{}, name: "x"}
	sent := func(options ...AcquireOption) *call {
		a := ask{}
		for _, option := range options {
			option(&a)
		}
		return &call{acquire: l.request(&a)}
	}
	delay := sent(ReleaseDelay(time.Minute)).request(0).GetAcquireLock().GetReleaseDelay()
	if delay.AsDuration() != time.Minute {
		t.Fatalf("got %v", delay)
	}
	if delay = sent().request(0).GetAcquireLock().GetReleaseDelay(); delay != nil {
		t.Fatalf("got %v", delay)
	}
}
