// SPDX-License-Identifier: Apache-2.0

package accesslog

// Event is what an access log record reports.
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

// name returns the EventName of its log records.
func (e Event) name() string { return eventNames[e] }

// String returns the field's and the configuration's spelling.
func (e Event) String() string { return eventNames[e][len("kmesh.tcp.connection."):] }
