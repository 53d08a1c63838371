// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// send tries to deliver logs until they are accepted, refused permanently, or refused for too long. It returns how many
// records nobody accepted.
func (d *Logs) send(logs plog.Logs, records int) (refused int) {
	ctx := d.report.StartLogsOp(d.ctx)
	intervals := backoff.NewExponentialBackOff()
	intervals.InitialInterval = d.bounds.InitialInterval
	intervals.MaxInterval = d.bounds.MaxInterval
	begun := time.Now()
	refused = records
	for {
		err := d.ctx.Err()
		if err == nil {
			err = d.next.ConsumeLogs(ctx, d.attempt(logs))
		}
		if err == nil {
			d.report.EndLogsOp(ctx, format, refused, nil)
			return 0
		}
		// Of a batch that was accepted in part, only the rest is retried.
		var partial consumererror.Logs
		if errors.As(err, &partial) {
			logs = partial.Data()
			rest := min(logs.LogRecordCount(), refused)
			d.report.EndLogsOp(ctx, format, refused-rest, nil)
			ctx = d.report.StartLogsOp(d.ctx)
			refused = rest
		}
		wait := max(intervals.NextBackOff(), retryDelay(err))
		if permanent(err) || time.Since(begun)+wait > d.bounds.MaxElapsed || !d.pause(wait) {
			d.report.EndLogsOp(ctx, format, refused, err)
			return refused
		}
	}
}

// attempt returns what one attempt may consume: a consumer that changes its data must not affect the next attempt.
func (d *Logs) attempt(logs plog.Logs) plog.Logs {
	if !d.next.Capabilities().MutatesData {
		return logs
	}
	own := plog.NewLogs()
	logs.CopyTo(own)
	return own
}

// pause waits; false when the time to shut down is over.
func (d *Logs) pause(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.ctx.Done():
		return false
	}
}

func permanent(err error) bool {
	if consumererror.IsPermanent(err) {
		return true
	}
	var classified *consumererror.Error
	return errors.As(err, &classified) && !classified.IsRetryable()
}

// retryDelay is the delay that the consumer asks for (google.rpc.RetryInfo); 0 when it asks for none.
func retryDelay(err error) time.Duration {
	// Only a classified error may be given to ToGRPCStatus: for any other it dereferences nil in v0.159.0.
	var classified *consumererror.Error
	answer, _ := status.FromError(err)
	if errors.As(err, &classified) {
		answer = consumererror.ToGRPCStatus(err)
	}
	for _, detail := range answer.Details() {
		if info, ok := detail.(interface{ GetRetryDelay() *durationpb.Duration }); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}
