//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/otlp"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// observation is what self telemetry shows, taken at every collection.
type observation struct {
	flows    flow.Stats
	logs     otlp.LogStats
	tally    probe.Tally
	counts   probe.Counts
	maps     []probe.MapUse
	programs []probe.ProgramUse
	nat      conntrack.Stats
}

// telemetry shows the newest observation whenever the collector's meter reads.
type telemetry struct {
	builder *metadata.TelemetryBuilder
	newest  atomic.Pointer[observation]
	held    identity.Source
	source  metric.MeasurementOption
	name    string
}

func newTelemetry(settings component.TelemetrySettings, name string, source identity.Source) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(settings)
	if err != nil {
		return nil, err
	}
	t := &telemetry{builder: builder, held: source, name: name, source: label("source", name)}
	t.newest.Store(&observation{})
	if err := t.register(); err != nil {
		builder.Shutdown()
		return nil, err
	}
	return t, nil
}

func (t *telemetry) shutdown() { t.builder.Shutdown() }

func label(key, value string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value)))
}

// observe makes a callback of a function that reads an observation.
func (t *telemetry) observe(tell func(*observation, metric.Int64Observer)) metric.Int64Callback {
	return func(_ context.Context, observer metric.Int64Observer) error {
		tell(t.newest.Load(), observer)
		return nil
	}
}

// count is a single number.
func (t *telemetry) count(of func(*observation) uint64) metric.Int64Callback {
	return t.observe(func(o *observation, to metric.Int64Observer) { to.Observe(int64(of(o))) })
}

// kinds are opens, closes and failures.
func (t *telemetry) kinds(of func(*observation) (opened, closed, failed int64)) metric.Int64Callback {
	return t.observe(func(o *observation, to metric.Int64Observer) {
		opened, closed, failed := of(o)
		to.Observe(opened, label("kind", "opened"))
		to.Observe(closed, label("kind", "closed"))
		to.Observe(failed, label("kind", "failed"))
	})
}

func counted(c *flow.Counters) (opened, closed, failed int64) { return c.Opened, c.Closed, c.Failed }

func (t *telemetry) register() error {
	b := t.builder
	return errors.Join(
		b.RegisterKmeshRecordsReadCallback(t.count(func(o *observation) uint64 { return o.counts.Read })),
		b.RegisterKmeshRecordsLostCallback(t.observe(lost)),
		b.RegisterKmeshTotalsRecoveredCallback(t.count(func(o *observation) uint64 { return o.counts.Spilled })),
		b.RegisterKmeshTotalsLostCallback(t.observe(totalsLost)),
		b.RegisterKmeshConnectionsUntrackedCallback(t.count(func(o *observation) uint64 { return o.tally.Untracked })),
		b.RegisterKmeshConnectionsTrackedCallback(t.count(func(o *observation) uint64 { return o.tally.Opened + o.tally.Found - o.tally.Closed })),
		b.RegisterKmeshConnectionsKernelCallback(t.kinds(func(o *observation) (int64, int64, int64) {
			return int64(o.tally.Opened), int64(o.tally.Closed), int64(o.tally.Failed)
		})),
		b.RegisterKmeshConnectionsExportedCallback(t.kinds(func(o *observation) (int64, int64, int64) { return counted(&o.flows.Exported) })),
		b.RegisterKmeshConnectionsExcludedCallback(t.kinds(func(o *observation) (int64, int64, int64) { return counted(&o.flows.OutOfScope) })),
		b.RegisterKmeshSeriesCallback(t.observe(series)),
		b.RegisterKmeshSeriesRefusedCallback(t.observe(seriesRefused)),
		b.RegisterKmeshLookupsUnknownCallback(t.observe(lookups)),
		b.RegisterKmeshUnknownAddressesCallback(t.observe(func(o *observation, to metric.Int64Observer) { to.Observe(int64(o.flows.UnknownAddresses)) })),
		b.RegisterKmeshUnknownAddressesRefusedCallback(t.count(func(o *observation) uint64 { return o.flows.UnknownAddressesRefused })),
		b.RegisterKmeshTranslationsCallback(t.observe(translations)),
		b.RegisterKmeshRecordsWaitingCallback(t.observe(func(o *observation, to metric.Int64Observer) { to.Observe(int64(o.flows.Waiting)) })),
		b.RegisterKmeshRecordsOutOfScopeCallback(t.count(func(o *observation) uint64 { return o.flows.OutOfScopeRecords })),
		b.RegisterKmeshBpfMapEntriesCallback(t.observe(mapEntries)),
		b.RegisterKmeshBpfMapMemoryCallback(t.observe(mapMemory)),
		b.RegisterKmeshBpfProgramLoadedCallback(t.observe(programLoaded)),
		b.RegisterKmeshBpfProgramRunsCallback(t.observe(programRuns)),
		b.RegisterKmeshBpfProgramTimeCallback(t.observe(programTime)),
		b.RegisterKmeshIdentitiesCallback(t.identities()),
		b.RegisterKmeshIdentityInSyncCallback(t.inSync()),
		b.RegisterKmeshIdentityEventsBehindCallback(t.behind),
	)
}

func lost(o *observation, to metric.Int64Observer) {
	for reason, n := range map[string]uint64{
		"ring_full":      o.tally.Lost,
		"malformed":      o.counts.Malformed,
		"log_queue_full": o.logs.DroppedQueueFull,
		"log_refused":    o.logs.DroppedRefused,
		"log_shutdown":   o.logs.DroppedShutdown,
	} {
		to.Observe(int64(n), label("reason", reason))
	}
}

func totalsLost(o *observation, to metric.Int64Observer) {
	t := &o.tally
	for kind, n := range map[string]uint64{
		"opened": t.SpillLost.Opened, "closed": t.SpillLostClosed, "failed": t.SpillLostFailed,
		"sent": t.SpillLost.Sent, "received": t.SpillLost.Received,
		"retransmits": t.SpillLost.Retransmits, "lost": t.SpillLost.Lost,
	} {
		to.Observe(int64(n), label("kind", kind))
	}
}

func series(o *observation, to metric.Int64Observer) {
	to.Observe(int64(o.flows.Service.Series), label("set", "service"))
	to.Observe(int64(o.flows.Workload.Series), label("set", "workload"))
	to.Observe(int64(o.flows.Connection.Series), label("set", "connection"))
}

func seriesRefused(o *observation, to metric.Int64Observer) {
	to.Observe(int64(o.flows.Service.Refused), label("set", "service"))
	to.Observe(int64(o.flows.Workload.Refused), label("set", "workload"))
	to.Observe(int64(o.flows.Connection.Refused), label("set", "connection"))
}

func lookups(o *observation, to metric.Int64Observer) {
	to.Observe(int64(o.flows.UnknownSource), label("side", "source"))
	to.Observe(int64(o.flows.UnknownDestination), label("side", "destination"))
}

func translations(o *observation, to metric.Int64Observer) {
	n := &o.nat
	to.Observe(int64(n.Asked-n.Missed-n.Failed), label("kind", "answered"))
	to.Observe(int64(n.Missed), label("kind", "missed"))
	to.Observe(int64(n.Failed), label("kind", "failed"))
	to.Observe(int64(n.Refused), label("kind", "refused"))
}

func mapEntries(o *observation, to metric.Int64Observer) {
	for _, m := range o.maps {
		to.Observe(int64(m.Entries), label("bpf_map", m.Name))
	}
}

func mapMemory(o *observation, to metric.Int64Observer) {
	for _, m := range o.maps {
		to.Observe(int64(m.Bytes), label("bpf_map", m.Name))
	}
}

func programLoaded(o *observation, to metric.Int64Observer) {
	for _, p := range o.programs {
		var loaded int64
		if p.Loaded {
			loaded = 1
		}
		to.Observe(loaded, label("bpf_program", p.Name))
	}
}

func programRuns(o *observation, to metric.Int64Observer) {
	for _, p := range o.programs {
		to.Observe(int64(p.Runs), label("bpf_program", p.Name))
	}
}

func programTime(o *observation, to metric.Int64Observer) {
	for _, p := range o.programs {
		to.Observe(p.Time.Nanoseconds(), label("bpf_program", p.Name))
	}
}

func (t *telemetry) identities() metric.Int64Callback {
	workloads := metric.WithAttributes(attribute.String("source", t.name), attribute.String("kind", "workload"))
	services := metric.WithAttributes(attribute.String("source", t.name), attribute.String("kind", "service"))
	return func(_ context.Context, to metric.Int64Observer) error {
		held := t.held.Held()
		to.Observe(int64(held.Workloads), workloads)
		to.Observe(int64(held.Services), services)
		return nil
	}
}

func (t *telemetry) inSync() metric.Int64Callback {
	return func(_ context.Context, to metric.Int64Observer) error {
		var in int64
		if t.held.InSync() {
			in = 1
		}
		to.Observe(in, t.source)
		return nil
	}
}

// behind is 0: what a file or the host tells is taken in when it is read.
func (t *telemetry) behind(_ context.Context, to metric.Int64Observer) error {
	to.Observe(0, t.source)
	return nil
}
