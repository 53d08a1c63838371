// SPDX-License-Identifier: Apache-2.0

package series

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

type world = flowtest.World

var (
	noon = flowtest.Noon

	sleepAddr, httpbinAddr   = flowtest.SleepAddr, flowtest.HTTPBinAddr
	serviceAddr, strangeAddr = flowtest.ServiceAddr, flowtest.StrangeAddr
	sleepPod, httpbinPod     = flowtest.SleepPod, flowtest.HTTPBinPod
	httpbinService           = flowtest.HTTPBinService

	newWorld                           = flowtest.NewWorld
	closedConnection, failedConnection = flowtest.ClosedConnection, flowtest.FailedConnection
	openConnection                     = flowtest.OpenConnection
	sample, failedSample               = flowtest.Sample, flowtest.FailedSample
)

// subject is Sets with naming before them.
type subject struct {
	*Sets
	namer *naming.Namer
}

// newSubject returns empty sets, and what follows them.
func newSubject(settings Settings, resolver identity.Resolver, others ...naming.Sink) *subject {
	resource := pcommon.NewResource()
	resource.Attributes().PutStr("service.name", "kmesh")
	resource.Attributes().PutStr("service.instance.id", "node-1")
	scope := pcommon.NewInstrumentationScope()
	scope.SetName("github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver")
	scope.SetVersion("1.2.3")
	sets := New(settings, resource, scope)
	names := naming.Settings{Scope: naming.ScopeAll, Networks: settings.Networks}
	return &subject{sets, naming.New(names, resolver, nil, append([]naming.Sink{sets}, others...)...)}
}

// Add names the ends of c before it is added.
func (s *subject) Add(c *flow.Connection, now time.Time) { s.namer.Add(c, now) }

// enable returns the metrics of the sets.
func enable(sets ...Set) map[string]bool {
	on := make(map[string]bool)
	for _, m := range Metrics() {
		for _, set := range sets {
			if m.Set == set {
				on[m.Name] = true
			}
		}
	}
	return on
}

// everything is a configuration with every set on.
func everything() Settings {
	return Settings{
		Enabled: enable(Service, Workload, Connection), UnknownAddresses: 1 << 20,
		ConnectionMinDuration: 5 * time.Second, Expiration: 10 * time.Minute,
	}
}

// flows keeps what it gets.
type flows struct{ lines []line }

type line struct {
	flow       flow.Flow
	connection flow.Connection
}

func (s *flows) Add(f *flow.Flow, _ time.Time) {
	s.lines = append(s.lines, line{*f, *f.Connection})
}

type discard struct{}

func (discard) Add(*flow.Flow, time.Time) {}

func texts(m pcommon.Map) []string {
	var all []string
	for k, v := range m.All() {
		all = append(all, k+"="+v.AsString())
	}
	return all
}

func labelOf(t *testing.T, p Point, name string) string {
	t.Helper()
	v, ok := p.Attributes.Get(name)
	require.True(t, ok, "no label %s", name)
	return v.AsString()
}

// one returns the only living series of a set.
func one(t *testing.T, p Points) Point {
	t.Helper()
	require.Len(t, p.Live, 1)
	require.Empty(t, p.Ended)
	return p.Live[0]
}

func total(p []Point) (sum flow.Counters) {
	for _, point := range p {
		sum.Add(point.Values)
	}
	return sum
}
