// SPDX-License-Identifier: Apache-2.0

package series

import (
	"unique"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// label is one of the labels of the sets.
type label uint8

// The labels. Those of the two ends are in the same order.
const (
	labelReporter label = iota
	labelSourceWorkload
	labelSourceService
	labelSourceRevision
	labelSourceNamespace
	labelSourcePrincipal
	labelSourceApp
	labelSourceVersion
	labelSourceCluster
	labelService
	labelServiceNamespace
	labelServiceName
	labelPodAddress
	labelPodNamespace
	labelPodName
	labelDestinationWorkload
	labelDestinationService
	labelDestinationRevision
	labelDestinationNamespace
	labelDestinationPrincipal
	labelDestinationApp
	labelDestinationVersion
	labelDestinationCluster
	labelProtocol
	labelFlags
	labelPolicy
	labelStartTime
	labelSourceAddress
	labelDestinationAddress
	labelSourceRegion
	labelSourceZone
	labelDestinationRegion
	labelDestinationZone
	numLabels
)

var labelNames = [numLabels]string{
	"reporter",
	"source_workload", "source_canonical_service", "source_canonical_revision", "source_workload_namespace",
	"source_principal", "source_app", "source_version", "source_cluster",
	"destination_service", "destination_service_namespace", "destination_service_name",
	"destination_pod_address", "destination_pod_namespace", "destination_pod_name",
	"destination_workload", "destination_canonical_service", "destination_canonical_revision",
	"destination_workload_namespace", "destination_principal", "destination_app", "destination_version",
	"destination_cluster",
	"request_protocol", "response_flags", "connection_security_policy",
	"start_time", "source_address", "destination_address",
	"source_region", "source_zone", "destination_region", "destination_zone",
}

// labels are some of them: a bit each.
type labels uint64

func (s labels) has(l label) bool { return s&(1<<l) != 0 }

const (
	everyLabel       labels = 1<<numLabels - 1
	serviceNameMask  labels = 1<<labelService | 1<<labelServiceNamespace | 1<<labelServiceName
	podMask          labels = 1<<labelPodAddress | 1<<labelPodNamespace | 1<<labelPodName
	connectionMask   labels = 1<<labelStartTime | 1<<labelSourceAddress | 1<<labelDestinationAddress
	connectionNeeded labels = connectionMask | 1<<labelReporter
	// optionalLabels are in a set only where they are chosen.
	optionalLabels labels = 1<<labelSourceRegion | 1<<labelSourceZone | 1<<labelDestinationRegion | 1<<labelDestinationZone
)

// labelsOf returns those that a set has unless others are chosen.
func labelsOf(set Set) labels {
	switch set {
	case Workload:
		return everyLabel &^ optionalLabels &^ serviceNameMask &^ connectionMask
	case Connection:
		return everyLabel &^ optionalLabels
	default:
		return everyLabel &^ optionalLabels &^ podMask &^ connectionMask
	}
}

// istioUnknown is Istio's value for what is not known.
const istioUnknown = "unknown"

// labelWriter writes the labels that a choice keeps.
type labelWriter struct {
	attributes pcommon.Map
	choice     *choice
}

func newLabelWriter(c *choice) labelWriter {
	m := pcommon.NewMap()
	m.EnsureCapacity(c.count)
	return labelWriter{m, c}
}

func (w labelWriter) put(l label, value string) {
	if w.choice.labels.has(l) {
		if value == unknown && w.choice.istio && l != labelFlags {
			value = istioUnknown
		}
		w.attributes.PutStr(labelNames[l], flow.Text(value))
	}
}

// names writes those of both ends, and between them the labels in which the sets differ, in the contract's order.
func (w labelWriter) names(t traits, policy string, source, destination identity.Names, target func()) {
	w.put(labelReporter, reporter(t.direction))
	w.end(labelSourceWorkload, source)
	target()
	w.end(labelDestinationWorkload, destination)
	w.put(labelProtocol, "tcp")
	w.put(labelFlags, t.flags.Value())
	w.put(labelPolicy, securityPolicy(policy, t))
	if t.topology != (unique.Handle[topologies]{}) {
		both := t.topology.Value()
		w.put(labelSourceRegion, both.source.Region)
		w.put(labelSourceZone, both.source.Zone)
		w.put(labelDestinationRegion, both.destination.Region)
		w.put(labelDestinationZone, both.destination.Zone)
	}
}

func (w labelWriter) end(first label, n identity.Names) {
	for i, value := range []string{
		n.Workload, n.CanonicalService, n.CanonicalRevision, n.Namespace, n.Principal,
		n.CanonicalService, n.CanonicalRevision, n.Cluster,
	} {
		w.put(first+label(i), value)
	}
}

func (w labelWriter) service(host, namespace, name string) {
	w.put(labelService, host)
	w.put(labelServiceNamespace, namespace)
	w.put(labelServiceName, name)
}

func (w labelWriter) pod(address, namespace, name string) {
	w.put(labelPodAddress, address)
	w.put(labelPodNamespace, namespace)
	w.put(labelPodName, name)
}

func reporter(d flow.Direction) string {
	if d == flow.Inbound {
		return "destination"
	}
	return "source"
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

func (k serviceKey) attributes(c *choice, policy string) pcommon.Map {
	w := newLabelWriter(c)
	w.names(k.traits, policy, k.source.Value(), k.destination.Value(), func() {
		if k.address.IsValid() {
			w.service(k.address.String(), unknown, unknown)
			return
		}
		s := k.service.Value()
		w.service(s.host, s.namespace, s.name)
	})
	return w.attributes
}

func (k workloadKey) attributes(c *choice, policy string) pcommon.Map {
	w := newLabelWriter(c)
	w.names(k.traits, policy, k.source.Value(), k.destination.Value(), func() {
		pod := k.pod.Value()
		address := pod.place
		if k.address.IsValid() {
			address = k.address.String()
		}
		w.pod(address, pod.namespace, pod.name)
	})
	return w.attributes
}

// connectionAttributes are the service set's labels, and those that distinguish connections.
func connectionAttributes(f *flow.Flow, t traits, choice *choice, policy string) pcommon.Map {
	c := f.Connection
	w := newLabelWriter(choice)
	w.names(t, policy, namesOf(f.Source).Value(), namesOf(f.Destination).Value(), func() {
		if s := f.Service; s != nil {
			w.service(s.Host, s.Namespace, s.Name)
			return
		}
		host := f.DestinationService()
		if f.RequestedNetwork != nil {
			host = f.RequestedNetwork.Name
		}
		w.service(host, unknown, unknown)
	})
	w.put(labelStartTime, c.Start.UTC().Format(flow.StartTimeFormat))
	w.put(labelSourceAddress, c.Source.String())
	w.put(labelDestinationAddress, c.Destination.String())
	address, namespace, name := c.Destination.Addr().String(), unknown, unknown
	switch d := f.Destination; {
	case d == nil:
	case d.Kind == identity.KindNetwork:
		address = unknown // as in the workload set; destination_address has it
	default:
		namespace, name = d.Namespace(), d.Name
	}
	w.pod(address, namespace, name)
	return w.attributes
}

// overflowAttributes mark the one series of a set that stands for all that its limit refused, as in the OTel SDKs.
func overflowAttributes() pcommon.Map {
	m := pcommon.NewMap()
	m.PutBool("otel.metric.overflow", true)
	return m
}
