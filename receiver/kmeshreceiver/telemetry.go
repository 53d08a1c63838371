// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// observed is what self telemetry reads from an agent.
type observed interface {
	Observation() *agent.Observation
	Held() identity.Held
	InSync() bool
	EventsBehind() int
	Demand() (identity.Demand, bool)
}

// telemetry reports the newest observation whenever the collector reads its meter.
type telemetry struct {
	builder *metadata.TelemetryBuilder
	agent   observed
	source  metric.MeasurementOption
	name    string
}

func newTelemetry(settings component.TelemetrySettings, name string, of observed) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(settings)
	if err != nil {
		return nil, err
	}
	t := &telemetry{builder: builder, agent: of, name: name, source: label("source", name)}
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

// observe returns a callback that reports one observation.
func (t *telemetry) observe(show func(*agent.Observation, metric.Int64Observer)) metric.Int64Callback {
	return func(_ context.Context, observer metric.Int64Observer) error {
		show(t.agent.Observation(), observer)
		return nil
	}
}

// count returns a callback that reports a single number.
func (t *telemetry) count(of func(*agent.Observation) uint64) metric.Int64Callback {
	return t.observe(func(o *agent.Observation, to metric.Int64Observer) { to.Observe(int64(of(o))) })
}

// kinds returns a callback that reports opens, closes and failures.
func (t *telemetry) kinds(of func(*agent.Observation) (opened, closed, failed int64)) metric.Int64Callback {
	return t.observe(func(o *agent.Observation, to metric.Int64Observer) {
		opened, closed, failed := of(o)
		to.Observe(opened, label("kind", "opened"))
		to.Observe(closed, label("kind", "closed"))
		to.Observe(failed, label("kind", "failed"))
	})
}

func (t *telemetry) register() error {
	b := t.builder
	return errors.Join(
		b.RegisterKmeshRecordsReadCallback(t.count(func(o *agent.Observation) uint64 { return o.Probe.Counts.Read })),
		b.RegisterKmeshRecordsLostCallback(t.observe(lost)),
		b.RegisterKmeshTotalsRecoveredCallback(t.count(func(o *agent.Observation) uint64 { return o.Probe.Counts.Spilled })),
		b.RegisterKmeshTotalsLostCallback(t.observe(totalsLost)),
		b.RegisterKmeshConnectionsUntrackedCallback(t.count(func(o *agent.Observation) uint64 { return o.Probe.Tally.Untracked })),
		b.RegisterKmeshConnectionsMissedCallback(t.observe(missed)),
		b.RegisterKmeshConnectionsTrackedCallback(t.count(tracked)),
		b.RegisterKmeshConnectionsKernelCallback(t.kinds(func(o *agent.Observation) (int64, int64, int64) {
			return int64(o.Probe.Tally.Opened), int64(o.Probe.Tally.Closed), int64(o.Probe.Tally.Failed)
		})),
		b.RegisterKmeshConnectionsExportedCallback(t.kinds(func(o *agent.Observation) (int64, int64, int64) {
			exported := o.Exported()
			return exported.Ends()
		})),
		b.RegisterKmeshConnectionsExcludedCallback(t.kinds(func(o *agent.Observation) (int64, int64, int64) {
			excluded := o.Excluded()
			return excluded.Ends()
		})),
		b.RegisterKmeshConnectionsExcludedKernelCallback(t.count(func(o *agent.Observation) uint64 { return o.Probe.Tally.Excluded })),
		b.RegisterKmeshSeriesCallback(t.observe(seriesHeld)),
		b.RegisterKmeshSeriesLabelValuesCallback(t.observe(labelValues)),
		b.RegisterKmeshSeriesRefusedCallback(t.observe(seriesRefused)),
		b.RegisterKmeshSeriesEvictedCallback(t.observe(seriesEvicted)),
		b.RegisterKmeshLookupsUnknownCallback(t.observe(lookups)),
		b.RegisterKmeshUnknownAddressesCallback(t.observe(func(o *agent.Observation, to metric.Int64Observer) { to.Observe(int64(o.Series.UnknownAddresses)) })),
		b.RegisterKmeshUnknownAddressesRefusedCallback(t.count(func(o *agent.Observation) uint64 { return o.Series.UnknownAddressesRefused })),
		b.RegisterKmeshTranslationsCallback(t.observe(translations)),
		b.RegisterKmeshLogQueueRecordsCallback(t.observe(func(o *agent.Observation, to metric.Int64Observer) { to.Observe(int64(o.Queues["log"].Queued)) })),
		b.RegisterKmeshLogQueueMemoryCallback(t.observe(func(o *agent.Observation, to metric.Int64Observer) { to.Observe(int64(o.Queues["log"].QueuedBytes)) })),
		b.RegisterKmeshRecordsWaitingCallback(t.observe(func(o *agent.Observation, to metric.Int64Observer) { to.Observe(int64(o.Naming.Waiting)) })),
		b.RegisterKmeshRecordsUnnamedCallback(t.observe(unnamed)),
		b.RegisterKmeshRecordsJoinedCallback(t.observe(joined)),
		b.RegisterKmeshPairsCallback(t.observe(func(o *agent.Observation, to metric.Int64Observer) { to.Observe(int64(o.Naming.Pairs)) })),
		b.RegisterKmeshPairsForgottenCallback(t.count(func(o *agent.Observation) uint64 { return o.Naming.PairsForgotten })),
		b.RegisterKmeshRecordsImpostorCallback(t.count(func(o *agent.Observation) uint64 { return o.Naming.Impostors })),
		b.RegisterKmeshRecordsOutOfScopeCallback(t.count(func(o *agent.Observation) uint64 { return o.Naming.OutOfScopeRecords })),
		b.RegisterKmeshBpfMapEntriesCallback(t.observe(mapEntries)),
		b.RegisterKmeshBpfMapMemoryCallback(t.observe(mapMemory)),
		b.RegisterKmeshBpfProgramLoadedCallback(t.observe(programLoaded)),
		b.RegisterKmeshBpfProgramRunsCallback(t.observe(programRuns)),
		b.RegisterKmeshBpfProgramTimeCallback(t.observe(programTime)),
		b.RegisterKmeshIdentitiesCallback(t.identities()),
		b.RegisterKmeshIdentityInSyncCallback(t.inSync()),
		b.RegisterKmeshIdentityEventsBehindCallback(t.behind),
		b.RegisterKmeshIdentityAddressesCallback(t.demand(func(n *identity.Demand) map[string]uint64 {
			return map[string]uint64{
				"known": uint64(n.Known), "unknown": uint64(n.Unknown), "asked": uint64(n.Asked), "local": uint64(n.Local),
			}
		})),
		b.RegisterKmeshIdentityAddressRequestsCallback(t.demand(func(n *identity.Demand) map[string]uint64 {
			return map[string]uint64{
				"asked": n.Requests, "repeated": n.Repeats, "released": n.Released, "refused": n.Refused, "missed": n.Missed,
			}
		})),
	)
}

func missed(o *agent.Observation, to metric.Int64Observer) {
	for kind, n := range map[string]uint64{"late": o.Probe.Tally.Late, "unseen": o.Probe.Tally.Unseen, "vanished": o.Probe.Tally.Vanished} {
		to.Observe(int64(n), label("kind", kind))
	}
}

// tracked is how many entries the maps of connections hold.
func tracked(o *agent.Observation) uint64 {
	for _, m := range o.Probe.Maps {
		if m.Name == "connections" {
			return m.Entries
		}
	}
	return 0
}

func lost(o *agent.Observation, to metric.Int64Observer) {
	reasons := map[string]uint64{"ring_full": o.Probe.Tally.Lost, "malformed": o.Probe.Counts.Malformed}
	for item, queue := range o.Queues {
		reasons[item+"_queue_full"] = queue.DroppedQueueFull
		reasons[item+"_refused"] = queue.DroppedRefused
		reasons[item+"_shutdown"] = queue.DroppedShutdown
	}
	for reason, n := range reasons {
		to.Observe(int64(n), label("reason", reason))
	}
}

func totalsLost(o *agent.Observation, to metric.Int64Observer) {
	lost := o.TotalsLost()
	for counter, n := range lost.All() {
		to.Observe(n, label("kind", counter.String()))
	}
}

func seriesHeld(o *agent.Observation, to metric.Int64Observer) {
	to.Observe(int64(o.Series.Service.Series), label("set", "service"))
	to.Observe(int64(o.Series.Workload.Series), label("set", "workload"))
	to.Observe(int64(o.Series.Connection.Series), label("set", "connection"))
	to.Observe(int64(o.Series.Istio.Series), label("set", "istio"))
	to.Observe(int64(o.Series.Latency.Series), label("set", "latency"))
}

func labelValues(o *agent.Observation, to metric.Int64Observer) {
	for _, l := range o.Series.Labels {
		to.Observe(int64(l.Values), metric.WithAttributes(attribute.String("set", l.Set), attribute.String("label", l.Label)))
	}
}

func seriesRefused(o *agent.Observation, to metric.Int64Observer) {
	to.Observe(int64(o.Series.Service.Refused), label("set", "service"))
	to.Observe(int64(o.Series.Workload.Refused), label("set", "workload"))
	to.Observe(int64(o.Series.Connection.Refused), label("set", "connection"))
	to.Observe(int64(o.Series.Istio.Refused), label("set", "istio"))
	to.Observe(int64(o.Series.Latency.Refused), label("set", "latency"))
}

func seriesEvicted(o *agent.Observation, to metric.Int64Observer) {
	to.Observe(int64(o.Series.Service.Evicted), label("set", "service"))
	to.Observe(int64(o.Series.Workload.Evicted), label("set", "workload"))
	to.Observe(int64(o.Series.Connection.Evicted), label("set", "connection"))
	to.Observe(int64(o.Series.Istio.Evicted), label("set", "istio"))
	to.Observe(int64(o.Series.Latency.Evicted), label("set", "latency"))
}

func lookups(o *agent.Observation, to metric.Int64Observer) {
	to.Observe(int64(o.Naming.UnknownSource), label("side", "source"))
	to.Observe(int64(o.Naming.UnknownDestination), label("side", "destination"))
}

func unnamed(o *agent.Observation, to metric.Int64Observer) {
	to.Observe(int64(o.Naming.SettleExpired), label("reason", "settle_expired"))
	to.Observe(int64(o.Naming.SettleRefused), label("reason", "too_many_waiting"))
}

func joined(o *agent.Observation, to metric.Int64Observer) {
	to.Observe(int64(o.Naming.Joined), label("kind", "joined"))
	to.Observe(int64(o.Naming.Unpaired), label("kind", "alone"))
}

func translations(o *agent.Observation, to metric.Int64Observer) {
	n := &o.NAT
	to.Observe(int64(n.Asked-n.Missed-n.Failed), label("kind", "answered"))
	to.Observe(int64(n.Missed), label("kind", "missed"))
	to.Observe(int64(n.Failed), label("kind", "failed"))
	to.Observe(int64(n.Refused), label("kind", "refused"))
}

func mapEntries(o *agent.Observation, to metric.Int64Observer) {
	for _, m := range o.Probe.Maps {
		to.Observe(int64(m.Entries), label("bpf_map", m.Name))
	}
}

func mapMemory(o *agent.Observation, to metric.Int64Observer) {
	for _, m := range o.Probe.Maps {
		to.Observe(int64(m.Bytes), label("bpf_map", m.Name))
	}
}

func programLoaded(o *agent.Observation, to metric.Int64Observer) {
	for _, p := range o.Probe.Programs {
		var loaded int64
		if p.Loaded {
			loaded = 1
		}
		to.Observe(loaded, label("bpf_program", p.Name))
	}
}

func programRuns(o *agent.Observation, to metric.Int64Observer) {
	for _, p := range o.Probe.Programs {
		to.Observe(int64(p.Runs), label("bpf_program", p.Name))
	}
}

func programTime(o *agent.Observation, to metric.Int64Observer) {
	for _, p := range o.Probe.Programs {
		to.Observe(p.Time.Nanoseconds(), label("bpf_program", p.Name))
	}
}

func (t *telemetry) identities() metric.Int64Callback {
	workloads := metric.WithAttributes(attribute.String("source", t.name), attribute.String("kind", "workload"))
	services := metric.WithAttributes(attribute.String("source", t.name), attribute.String("kind", "service"))
	return func(_ context.Context, to metric.Int64Observer) error {
		held := t.agent.Held()
		to.Observe(int64(held.Workloads), workloads)
		to.Observe(int64(held.Services), services)
		return nil
	}
}

func (t *telemetry) inSync() metric.Int64Callback {
	return func(_ context.Context, to metric.Int64Observer) error {
		var in int64
		if t.agent.InSync() {
			in = 1
		}
		to.Observe(in, t.source)
		return nil
	}
}

// behind shows how many changes the source has received and does not use yet.
func (t *telemetry) behind(_ context.Context, to metric.Int64Observer) error {
	to.Observe(int64(t.agent.EventsBehind()), t.source)
	return nil
}

// demand shows nothing where the source knows all addresses.
func (t *telemetry) demand(by func(*identity.Demand) map[string]uint64) metric.Int64Callback {
	return func(_ context.Context, to metric.Int64Observer) error {
		demand, asks := t.agent.Demand()
		if !asks {
			return nil
		}
		for kind, n := range by(&demand) {
			to.Observe(int64(n), metric.WithAttributes(attribute.String("source", t.name), attribute.String("kind", kind)))
		}
		return nil
	}
}
