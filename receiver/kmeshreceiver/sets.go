// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"reflect"

	"github.com/kmesh-net/otelcol-kmesh/internal/series"
	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// switchesOf returns the switch of every metric by its name. The generated type has a field for each, whose key in the
// configuration is the name.
func switchesOf(metrics *metadata.MetricsConfig) map[string]*bool {
	fields := reflect.ValueOf(metrics).Elem()
	switches := make(map[string]*bool, fields.NumField())
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Tag.Get("mapstructure")
		switches[name] = fields.Field(i).FieldByName("Enabled").Addr().Interface().(*bool)
	}
	return switches
}

// enabledMetrics returns the metrics that are emitted. Metadata.yaml cannot describe exponential histograms: they are on
// with their set.
func (c *Config) enabledMetrics() map[string]bool {
	on, switches := enabledMetrics(c.Metrics), switchesOf(&c.Metrics)
	for name, set := range metricSets() {
		if _, found := switches[name]; !found && set == series.Latency && c.LatencyMetrics.Enabled {
			on[name] = true
		}
	}
	return on
}

// enabledMetrics returns the metrics that are enabled.
func enabledMetrics(metrics metadata.MetricsConfig) map[string]bool {
	on := make(map[string]bool)
	for name, enabled := range switchesOf(&metrics) {
		if *enabled {
			on[name] = true
		}
	}
	return on
}

// metricSets returns the set of each metric.
func metricSets() map[string]series.Set {
	sets := make(map[string]series.Set)
	for _, m := range series.Metrics() {
		sets[m.Name] = m.Set
	}
	return sets
}
