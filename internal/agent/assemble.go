// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"errors"
	"io"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/accesslog"
	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/delivery"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/series"
)

// Probe is everything that an agent needs of a probe.Probe.
type Probe interface {
	reader
	usage
	FirstAtConnect() bool
	Missing() []probe.Missing
	io.Closer
}

// openers open what an agent has of the kernel.
type openers struct {
	probe     func(probe.Options) (Probe, error)
	conntrack func(*zap.Logger) (Translation, error)
}

// Option replaces a part of an agent, for tests without a kernel.
type Option func(*openers)

// WithProbe replaces the programs in the kernel.
func WithProbe(open func(probe.Options) (Probe, error)) Option {
	return func(o *openers) { o.probe = open }
}

// WithConntrack replaces the kernel's connection tracking.
func WithConntrack(open func(*zap.Logger) (Translation, error)) Option {
	return func(o *openers) { o.conntrack = open }
}

// New assembles the stages: a source of identities, which it starts, the probe, naming, and for each signal that has a
// pipeline a sink and its delivery. When a part fails, those before it are closed.
func New(settings Settings, options ...Option) (*Agent, error) {
	open := openers{
		probe:     func(o probe.Options) (Probe, error) { return probe.Open(o) },
		conntrack: func(logger *zap.Logger) (Translation, error) { return conntrack.Open(logger) },
	}
	for _, option := range options {
		option(&open)
	}
	source, err := newSource(&settings)
	if err != nil {
		return nil, err
	}
	if err := source.Start(context.Background()); err != nil {
		return nil, errors.Join(err, source.Close())
	}
	p, err := open.probe(probe.Options{
		CgroupPath:      settings.CgroupPath,
		IncludeLoopback: settings.IncludeLoopback,
		NameListeners:   namesProcesses(settings.Identity.Source.Capabilities()),
		Exclusive:       true,
	})
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	r := newAgent(&settings, source, p, newTranslation(&settings, open.conntrack))
	for _, missing := range p.Missing() {
		r.logger.Warn("the receiver runs without a part that this kernel refuses; see docs/kernels.md",
			zap.String("part", missing.Name), zap.String("not_reported", missing.Loss),
			zap.String("needed_since", "Linux "+missing.Since), zap.Error(missing.Err))
	}
	if !p.FirstAtConnect() {
		r.logger.Info("this kernel cannot run the connect hooks before programs that were attached earlier: " +
			"where such a program rewrites a destination, that is what counts as the original one (Linux 6.15 and newer can)")
	}
	return r, nil
}

// newAgent joins parts that are open; translation may be nil.
func newAgent(settings *Settings, source identity.Source, p Probe, translation Translation) *Agent {
	r := &Agent{
		probe:       p,
		usage:       p,
		source:      source,
		translation: translation,
		decoder:     newDecoder(),
		interval:    settings.CollectionInterval,
		status:      settings.Status,
		logger:      settings.Logger,
		closers:     []io.Closer{source, p},
	}
	r.newest.Store(&Observation{})
	r.asker, r.holdFor = identity.AskerOf(source), settings.Identity.Retain
	if settings.Identity.Source.Capabilities().Lists {
		r.listed = source.Named
	}
	if translation != nil {
		r.closers = append([]io.Closer{translation}, r.closers...)
	}
	var sinks []naming.Sink
	if settings.Metrics != nil {
		r.series = series.New(settings.series(), settings.Resource, settings.InstrumentationScope)
		r.metricsOut = delivery.NewMetrics(settings.Metrics, settings.MetricsReport)
		r.sweepAll = r.series.Holds(series.Connection)
		sinks = append(sinks, r.series)
	}
	if settings.Logs != nil {
		next := watched{settings.Logs, func(err error) { settings.Status(partLogs, err) }}
		r.logsOut = delivery.NewLogs(delivery.LogBounds{}, next, settings.LogsReport)
		events := settings.AccessLog.settings()
		r.logs = accesslog.NewWriter(events, settings.Resource, settings.InstrumentationScope, logBatch, r.logsOut.Offer)
		if events.Periodic {
			r.period = events.Period
		}
		sinks = append(sinks, r.logs)
	}
	r.namer = naming.New(settings.naming(), source, translation, sinks...)
	return r
}

// watched is a consumer whose refusals show in the agent's status.
type watched struct {
	consumer.Logs
	outcome func(error)
}

func (w watched) ConsumeLogs(ctx context.Context, logs plog.Logs) error {
	err := w.Logs.ConsumeLogs(ctx, logs)
	if ctx.Err() == nil { // else it was our own shutdown
		w.outcome(err)
	}
	return err
}
