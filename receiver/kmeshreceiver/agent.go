// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"

	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/sources"
	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// observedAgent is an agent with its self telemetry.
type observedAgent struct {
	*agent.Agent
	telemetry *telemetry
}

// Stop ends the agent, and then its self telemetry.
func (a *observedAgent) Stop(ctx context.Context) error {
	defer a.telemetry.shutdown()
	return a.Agent.Stop(ctx)
}

// newAgent makes the agent of an instance.
func newAgent(i *instance, options ...agent.Option) (*observedAgent, error) {
	settings, err := i.agentSettings()
	if err != nil {
		return nil, err
	}
	a, err := agent.New(settings, options...)
	if err != nil {
		return nil, err
	}
	telemetry, err := newTelemetry(i.settings().TelemetrySettings, sources.Select(i.config.Identity.Source), a)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return &observedAgent{a, telemetry}, nil
}

// agentSettings are the agent's, of the configuration and of the pipelines.
func (i *instance) agentSettings() (agent.Settings, error) {
	hostName, err := os.Hostname()
	if err != nil {
		return agent.Settings{}, fmt.Errorf("read the host's name: %w", err)
	}
	settings, err := i.config.agentSettings()
	if err != nil {
		return agent.Settings{}, err
	}
	settings.HostName = hostName
	settings.NodeName = os.Getenv("K8S_NODE_NAME")
	settings.Resource = i.config.resource(hostName)
	settings.InstrumentationScope = pcommon.NewInstrumentationScope()
	settings.InstrumentationScope.SetName(metadata.ScopeName)
	settings.InstrumentationScope.SetVersion(i.settings().BuildInfo.Version)
	settings.Logger = i.settings().Logger
	settings.Status = i.status.set
	for _, p := range i.pipelines {
		report, err := obsReport(p.settings)
		if err != nil {
			return agent.Settings{}, err
		}
		settings.Signals = append(settings.Signals, agent.Signal{
			Name: p.signal, New: func(s sink.Settings) agent.Sink { return p.newSink(s, report) },
		})
	}
	return settings, nil
}

// resource is the node and this collector, and nothing of the peers.
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
