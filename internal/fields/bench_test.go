// SPDX-License-Identifier: Apache-2.0

package fields

import (
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

// BenchmarkFill formats the fields of a record, and BenchmarkCopy writes them to pdata: what a record costs is both.
func BenchmarkFill(b *testing.B) {
	bench(b, func(_ *Line, event Event, fill func(Event)) { fill(event) })
}

func BenchmarkCopy(b *testing.B) {
	bench(b, func(l *Line, _ Event, _ func(Event)) { l.CopyTo(pcommon.NewMap()) })
}

func bench(b *testing.B, do func(l *Line, event Event, fill func(Event))) {
	b.Helper()
	f := flowtest.Name(flowtest.Sample(), flowtest.SampleWorld{})
	for name, use := range map[string]Use{"log": Log, "span": Span} {
		b.Run(name, func(b *testing.B) {
			l := NewLine(use)
			l.Fill(Closed, f)
			b.ReportAllocs()
			for b.Loop() {
				do(l, Closed, func(event Event) { l.Fill(event, f) })
			}
		})
	}
}
