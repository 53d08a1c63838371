//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
	"github.com/kmesh-net/otelcol-kmesh/internal/otlp"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// openProbe is how the programs are loaded; tests without a kernel put in their own.
var openProbe = func(options probe.Options) (prober, error) { return probe.Open(options) }

// assemble joins the boxes: a source of identities, the probe, series and log, and the
// deliveries of the signals that have a pipeline. What it made is undone when a later
// part fails.
func assemble(i *instance) (runner, error) {
	hostName, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read the host's name: %w", err)
	}
	logger := i.settings().Logger
	source, err := newSource(&i.config.Identity, i.config.CgroupPath, hostName, logger, i.health.part("identity"))
	if err != nil {
		return nil, err
	}
	if err := source.Start(context.Background()); err != nil {
		return nil, errors.Join(err, source.Close())
	}
	p, err := openProbe(probe.Options{
		CgroupPath:      i.config.CgroupPath,
		IncludeLoopback: i.config.IncludeLoopback,
		NameListeners:   i.config.Identity.namesProcesses(),
		Exclusive:       true,
	})
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	r, err := newRun(i, source, p, i.config.resource(hostName))
	if err != nil {
		return nil, errors.Join(err, p.Close(), source.Close())
	}
	if nat := newTranslation(&i.config.Identity, logger); nat != nil {
		r.translation = nat
		r.flows.TranslateBy(nat)
	}
	for _, missing := range p.Missing() {
		logger.Warn("the receiver runs without a part that this kernel refuses; see docs/kernels.md",
			zap.String("part", missing.Name), zap.String("not_reported", missing.Loss),
			zap.String("needed_since", "Linux "+missing.Since), zap.Error(missing.Err))
	}
	if !p.FirstAtConnect() {
		logger.Info("this kernel cannot run the connect hooks before programs that were attached earlier: " +
			"where such a program rewrites a destination, that is what counts as the original one (Linux 6.15 and newer can)")
	}
	return r, nil
}

func newRun(i *instance, source identity.Source, p prober, resource pcommon.Resource) (*run, error) {
	on, sets := enabledMetrics(i.config.Metrics)
	r := &run{
		probe:    p,
		source:   source,
		decoder:  newDecoder(),
		interval: i.config.CollectionInterval,
		health:   i.health.part("reading"),
		refused:  i.health.part("metrics consumer"),
		logger:   i.settings().Logger,
	}
	settings := otlp.Settings{Resource: resource, Version: i.settings().BuildInfo.Version}
	var sink flow.LogSink
	if i.logs != nil {
		report, err := obsReport(i.logs.settings)
		if err != nil {
			return nil, err
		}
		r.logsOut = otlp.NewLogsDelivery(otlp.LogBounds{}, watched{i.logs.next, i.health.part("logs consumer")}, report)
		r.logs = otlp.NewLogs(settings, logBatch, r.logsOut.Offer)
		sink = r.logs
	}
	if i.metrics != nil {
		report, err := obsReport(i.metrics.settings)
		if err != nil {
			return nil, err
		}
		r.metrics = otlp.NewMetricsDelivery(otlp.NewMetrics(settings, on), i.metrics.next, report)
	} else {
		sets = nil // nobody would take them
	}
	flows := i.config.flows(sets)
	networks, err := i.config.Identity.networks()
	if err != nil {
		return nil, err // Validate told so
	}
	flows.Networks = networks
	r.flows = flow.New(flows, source, sink)
	r.sweepAll = flows.ConnectionMetrics
	if sink != nil && flows.Log.Periodic {
		r.period = flows.Log.Period
	}
	telemetry, err := newTelemetry(i.settings().TelemetrySettings, sources.Select(i.config.Identity.Source), source)
	if err != nil {
		return nil, err
	}
	r.telemetry = telemetry
	return r, nil
}

// flows is what the configuration says of naming, series and log.
func (c *Config) flows(sets map[set]bool) flow.Settings {
	logged := func(event string) bool { return slices.Contains(c.AccessLog.Events, event) }
	return flow.Settings{
		Scope:                 c.scope(),
		SecurityPolicy:        c.ConnectionSecurityPolicy,
		Settle:                c.Identity.Settle,
		ServiceMetrics:        sets[serviceSet],
		WorkloadMetrics:       sets[workloadSet],
		ConnectionMetrics:     sets[connectionSet],
		ConnectionMinDuration: c.ConnectionMetrics.MinDuration,
		CardinalityLimit:      c.AggregationCardinalityLimit,
		UnknownAddresses:      c.Identity.unknownAddresses(),
		SeriesExpiration:      c.SeriesExpiration,
		Log: flow.LogSettings{
			Closed: logged(eventClosed), Failed: logged(eventFailed),
			Opened: logged(eventOpened), Periodic: logged(eventPeriodic),
			Period: c.AccessLog.Period,
		},
	}
}

// unknownAddresses is the limit as flow has it, where 0 is the default.
func (c *IdentityConfig) unknownAddresses() int {
	if c.UnknownDestinationsLimit == 0 {
		return -1
	}
	return c.UnknownDestinationsLimit
}

// resource is the node and this agent: nothing of the peers.
func (c *Config) resource(hostName string) pcommon.Resource {
	node, inCluster := os.LookupEnv("K8S_NODE_NAME")
	if c.NodeName != "" {
		node = c.NodeName
	}
	if node == "" {
		node = hostName
	}
	b := metadata.NewResourceBuilder(c.ResourceAttributes)
	b.SetServiceName("kmesh")
	b.SetServiceInstanceID(node)
	b.SetHostName(hostName)
	if inCluster || os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		b.SetK8sNodeName(node)
	}
	return b.Emit()
}

func obsReport(settings receiver.Settings) (*receiverhelper.ObsReport, error) {
	return receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: settings.ID, Transport: "bpf", ReceiverCreateSettings: settings,
	})
}
