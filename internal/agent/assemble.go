// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/conntrack"
	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/naming"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// Probe is what an agent needs of a probe.Probe.
type Probe interface {
	reader
	Stats() (probe.Stats, error)
	FirstAtConnect() bool
	Missing() []probe.Missing
	io.Closer
}

// reader is what the loop needs of it.
type reader interface {
	Read(until time.Time, handle func(*probe.Record)) error
	Sweep(all bool, handle func(*probe.Record)) error
	Drain(handle func(*probe.Spilled)) error
	Clock() probe.Clock
}

// openers open what an agent has of the kernel.
type openers struct {
	probe     func(probe.Options) (Probe, error)
	conntrack func(*zap.Logger) (Translation, error)
	handover  *Handover
	// pidNamespace is where this process's PID namespace is seen.
	pidNamespace string
}

// Option replaces a part of an agent, for tests without a kernel.
type Option func(*openers)

// WithProbe replaces the programs in the kernel. They are closed with the agent, unless WithHandover follows.
func WithProbe(open func(probe.Options) (Probe, error)) Option {
	return func(o *openers) { o.probe, o.handover = open, nil }
}

// WithHandover replaces what keeps the probe for the next agent.
func WithHandover(h *Handover) Option {
	return func(o *openers) { o.handover = h }
}

// WithConntrack replaces the kernel's connection tracking.
func WithConntrack(open func(*zap.Logger) (Translation, error)) Option {
	return func(o *openers) { o.conntrack = open }
}

// New assembles the stages: a source of identities, which it starts, the sinks of the signals, the probe, and naming. When a part
// fails, those before it are closed.
func New(settings Settings, options ...Option) (*Agent, error) {
	open := openers{
		probe:     func(o probe.Options) (Probe, error) { return probe.Open(o) },
		conntrack: func(logger *zap.Logger) (Translation, error) { return conntrack.Open(logger) },
		handover:  &handover,

		pidNamespace: "/proc/self/ns/pid",
	}
	for _, option := range options {
		option(&open)
	}
	tracer, err := flow.NewTracer(settings.TraceSalt)
	if err != nil {
		return nil, fmt.Errorf("trace_salt: %w", err)
	}
	source, err := newSource(&settings)
	if err != nil {
		return nil, err
	}
	if err := source.Start(context.Background()); err != nil {
		return nil, errors.Join(err, source.Close())
	}
	sinks, needs := newSinks(&settings, source)
	p, err := open.openProbe(probe.Options{
		CgroupPath:      settings.CgroupPath,
		IncludeLoopback: settings.IncludeLoopback,
		Exclude:         kernelRules(settings.Exclude),
		NameListeners:   namesProcesses(settings.Identity.Source.Capabilities()),
		Exclusive:       true,
		Detail:          needs.TCPInfo,
		MaxConnections:  uint32(settings.MaxConnections), // #nosec G115 -- validated
	})
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	r := newAgent(&settings, source, sinks, p.probe, newTranslation(&settings, open.conntrack))
	r.earlier, r.keep = p.earlier, p.keep
	r.decoder.tracer = tracer
	for _, missing := range p.probe.Missing() {
		r.logger.Warn("the kernel rejected an optional program, and the receiver runs without it; see docs/kernels.md",
			zap.String("part", missing.Name), zap.String("not_reported", missing.Loss),
			zap.String("needed_since", "Linux "+missing.Since), zap.Error(missing.Err))
	}
	if !p.probe.FirstAtConnect() {
		r.logger.Info("this kernel cannot run the connect hooks before programs that were attached earlier: " +
			"if such a program rewrites a destination, the result counts as the original destination (Linux 6.15 and newer can)")
	}
	r.logSurroundings(&settings, open.pidNamespace, p.continues)
	return r, nil
}

// opened is a probe, and what becomes of it when its agent stops.
type opened struct {
	probe     Probe
	earlier   Audit                   // of the agents that had it before
	continues bool                    // there was one
	keep      func(audit Audit) error // nil: it is closed
}

// openProbe returns the probe that the agent before left, or a new one.
func (o *openers) openProbe(options probe.Options) (opened, error) {
	var p opened
	if o.handover != nil {
		var err error
		if p.probe, p.earlier, err = o.handover.take(options); err != nil {
			return p, fmt.Errorf("close the programs of the configuration before: %w", err)
		}
	}
	p.continues = p.probe != nil
	if !p.continues {
		var err error
		if p.probe, err = o.probe(options); err != nil {
			return p, err
		}
	}
	if o.handover != nil {
		p.keep = func(audit Audit) error { return o.handover.put(p.probe, options, audit) }
	}
	return p, nil
}

// newSinks makes the sinks of the signals, and returns what they need.
func newSinks(settings *Settings, source identity.Source) (sinks []namedSink, needs sink.Needs) {
	can := settings.Identity.Source.Capabilities()
	common := sink.Settings{
		Resource: settings.Resource, Scope: settings.InstrumentationScope,
		Pods: !namesProcesses(can), Networks: settings.Identity.Networks, Logger: settings.Logger,
	}
	if can.Lists {
		common.Workloads = source
	}
	for _, signal := range settings.Signals {
		part := signal.Name + partConsumer
		common.Status = func(err error) { settings.Status(part, err) }
		one := signal.New(common)
		sinks = append(sinks, namedSink{one, signal.Name})
		needs.Add(one.Needs())
	}
	return sinks, needs
}

// newAgent joins parts that are open; translation may be nil.
func newAgent(settings *Settings, source identity.Source, sinks []namedSink, p Probe, translation Translation) *Agent {
	r := &Agent{
		probe:       p,
		source:      source,
		translation: translation,
		decoder:     newDecoder(),
		interval:    settings.CollectionInterval,
		status:      settings.Status,
		logger:      settings.Logger,
		closers:     []io.Closer{source},
	}
	r.newest.Store(&Observation{})
	r.asker, r.holdFor = identity.AskerOf(source), settings.Identity.Retain
	if translation != nil {
		r.closers = append([]io.Closer{translation}, r.closers...)
	}
	r.setSinks(sinks)
	r.sweepFirst = r.needs.First
	r.recount.settle = settings.Identity.Settle
	last := make([]naming.Sink, len(sinks))
	for i, s := range sinks {
		last[i] = s.Sink
	}
	r.namer = naming.New(settings.naming(), source, translation, last...)
	return r
}

// setSinks replaces the sinks, and with them what is read for them.
func (r *Agent) setSinks(sinks []namedSink) {
	r.sinks, r.needs = sinks, sink.Needs{}
	for _, s := range sinks {
		r.needs.Add(s.Needs())
	}
	r.decoder.untraced = !r.needs.Trace
}
