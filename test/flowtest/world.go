// SPDX-License-Identifier: Apache-2.0

// Package flowtest has connections, and a resolver that names their ends, for tests of the stages.
package flowtest

import (
	"net/netip"
	"time"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// A client, a server that it calls by a service's address, and an address that nobody has.
var (
	Noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	SleepAddr   = netip.MustParseAddrPort("10.244.0.10:51842")
	HTTPBinAddr = netip.MustParseAddrPort("10.244.0.11:80")
	ServiceAddr = netip.MustParseAddrPort("10.96.5.5:8000")
	StrangeAddr = netip.MustParseAddrPort("192.0.2.7:443")

	SleepPod = &identity.Workload{
		UID: "Kubernetes//Pod/default/sleep-868754fbfc-kjbvz", Name: "sleep-868754fbfc-kjbvz",
		Names: unique.Make(identity.Names{
			Workload: "sleep", CanonicalService: "sleep", CanonicalRevision: "latest",
			Namespace: "default", Principal: "-", Cluster: "Kubernetes",
		}),
	}
	HTTPBinPod = &identity.Workload{
		UID: "Kubernetes//Pod/default/httpbin-5c5944c58c-v9mlk", Name: "httpbin-5c5944c58c-v9mlk",
		Names: unique.Make(identity.Names{
			Workload: "httpbin", CanonicalService: "httpbin", CanonicalRevision: "v1",
			Namespace: "default", Principal: "-", Cluster: "Kubernetes",
		}),
		Tunnel: identity.TunnelHBONE,
	}
	HTTPBinService = &identity.Service{
		Host: "httpbin.default.svc.cluster.local", Name: "httpbin", Namespace: "default",
	}
)

// World is a resolver whose answers a test decides.
type World struct {
	Workloads map[netip.Addr]*identity.Workload
	Services  map[netip.AddrPort]*identity.Service // by the address that a client asks for
	Unsettled map[netip.Addr]bool
	Changes   uint64 // of the answers; see Generation
	Asked     []Question
	Silent    bool // keep no questions
}

// Question is one that Resolve got.
type Question struct {
	End identity.End
	At  time.Time
}

// NewWorld knows the two pods and the service.
func NewWorld() *World {
	return &World{
		Workloads: map[netip.Addr]*identity.Workload{
			SleepAddr.Addr(): SleepPod, HTTPBinAddr.Addr(): HTTPBinPod,
		},
		Services: map[netip.AddrPort]*identity.Service{ServiceAddr: HTTPBinService, HTTPBinAddr: HTTPBinService},
	}
}

// Resolve implements identity.Resolver.
func (w *World) Resolve(end identity.End, at time.Time) (*identity.Workload, bool) {
	if !w.Silent {
		w.Asked = append(w.Asked, Question{end, at})
	}
	return w.Workloads[end.Address.Addr()], !w.Unsettled[end.Address.Addr()]
}

// Service implements identity.Resolver.
func (w *World) Service(original, destination netip.AddrPort, _ *identity.Workload, _ time.Time) *identity.Service {
	if s := w.Services[original]; s != nil {
		return s
	}
	return w.Services[destination]
}

// Untrusted implements identity.Resolver.
func (w *World) Untrusted(at identity.Netns) bool { return at.Nested }

// Impostor implements identity.Resolver.
func (w *World) Impostor(end identity.End, _ time.Time) bool { return end.Netns.Nested }

// Generation implements identity.Resolver.
func (w *World) Generation() uint64 { return w.Changes }

// Learn makes an address known, as a watch does a moment after the first connection.
func (w *World) Learn(addr netip.Addr, who *identity.Workload) {
	w.Workloads[addr] = who
	delete(w.Unsettled, addr)
	w.Changes++
}

// ClosedConnection is a whole life of one end in one record.
func ClosedConnection() *flow.Connection {
	return &flow.Connection{
		ID: 7, Event: flow.EventClosed, Direction: flow.Inbound,
		Source: SleepAddr, Destination: HTTPBinAddr,
		Local: identity.Process{PID: 42, Name: "gunicorn", Cgroup: 9},
		Start: Noon.Add(-2 * time.Second), At: Noon, Duration: 2 * time.Second,
		Opened: true, Total: flow.Counters{flow.Sent: 5, flow.Received: 231, flow.Retransmits: 3, flow.Lost: 2},
		Delta: flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Sent: 5, flow.Received: 231, flow.Retransmits: 3, flow.Lost: 2},
		State: flow.StateClose, Reason: flow.ReasonFIN,
	}
}

// FailedConnection is a connect that was refused, with four SYNs sent again.
func FailedConnection() *flow.Connection {
	return &flow.Connection{
		ID: 8, Event: flow.EventFailed, Direction: flow.Outbound, Source: SleepAddr, Destination: HTTPBinAddr,
		Start: Noon.Add(-time.Second), At: Noon, Duration: time.Second, Total: flow.Counters{flow.Retransmits: 4},
		Delta: flow.Counters{flow.Failed: 1, flow.Retransmits: 4}, State: flow.StateClose, ErrorType: flow.ErrorConnectionRefused,
	}
}

// OpenConnection is the nth report of an open end, which sent 10 bytes since the one before.
func OpenConnection(id, nth uint64, age time.Duration) *flow.Connection {
	c := &flow.Connection{
		ID: id, Event: flow.EventOpen, Direction: flow.Outbound, Source: SleepAddr, Destination: HTTPBinAddr,
		Start: Noon.Add(-age), At: Noon, Duration: age, Total: flow.Counters{flow.Sent: int64(10 * nth)}, Delta: flow.Counters{flow.Sent: 10},
	}
	if nth == 1 {
		c.Opened, c.Delta[flow.Opened] = true, 1
	}
	return c
}
