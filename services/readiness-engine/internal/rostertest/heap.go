package rostertest

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// Heap watches how far the heap grows, garbage included, beyond what is in use
// now. stop reports the largest growth that was seen.
func Heap(b *testing.B) (stop func()) {
	b.Helper()
	runtime.GC()
	before, peak := heap(), uint64(0)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			peak = max(peak, heap())
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		b.ReportMetric(float64(peak-min(peak, before))/1e6, "MB-peak")
	}
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
