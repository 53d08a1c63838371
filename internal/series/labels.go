// SPDX-License-Identifier: Apache-2.0

package series

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	setLabels        = 23 // of the service set and of the workload set
	connectionLabels = 29
)

// destinationLabels writes the labels in which the sets differ, in the middle of those that they share.
type destinationLabels func(m pcommon.Map)

// putLabels writes the labels that all sets share, in the contract's order.
func putLabels(m pcommon.Map, source, destination identity.Names, t traits, policy string, target destinationLabels) {
	put(m, "reporter", reporter(t.direction))
	putEnd(m, "source_", source)
	target(m)
	putEnd(m, "destination_", destination)
	put(m, "request_protocol", "tcp")
	put(m, "response_flags", t.flags.String())
	put(m, "connection_security_policy", securityPolicy(policy, t))
}

func putEnd(m pcommon.Map, side string, n identity.Names) {
	put(m, side+"workload", n.Workload)
	put(m, side+"canonical_service", n.CanonicalService)
	put(m, side+"canonical_revision", n.CanonicalRevision)
	put(m, side+"workload_namespace", n.Namespace)
	put(m, side+"principal", n.Principal)
	put(m, side+"app", n.CanonicalService)
	put(m, side+"version", n.CanonicalRevision)
	put(m, side+"cluster", n.Cluster)
}

func putService(m pcommon.Map, host, namespace, name string) {
	put(m, "destination_service", host)
	put(m, "destination_service_namespace", namespace)
	put(m, "destination_service_name", name)
}

func putPod(m pcommon.Map, address, namespace, name string) {
	put(m, "destination_pod_address", address)
	put(m, "destination_pod_namespace", namespace)
	put(m, "destination_pod_name", name)
}

func put(m pcommon.Map, label, value string) {
	m.PutStr(label, flow.Text(value))
}

func reporter(d flow.Direction) string {
	if d == flow.Inbound {
		return "destination"
	}
	return "source"
}

func (f responseFlags) String() string {
	if f == flagConnect {
		return "CONNECT"
	}
	return unknown
}

func securityPolicy(policy string, t traits) string {
	switch {
	case policy != PolicyAuto:
		return policy
	case t.mutualTLS:
		return "mutual_tls"
	default:
		return "unknown"
	}
}

func (k serviceKey) attributes(policy string) pcommon.Map {
	m := newMap(setLabels)
	putLabels(m, k.source.Value(), k.destination.Value(), k.traits, policy, func(m pcommon.Map) {
		if k.address.IsValid() {
			putService(m, k.address.String(), unknown, unknown)
			return
		}
		s := k.service.Value()
		putService(m, s.host, s.namespace, s.name)
	})
	return m
}

func (k workloadKey) attributes(policy string) pcommon.Map {
	m := newMap(setLabels)
	putLabels(m, k.source.Value(), k.destination.Value(), k.traits, policy, func(m pcommon.Map) {
		pod := k.pod.Value()
		address := pod.place
		if k.address.IsValid() {
			address = k.address.String()
		}
		putPod(m, address, pod.namespace, pod.name)
	})
	return m
}

// connectionAttributes are the service set's labels, and those that distinguish connections.
func connectionAttributes(f *flow.Flow, t traits, policy string) pcommon.Map {
	c := f.Connection
	m := newMap(connectionLabels)
	putLabels(m, namesOf(f.Source).Value(), namesOf(f.Destination).Value(), t, policy, func(m pcommon.Map) {
		if s := f.Service; s != nil {
			putService(m, s.Host, s.Namespace, s.Name)
			return
		}
		host := f.DestinationService()
		if f.RequestedNetwork != nil {
			host = f.RequestedNetwork.Name
		}
		putService(m, host, unknown, unknown)
	})
	put(m, "start_time", c.Start.UTC().Format(flow.StartTimeFormat))
	put(m, "source_address", c.Source.String())
	put(m, "destination_address", c.Destination.String())
	address, namespace, name := c.Destination.Addr().String(), unknown, unknown
	switch w := f.Destination; {
	case w == nil:
	case w.Kind == identity.KindNetwork:
		address = unknown // as in the workload set; destination_address has it
	default:
		namespace, name = w.Namespace, w.Name
	}
	putPod(m, address, namespace, name)
	return m
}

// overflowAttributes mark the one series of a set that stands for all that its limit refused, as in the OTel SDKs.
func overflowAttributes() pcommon.Map {
	m := newMap(1)
	m.PutBool("otel.metric.overflow", true)
	return m
}

func newMap(capacity int) pcommon.Map {
	m := pcommon.NewMap()
	m.EnsureCapacity(capacity)
	return m
}
