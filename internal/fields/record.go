// SPDX-License-Identifier: Apache-2.0

package fields

import (
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// record is what the fields are filled from.
type record struct {
	event       Event
	flow        *flow.Flow
	connection  *flow.Connection
	source      end
	destination end

	seconds seconds
}

// end is one side of the connection. What is not known is empty or identity.Unknown.
type end struct{ pod, namespace, principal, cluster string }

func (r *record) set(event Event, f *flow.Flow) {
	r.event, r.flow, r.connection = event, f, f.Connection
	r.source, r.destination = endOf(f.Source), endOf(f.Destination)
	if !f.Destination.Known() && f.Service != nil {
		r.destination.namespace = f.Service.Namespace
	}
}

func endOf(w *identity.Workload) end {
	if w == nil {
		return end{pod: identity.Unknown, namespace: identity.Unknown}
	}
	names := w.Names.Value()
	return end{w.Name, w.Namespace(), names.Principal, names.Cluster}
}

func known(value string) bool { return value != "" && value != identity.Unknown }

// seconds formats times as flow.StartTimeFormat does, in UTC. It keeps the second that it wrote last: most records are of
// the same.
type seconds struct {
	last   int64
	prefix []byte
}

func (s *seconds) append(to []byte, t time.Time) []byte {
	if second := t.Unix(); second != s.last || s.prefix == nil {
		s.last = second
		s.prefix = t.UTC().AppendFormat(s.prefix[:0], "2006-01-02T15:04:05")
	}
	to = append(append(to, s.prefix...), '.')
	ns := t.Nanosecond()
	for digit := 100_000_000; digit > 0; digit /= 10 {
		to = append(to, byte('0'+ns/digit%10)) // #nosec G115 -- a digit
	}
	return append(to, 'Z')
}
