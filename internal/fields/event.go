// SPDX-License-Identifier: Apache-2.0

package fields

// Event is what a record reports.
type Event uint8

// The events.
const (
	Closed Event = iota
	Failed
	Opened
	Periodic
)

var eventNames = [...]string{
	Closed:   "kmesh.tcp.connection.closed",
	Failed:   "kmesh.tcp.connection.failed",
	Opened:   "kmesh.tcp.connection.opened",
	Periodic: "kmesh.tcp.connection.periodic",
}

// Name returns the EventName of its log records.
func (e Event) Name() string { return eventNames[e] }

// SumName returns the EventName of the log records that have sums over connections.
func (e Event) SumName() string { return "kmesh.tcp.flow." + e.String() }

// String returns the field's and the configuration's spelling.
func (e Event) String() string { return eventNames[e][len("kmesh.tcp.connection."):] }
