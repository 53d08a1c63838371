// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// fakeProbe is a kernel that a test fills. Its clock is the wall's.
type fakeProbe struct {
	mu      sync.Mutex
	ends    []*probe.Record  // for the next reading
	opens   []*probe.Record  // for the next sweep
	idle    []*probe.Record  // for each sweep of all
	spills  []*probe.Spilled // for the next collection
	failure error            // of every reading
	sweeps  []bool           // what each sweep was asked for: all?
	reads   int
	closed  int
	asked   probe.Options
	// notFirst: other programs run before ours at connect.
	notFirst bool
	missing  []probe.Missing
	stats    probe.Stats
}

func (p *fakeProbe) give(ends ...*probe.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends = append(p.ends, ends...)
}

func (p *fakeProbe) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = err
}

// swept returns what the sweeps since the last call were asked for.
func (p *fakeProbe) swept() []bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.sweeps
	p.sweeps = nil
	return asked
}

func (p *fakeProbe) Read(until time.Time, handle func(*probe.Record)) error {
	p.mu.Lock()
	p.reads++
	err := p.failure
	p.mu.Unlock()
	if err != nil {
		return err
	}
	time.Sleep(time.Until(until)) // as the probe does; the tests' clock is synctest's
	p.mu.Lock()
	ends := p.ends
	p.ends = nil
	p.mu.Unlock()
	for _, record := range ends {
		handle(record)
	}
	return nil
}

func (p *fakeProbe) Sweep(all bool, handle func(*probe.Record)) error {
	p.mu.Lock()
	opens := p.opens
	p.opens = nil
	p.sweeps = append(p.sweeps, all)
	err := p.failure
	for _, record := range p.idle {
		if all {
			again := *record
			again.Previous, again.Now, again.Delta = record.Now, uint64(time.Now().UnixNano()), probe.Counters{}
			record.Now = again.Now
			opens = append(opens, &again)
		}
	}
	p.mu.Unlock()
	for _, record := range opens {
		handle(record)
	}
	return err
}

func (p *fakeProbe) Drain(handle func(*probe.Spilled)) error {
	p.mu.Lock()
	spills := p.spills
	p.spills = nil
	p.mu.Unlock()
	for _, spilled := range spills {
		handle(spilled)
	}
	return nil
}

func (p *fakeProbe) Clock() probe.Clock { return probe.Clock{} }
func (p *fakeProbe) Stats() (probe.Stats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats, nil
}
func (p *fakeProbe) FirstAtConnect() bool     { return !p.notFirst }
func (p *fakeProbe) Missing() []probe.Missing { return p.missing }

// open is probe.Open for a test.
func (p *fakeProbe) open(o probe.Options) (Probe, error) {
	p.asked = o
	return p, nil
}

func (p *fakeProbe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed++
	return nil
}

// fakeSource knows the two workloads and the service of the contract's sample.
type fakeSource struct {
	started, closed atomic.Int32
	generation      atomic.Uint64
	sleepIsGone     atomic.Bool
	startError      error
}

var (
	sleepAddress   = netip.MustParseAddr("10.244.0.10")
	httpbinAddress = netip.MustParseAddr("10.244.0.11")

	sleep = &identity.Workload{
		Name:  "sleep-1",
		Names: identity.Names{Workload: "sleep", Namespace: "default", Cluster: "Kubernetes"}.Handle(),
	}
	httpbin = &identity.Workload{
		Name:  "httpbin-1",
		Names: identity.Names{Workload: "httpbin", CanonicalRevision: "v1", Namespace: "default", Cluster: "Kubernetes"}.Handle(),
	}
	httpbinService = &identity.Service{Host: "httpbin.default.svc.cluster.local", Name: "httpbin", Namespace: "default"}
)

func (s *fakeSource) Resolve(end identity.End, _ time.Time) (*identity.Workload, bool) {
	switch end.Address.Addr() {
	case sleepAddress:
		return sleep, true
	case httpbinAddress:
		return httpbin, true
	}
	return nil, false
}

func (s *fakeSource) Service(_, destination netip.AddrPort, _ *identity.Workload, _ time.Time) *identity.Service {
	if destination.Addr() == httpbinAddress {
		return httpbinService
	}
	return nil
}

func (s *fakeSource) Named(names unique.Handle[identity.Names]) bool {
	present := []unique.Handle[identity.Names]{httpbin.Names}
	if !s.sleepIsGone.Load() {
		present = append(present, sleep.Names)
	}
	return slices.Contains(present, names)
}

func (*fakeSource) Untrusted(identity.Netns) bool { return false }

func (*fakeSource) Impostor(identity.End, time.Time) bool { return false }

func (s *fakeSource) Generation() uint64 { return s.generation.Load() }

func (s *fakeSource) Start(context.Context) error {
	s.started.Add(1)
	return s.startError
}

func (s *fakeSource) Close() error {
	s.closed.Add(1)
	return nil
}

func (s *fakeSource) Held() identity.Held { return identity.Held{Workloads: 2, Services: 1} }
func (s *fakeSource) InSync() bool        { return true }
