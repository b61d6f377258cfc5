package holdfast_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

// BenchmarkCycles is acquire and release of distinct locks by 256 callers on one connection.
func BenchmarkCycles(b *testing.B) {
	s := start(b)
	client := dial(b, s.address)
	var next atomic.Int64
	var work sync.WaitGroup
	b.ResetTimer()
	for caller := range 256 {
		lock := client.Lock("lock-" + strconv.Itoa(caller))
		work.Go(func() {
			for next.Add(1) <= int64(b.N) {
				err := lock.Do(context.Background(), func(context.Context, *holdfast.Grant) error { return nil })
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cycles/s")
}
