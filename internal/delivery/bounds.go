// SPDX-License-Identifier: Apache-2.0

package delivery

import "time"

// LogBounds limits what waits for a consumer that refuses or blocks.
type LogBounds struct {
	QueueRecords    int           // records that may wait, beside the batch in flight; 0: 100,000
	InitialInterval time.Duration // before the first retry; 0: 100 ms
	MaxInterval     time.Duration // between retries; 0: 5 s
	MaxElapsed      time.Duration // of all attempts at one batch, then it is dropped; 0: 5 min
}

const (
	defaultQueueRecords    = 100_000
	defaultInitialInterval = 100 * time.Millisecond
	defaultMaxInterval     = 5 * time.Second
	defaultMaxElapsed      = 5 * time.Minute
)

func (b LogBounds) withDefaults() LogBounds {
	if b.QueueRecords <= 0 {
		b.QueueRecords = defaultQueueRecords
	}
	if b.InitialInterval <= 0 {
		b.InitialInterval = defaultInitialInterval
	}
	if b.MaxInterval <= 0 {
		b.MaxInterval = defaultMaxInterval
	}
	if b.MaxElapsed <= 0 {
		b.MaxElapsed = defaultMaxElapsed
	}
	return b
}
