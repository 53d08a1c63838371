// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// LogsReport counts what the next consumer accepted and refused; receiverhelper.ObsReport is one.
type LogsReport interface {
	StartLogsOp(ctx context.Context) context.Context
	EndLogsOp(ctx context.Context, format string, records int, err error)
}

// Logs delivers access log records.
type Logs = Queue[plog.Logs]

// NewLogs returns a queue of at most so many bytes (0: DefaultQueueBytes) that waits for Start.
func NewLogs(queueBytes int, next consumer.Logs, report LogsReport) *Logs {
	return newQueue("access log records", queueBytes, logsMemory, func(ctx context.Context, logs plog.Logs, records int) error {
		ctx = report.StartLogsOp(ctx)
		err := next.ConsumeLogs(ctx, logs)
		report.EndLogsOp(ctx, format, records, err)
		return err
	})
}

// What a record takes as pdata, in bytes: itself with a pointer to it and the texts outside its body, and each attribute
// with its value.
const (
	recordMemory    = 368
	attributeMemory = 56
)

// logsMemory returns roughly what logs take. It does not look at the attributes: a batch is weighed on the goroutine that
// reads.
func logsMemory(logs plog.Logs) (bytes int) {
	for _, resource := range logs.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, r := range scope.LogRecords().All() {
				bytes += recordMemory + attributeMemory*r.Attributes().Len()
				if body := r.Body(); body.Type() == pcommon.ValueTypeStr {
					bytes += len(body.Str())
				}
			}
		}
	}
	return bytes
}
