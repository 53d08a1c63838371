// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"reflect"
	"strings"

	"github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver/internal/metadata"
)

// set is one of the contract's sets of metrics.
type set uint8

const (
	serviceSet set = iota
	workloadSet
	connectionSet
)

// setOf returns the set that a metric belongs to.
func setOf(metric string) set {
	switch {
	case strings.HasPrefix(metric, "kmesh.tcp.connection."):
		return connectionSet
	case strings.HasPrefix(metric, "kmesh.tcp.workload."), metric == "kmesh.tcp.retrans", metric == "kmesh.tcp.packet_loss":
		return workloadSet
	default:
		return serviceSet
	}
}

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

// enabledMetrics returns the metrics that are enabled, and the sets that have one.
func enabledMetrics(metrics metadata.MetricsConfig) (on map[string]bool, sets map[set]bool) {
	on, sets = make(map[string]bool), make(map[set]bool)
	for name, enabled := range switchesOf(&metrics) {
		if *enabled {
			on[name] = true
			sets[setOf(name)] = true
		}
	}
	return on, sets
}
