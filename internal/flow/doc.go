// SPDX-License-Identifier: Apache-2.0

// Package flow turns records of TCP connections into series.
//
// A record tells what one end of a connection did.  Both ends are named (Aggregator.Add), the flow is added to the
// sets of series that are on and, where a logs pipeline wants it, handed to a LogSink.  Series are held, connections
// are not: the kernel keeps each connection's state and reports what it added.
//
// Nothing here is safe for concurrent use: one goroutine adds, settles and takes snapshots.  A Snapshot once taken
// belongs to whoever has it and may be read on any goroutine.
package flow
