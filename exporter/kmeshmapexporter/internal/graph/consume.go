// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// ConsumeMetrics takes a batch of the receiver's metrics. What is not the receiver's is left out.
func (g *Graph) ConsumeMetrics(batch pmetric.Metrics) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.settings.Now().UnixNano()
	for _, of := range batch.ResourceMetrics().All() {
		resourceKey := g.hasher.attributes(0, of.Resource().Attributes())
		r := g.resource(resourceKey)
		if r == nil {
			continue
		}
		r.begin(of, now)
		for _, scope := range of.ScopeMetrics().All() {
			for _, m := range scope.Metrics().All() {
				if known, ok := metrics[m.Name()]; ok {
					g.metric(m, known, r, resourceKey, now)
				} else {
					g.counts.Other++
				}
			}
		}
	}
	g.retry(now)
}

// begin takes the time of a new batch. Its points are in order of their age only within a metric, and a series' zero
// has an older time than the rest.
func (r *resource) begin(of pmetric.ResourceMetrics, now int64) {
	at := r.at
	for _, scope := range of.ScopeMetrics().All() {
		for _, m := range scope.Metrics().All() {
			if m.Type() != pmetric.MetricTypeSum {
				continue
			}
			points := m.Sum().DataPoints()
			for _, i := range [2]int{0, points.Len() - 1} {
				if i >= 0 && i < points.Len() {
					at = max(at, uint64(points.At(i).Timestamp()))
				}
			}
		}
	}
	if at > r.at {
		r.previous, r.at = r.at, at
	}
	r.arrived = now
}

func (g *Graph) resource(key seriesKey) *resource {
	r := g.resources[key]
	if r == nil {
		if len(g.resources) >= max(g.settings.MaxNodes, 1) {
			g.counts.Refused++
			return nil
		}
		r = &resource{}
		g.resources[key] = r
	}
	return r
}

func (g *Graph) metric(m pmetric.Metric, known metric, r *resource, resourceKey seriesKey, now int64) {
	if known.set == serviceSet {
		r.serviceSeen = now
	}
	prefix := g.hasher.text(uint64(resourceKey), m.Name())
	switch m.Type() {
	case pmetric.MetricTypeSum:
		if m.Sum().AggregationTemporality() != pmetric.AggregationTemporalityCumulative {
			g.counts.Other += uint64(m.Sum().DataPoints().Len())
			return
		}
		for _, p := range m.Sum().DataPoints().All() {
			g.point(p, known, r, prefix, now)
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, p := range m.ExponentialHistogram().DataPoints().All() {
			g.histogram(p, known, r, prefix, now)
		}
	default:
		g.counts.Other++
	}
}

func (g *Graph) point(p pmetric.NumberDataPoint, known metric, r *resource, prefix uint64, now int64) {
	g.counts.Points++
	key := g.hasher.attributes(prefix, p.Attributes())
	s := g.series[key]
	if p.Flags().NoRecordedValue() {
		if s != nil {
			g.end(key, s)
		}
		return
	}
	if s == nil {
		if s = g.begin(key, p.Attributes(), known, r); s == nil {
			return
		}
	}
	value := p.IntValue()
	if p.ValueType() == pmetric.NumberDataPointValueTypeDouble {
		value = int64(p.DoubleValue())
	}
	g.take(s, uint64(p.StartTimestamp()), uint64(p.Timestamp()), value, now)
}

// begin makes a series; nil if there are too many.
func (g *Graph) begin(key seriesKey, attributes pcommon.Map, known metric, r *resource) *series {
	if g.isFull() {
		g.counts.Refused++
		return nil
	}
	l := readLabels(attributes)
	e := g.edge(l.edge())
	if n := e.service; n != nil && n.host == (host{}) {
		n.host = host{n.key.Cluster, l.host}
		g.hosts[n.host] = n
	}
	s := &series{edge: e, resource: r, metric: known, reporter: l.reporter}
	e.series = append(e.series, s)
	g.series[key] = s
	return s
}

func (g *Graph) isFull() bool {
	return len(g.series)+len(g.histograms) >= g.settings.MaxNodes*seriesPerNode
}

// edge names the edge of a series with these labels.
func (l *labels) edge() edgeKey {
	key := edgeKey{from: l.source()}
	if l.service != "" {
		key.service = Key{Kind: KindService, Cluster: l.destinationCluster, Namespace: l.serviceNamespace, Name: l.service}
		if key.service.Cluster == "" {
			key.service.Cluster = l.sourceCluster // the destination's workload is not known: it is the client's cluster
		}
	}
	if destination, known := l.destination(); known {
		key.destination = destination
	}
	return key
}

func readLabels(attributes pcommon.Map) (l labels) {
	var sourceName, destinationName string // for series without *_workload
	for key, value := range attributes.All() {
		if value.Type() != pcommon.ValueTypeStr {
			continue
		}
		text := value.Str()
		switch key {
		case "reporter":
			if text == "destination" {
				l.reporter = byDestination
			}
		case "source_workload":
			l.sourceWorkload = name(text)
		case "source_workload_namespace":
			l.sourceNamespace = name(text)
		case "source_cluster":
			l.sourceCluster = name(text)
		case "source_canonical_service", "source_app":
			sourceName = name(text)
		case "destination_workload":
			l.destinationWorkload = name(text)
		case "destination_workload_namespace":
			l.destinationNamespace = name(text)
		case "destination_cluster":
			l.destinationCluster = name(text)
		case "destination_canonical_service", "destination_app":
			destinationName = name(text)
		case "destination_service":
			l.host = name(text)
		case "destination_service_name":
			l.service = name(text)
		case "destination_service_namespace":
			l.serviceNamespace = name(text)
		case "destination_pod_address":
			l.address = name(text)
		case "response_flags":
			l.flags = name(text)
		}
	}
	if l.sourceWorkload == "" {
		l.sourceWorkload = sourceName
	}
	if l.destinationWorkload == "" {
		l.destinationWorkload = destinationName
	}
	return l
}
