// SPDX-License-Identifier: Apache-2.0

package series

import (
	"cmp"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// mostValued is how many labels of a set self telemetry shows.
const mostValued = 10

// valueCounts counts the series of a set by the values of each label. It changes with the series, so that reading it costs
// nothing of their number.
type valueCounts map[string]map[string]int32

func (v valueCounts) add(attributes pcommon.Map) {
	for name, value := range attributes.All() {
		of := v[name]
		if of == nil {
			of = make(map[string]int32)
			v[name] = of
		}
		of[value.Str()]++
	}
}

func (v valueCounts) remove(attributes pcommon.Map) {
	for name, value := range attributes.All() {
		of, text := v[name], value.Str()
		if of[text]--; of[text] <= 0 {
			delete(of, text)
		}
	}
}

// most returns the labels with most values.
func (v valueCounts) most(set Set) []sink.LabelValues {
	all := make([]sink.LabelValues, 0, len(v))
	for name, of := range v {
		if len(of) > 0 {
			all = append(all, sink.LabelValues{Set: string(set), Label: name, Values: len(of)})
		}
	}
	slices.SortFunc(all, func(a, b sink.LabelValues) int {
		return cmp.Or(cmp.Compare(b.Values, a.Values), cmp.Compare(a.Label, b.Label))
	})
	return all[:min(len(all), mostValued)]
}
