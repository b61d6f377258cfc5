package holdfast_test

import (
	"context"
	"flag"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

var (
	callers = flag.Int("callers", 256, "how many callers share the client of BenchmarkCycles")
	grants  = flag.Int("grants", 10_000, "how many grants BenchmarkKeptAlive holds")
)

const (
	// cyclesPerRound is how many acquires and releases a round of BenchmarkCycles makes.
	cyclesPerRound = 50_000
	// watched is how long BenchmarkKeptAlive watches: long enough for some renewals.
	watched = 20 * time.Second
)

// BenchmarkCycles is acquire and release of distinct locks by 256 callers on one connection, on a
// server's durable store. Each iteration is a round; what is reported is the median of them, and the
// processor time of this process alone for each cycle. At most 9 rounds: a server remembers a million
// request ids for two minutes.
func BenchmarkCycles(b *testing.B) {
	s := start(b)
	client := dial(b, s.address)
	var rates []float64
	before := processorTime(b)
	for range b.N {
		began := time.Now()
		cycles(b, client)
		rates = append(rates, cyclesPerRound/time.Since(began).Seconds())
	}
	spent := processorTime(b) - before
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N*cyclesPerRound), "own-µs/cycle")
	slices.Sort(rates)
	b.ReportMetric(rates[len(rates)/2], "cycles/s")
	b.ReportMetric(0, "ns/op")
}

func cycles(b *testing.B, client *holdfast.Client) {
	var work sync.WaitGroup
	for caller := range *callers {
		lock := client.Lock("lock-" + strconv.Itoa(caller))
		work.Go(func() {
			for range cyclesPerRound / *callers {
				grant, err := lock.Acquire(context.Background())
				if err == nil {
					err = grant.Release(context.Background())
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
}

// BenchmarkKeptAlive is the share of one core that this process needs to keep many grants alive.
func BenchmarkKeptAlive(b *testing.B) {
	s := start(b)
	client := dial(b, s.address)
	var work sync.WaitGroup
	held := make([]*holdfast.Grant, *grants)
	for i := range held {
		work.Go(func() {
			grant, err := client.Lock("kept-" + strconv.Itoa(i)).Acquire(context.Background())
			if err != nil {
				b.Error(err)
			}
			held[i] = grant
		})
	}
	work.Wait()
	if b.Failed() {
		return
	}
	var share float64
	for range b.N {
		before, began := processorTime(b), time.Now()
		time.Sleep(watched)
		share = (processorTime(b) - before).Seconds() / time.Since(began).Seconds()
	}
	for _, grant := range held {
		if err := grant.Err(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*share, "%core")
	b.ReportMetric(0, "ns/op")
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
