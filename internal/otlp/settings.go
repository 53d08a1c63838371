// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// ScopeName is the instrumentation scope of everything that the receiver emits.
const ScopeName = "github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver"

// Settings are what the metrics and the access log have in common.
type Settings struct {
	Resource pcommon.Resource // copied into every batch; never changed after it is given
	Version  string           // of the instrumentation scope
}

// LogBounds bounds what waits for a downstream that refuses or blocks.
type LogBounds struct {
	QueueRecords    int           // records that may wait, beside the batch in flight; 0: 100,000
	InitialInterval time.Duration // before the first retry; 0: 100 ms
	MaxInterval     time.Duration // between retries; 0: 5 s
	MaxElapsed      time.Duration // of all tries of one batch, then it is dropped; 0: 5 min
}

const (
	defaultQueueRecords    = 100_000
	defaultInitialInterval = 100 * time.Millisecond
	defaultMaxInterval     = 5 * time.Second
	defaultMaxElapsed      = 5 * time.Minute
)

func (d LogBounds) withDefaults() LogBounds {
	if d.QueueRecords <= 0 {
		d.QueueRecords = defaultQueueRecords
	}
	if d.InitialInterval <= 0 {
		d.InitialInterval = defaultInitialInterval
	}
	if d.MaxInterval <= 0 {
		d.MaxInterval = defaultMaxInterval
	}
	if d.MaxElapsed <= 0 {
		d.MaxElapsed = defaultMaxElapsed
	}
	return d
}
