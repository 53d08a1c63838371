// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"encoding/hex"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// Record is an access log record, as the receiver wrote it.
type Record struct {
	At            time.Time `json:"at"`
	Event         string    `json:"event"`
	Direction     string    `json:"direction"`
	Source        string    `json:"source"` // address and port
	SourcePod     string    `json:"sourcePod,omitempty"`
	Destination   string    `json:"destination"`
	DestPod       string    `json:"destinationPod,omitempty"`
	Sent          int64     `json:"sent"`
	Received      int64     `json:"received"`
	Duration      string    `json:"duration"`
	Retransmitted int64     `json:"retransmitted,omitempty"`
	RTT           string    `json:"rtt,omitempty"`
	CloseReason   string    `json:"closeReason,omitempty"`
	Error         string    `json:"error,omitempty"`
	TraceID       string    `json:"traceId,omitempty"`
}

// log keeps the last records of all edges, by number.
type log struct {
	limit   uint64
	records []Record
	next    uint64 // number of the next record
}

func (l *log) add(r *Record) uint64 {
	number := l.next
	l.next++
	if uint64(len(l.records)) < l.limit {
		l.records = append(l.records, *r)
	} else {
		l.records[number%l.limit] = *r
	}
	return number
}

// get gives a record; nil if others have taken its place.
func (l *log) get(number uint64) *Record {
	if number >= l.next || number+l.limit < l.next {
		return nil
	}
	return &l.records[number%l.limit]
}

// named is a record and the names that identify its edge.
type named struct {
	record                       Record
	sourceCluster, sourceSpace   string
	destCluster, destSpace, host string
}

// waiting is a record that arrived before the metrics that have its edge.
type waiting struct {
	named named
	until int64
}

// ConsumeLogs takes a batch of the receiver's access log. What is not the receiver's is left out.
func (g *Graph) ConsumeLogs(batch plog.Logs) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.settings.Now().UnixNano()
	for _, of := range batch.ResourceLogs().All() {
		for _, scope := range of.ScopeLogs().All() {
			for _, r := range scope.LogRecords().All() {
				n, ok := readRecord(r)
				if !ok {
					g.counts.Other++
					continue
				}
				g.counts.Records++
				if g.attach(&n, now) {
					continue
				}
				if len(g.waiting) == maxWaiting {
					g.waiting = g.waiting[1:]
					g.counts.Unmatched++
				}
				g.waiting = append(g.waiting, waiting{n, now + int64(waitFor)})
			}
		}
	}
}

// retry attaches the records whose metrics arrived in the meantime.
func (g *Graph) retry(now int64) {
	kept := g.waiting[:0]
	for i := range g.waiting {
		w := &g.waiting[i]
		switch {
		case g.attach(&w.named, now):
		case w.until < now:
			g.counts.Unmatched++
		default:
			kept = append(kept, *w)
		}
	}
	clear(g.waiting[len(kept):])
	g.waiting = kept
}

func (g *Graph) attach(n *named, now int64) bool {
	e := g.edgeOf(n)
	if e == nil || !e.isLive {
		return false
	}
	if len(e.records) == recordsPerEdge {
		e.records = append(e.records[:0], e.records[1:]...)
	}
	e.records = append(e.records, g.log.add(&n.record))
	if n.record.Error != "" {
		e.reasons.add(n.record.Error, now, g.settings.Window/2)
	}
	return true
}

// edgeOf finds the edge of a record: records name pods and hosts, edges workloads and services.
func (g *Graph) edgeOf(n *named) *edge {
	from := Key{Kind: KindUnknown}
	if n.record.SourcePod != "" || n.sourceSpace != "" {
		var found bool
		if from, found = g.workloadOf(n.sourceCluster, n.sourceSpace, n.record.SourcePod); !found {
			return nil
		}
	}
	key := edgeKey{from: from}
	for _, cluster := range []string{n.destCluster, n.sourceCluster} {
		if service := g.hosts[host{cluster, n.host}]; service != nil {
			key.service = service.key
			break
		}
	}
	if n.record.DestPod != "" {
		to, found := g.workloadOf(n.destCluster, n.destSpace, n.record.DestPod)
		if !found {
			return nil
		}
		key.destination = to
	} else if key.service == (Key{}) {
		if n.host != "" && g.nodes[Key{Kind: KindAddress, Name: n.host}] != nil {
			key.destination = Key{Kind: KindAddress, Name: n.host}
		} else if w := workload(n.destCluster, n.destSpace, ""); g.nodes[w] != nil {
			key.destination = w
		}
	}
	return g.edges[key]
}

// workloadOf finds the workload of a pod: its name is what the pod's begins with, the longest one that is known.
func (g *Graph) workloadOf(cluster, namespace, pod string) (Key, bool) {
	for name := pod; ; {
		key := Key{Kind: KindWorkload, Cluster: cluster, Namespace: namespace, Name: name}
		if g.nodes[key] != nil {
			return key, true
		}
		cut := strings.LastIndexByte(name, '-')
		if cut <= 0 {
			return Key{}, false
		}
		name = name[:cut]
	}
}

func readRecord(r plog.LogRecord) (n named, ok bool) {
	n.record.At = r.Timestamp().AsTime()
	if id := r.TraceID(); !id.IsEmpty() {
		n.record.TraceID = hex.EncodeToString(id[:])
	}
	for key, value := range r.Attributes().All() {
		if value.Type() == pcommon.ValueTypeInt {
			switch key {
			case "sent_bytes":
				n.record.Sent = value.Int()
			case "received_bytes":
				n.record.Received = value.Int()
			case "retransmissions":
				n.record.Retransmitted = value.Int()
			}
			continue
		}
		if to := n.text(key); to != nil && value.Type() == pcommon.ValueTypeStr {
			*to = name(value.Str())
		}
	}
	return n, n.record.Event != "" && n.record.Source != ""
}

// text is where a record's attribute goes; nil for one that is not used.
func (n *named) text(attribute string) *string {
	switch attribute {
	case "src.addr":
		return &n.record.Source
	case "src.workload":
		return &n.record.SourcePod
	case "src.namespace":
		return &n.sourceSpace
	case "src.cluster":
		return &n.sourceCluster
	case "dst.addr":
		return &n.record.Destination
	case "dst.service":
		return &n.host
	case "dst.workload":
		return &n.record.DestPod
	case "dst.namespace":
		return &n.destSpace
	case "dst.cluster":
		return &n.destCluster
	case "direction":
		return &n.record.Direction
	case "event":
		return &n.record.Event
	case "duration":
		return &n.record.Duration
	case "srtt":
		return &n.record.RTT
	case "close_reason":
		return &n.record.CloseReason
	case "error.type":
		return &n.record.Error
	}
	return nil
}
