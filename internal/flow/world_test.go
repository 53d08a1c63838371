// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net/netip"
	"testing"
	"time"
	"unique"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	sleepAddr   = netip.MustParseAddrPort("10.244.0.10:51842")
	httpbinAddr = netip.MustParseAddrPort("10.244.0.11:80")
	serviceAddr = netip.MustParseAddrPort("10.96.5.5:8000")
	strangeAddr = netip.MustParseAddrPort("192.0.2.7:443")

	sleepPod = &identity.Workload{
		UID: "Kubernetes//Pod/default/sleep-868754fbfc-kjbvz", Name: "sleep-868754fbfc-kjbvz", Namespace: "default",
		Names: unique.Make(identity.Names{
			Workload: "sleep", CanonicalService: "sleep", CanonicalRevision: "latest",
			Namespace: "default", Principal: "-", Cluster: "Kubernetes",
		}),
	}
	httpbinPod = &identity.Workload{
		UID: "Kubernetes//Pod/default/httpbin-5c5944c58c-v9mlk", Name: "httpbin-5c5944c58c-v9mlk", Namespace: "default",
		Names: unique.Make(identity.Names{
			Workload: "httpbin", CanonicalService: "httpbin", CanonicalRevision: "v1",
			Namespace: "default", Principal: "-", Cluster: "Kubernetes",
		}),
		Tunnel: identity.TunnelHBONE,
	}
	httpbinService = &identity.Service{
		Host: "httpbin.default.svc.cluster.local", Name: "httpbin", Namespace: "default",
	}
)

// world is a resolver whose answers a test decides.
type world struct {
	workloads  map[netip.Addr]*identity.Workload
	services   map[netip.AddrPort]*identity.Service // by the address that a client asks for
	unsettled  map[netip.Addr]bool
	generation uint64
	asked      []question
	silent     bool // keep no questions
}

type question struct {
	end identity.End
	at  time.Time
}

func newWorld() *world {
	return &world{
		workloads: map[netip.Addr]*identity.Workload{
			sleepAddr.Addr(): sleepPod, httpbinAddr.Addr(): httpbinPod,
		},
		services: map[netip.AddrPort]*identity.Service{serviceAddr: httpbinService, httpbinAddr: httpbinService},
	}
}

func (w *world) Resolve(end identity.End, at time.Time) (*identity.Workload, bool) {
	if !w.silent {
		w.asked = append(w.asked, question{end, at})
	}
	return w.workloads[end.Address.Addr()], !w.unsettled[end.Address.Addr()]
}

func (w *world) Service(original, destination netip.AddrPort, _ *identity.Workload, _ time.Time) *identity.Service {
	if s := w.services[original]; s != nil {
		return s
	}
	return w.services[destination]
}

func (w *world) Generation() uint64 { return w.generation }

// learn makes an address known, as a watch does a moment after the first connection.
func (w *world) learn(addr netip.Addr, who *identity.Workload) {
	w.workloads[addr] = who
	delete(w.unsettled, addr)
	w.generation++
}

// closedConnection is a whole life of one end in one record.
func closedConnection() *Connection {
	return &Connection{
		ID: 7, Event: EventClosed, Direction: Inbound,
		Source: sleepAddr, Destination: httpbinAddr,
		Local: identity.Process{PID: 42, Name: "gunicorn", Cgroup: 9},
		Start: noon.Add(-2 * time.Second), At: noon, Duration: 2 * time.Second,
		Opened: true, Total: Counters{Sent: 5, Received: 231, Retransmits: 3, Lost: 2},
		Delta: Counters{Opened: 1, Closed: 1, Sent: 5, Received: 231, Retransmits: 3, Lost: 2},
		State: StateClose, Reason: ReasonFIN,
	}
}

func failedConnection() *Connection {
	return &Connection{
		ID: 8, Event: EventFailed, Direction: Outbound, Source: sleepAddr, Destination: httpbinAddr,
		Start: noon.Add(-time.Second), At: noon, Duration: time.Second, Total: Counters{Retransmits: 4},
		Delta: Counters{Failed: 1, Retransmits: 4}, State: StateClose, ErrorType: ErrorConnectionRefused,
	}
}

// openConnection is the nth report of an open end, which sent 10 bytes since the one before.
func openConnection(id, nth uint64, age time.Duration) *Connection {
	c := &Connection{
		ID: id, Event: EventOpen, Direction: Outbound, Source: sleepAddr, Destination: httpbinAddr,
		Start: noon.Add(-age), At: noon, Duration: age, Total: Counters{Sent: int64(10 * nth)}, Delta: Counters{Sent: 10},
	}
	if nth == 1 {
		c.Opened, c.Delta[Opened] = true, 1
	}
	return c
}

// everything is a configuration with every set on, and nothing that waits.
func everything() Settings {
	return Settings{
		Scope: ScopeAll, ServiceMetrics: true, WorkloadMetrics: true, UnknownAddresses: 1 << 20,
		ConnectionMetrics: true, ConnectionMinDuration: 5 * time.Second, SeriesExpiration: 10 * time.Minute,
	}
}

func texts(m pcommon.Map) []string {
	var all []string
	for k, v := range m.All() {
		all = append(all, k+"="+v.AsString())
	}
	return all
}

func label(t *testing.T, p Point, name string) string {
	t.Helper()
	v, ok := p.Attributes.Get(name)
	require.True(t, ok, "no label %s", name)
	return v.AsString()
}

// one gives the only living series of a set.
func one(t *testing.T, p Points) Point {
	t.Helper()
	require.Len(t, p.Live, 1)
	require.Empty(t, p.Ended)
	return p.Live[0]
}

func total(p []Point) (sum Counters) {
	for _, point := range p {
		sum.Add(point.Values)
	}
	return sum
}

// sink keeps what it got.
type sink struct{ lines []line }

type line struct {
	flow       Flow
	connection Connection
}

func (s *sink) Add(f *Flow, _ time.Time) {
	s.lines = append(s.lines, line{*f, *f.Connection})
}

type discard struct{}

func (discard) Add(*Flow, time.Time) {}
