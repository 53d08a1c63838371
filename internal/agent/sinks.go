// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// Sink is the last stage of one signal. It makes telemetry of the flows that naming passes on, and delivers it. All but Idle
// and Stats belong to one goroutine.
type Sink interface {
	naming.Sink
	// Needs does not change.
	Needs() sink.Needs
	Start()
	// Flush passes on the records that are due; it follows each reading.
	Flush(now time.Time)
	// Collect follows each collection, when all open connections were read.
	Collect(now time.Time)
	// Recount begins to count the ends anew that are open at since, and Recounted ends it. In between, all that are open are
	// reported at least once. If that is not complete, what was counted must not be used.
	Recount(since time.Time)
	Recounted(now time.Time, complete bool)
	// Idle returns whether nothing waits for the next consumer.
	Idle() bool
	Stats() sink.Stats
	// Shutdown delivers what is left until ctx ends, and returns what was lost; nil: nothing. It is safe before Start.
	Shutdown(ctx context.Context) *sink.Loss
}

// Signal is one pipeline that the agent feeds.
type Signal struct {
	Name string // metrics, logs, traces
	New  func(sink.Settings) Sink
}

// namedSink is the sink of a signal.
type namedSink struct {
	Sink
	signal string
}
