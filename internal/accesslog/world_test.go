// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/test/flowtest"
)

var (
	noon                                = flowtest.Noon
	prometheusPod, productpagePod       = flowtest.PrometheusPod, flowtest.ProductpagePod
	productpageService, productpageAddr = flowtest.ProductpageService, flowtest.ProductpageAddr
	sample, failedSample                = flowtest.Sample, flowtest.FailedSample
)

// named names the ends of a connection.
func named(c *flow.Connection) *flow.Flow { return flowtest.Name(c, flowtest.SampleWorld{}) }

// openSample is the first report of an open end.
func openSample() *flow.Connection {
	c := sample()
	c.Event, c.State, c.Reason = flow.EventOpen, flow.StateEstablished, flow.ReasonNone
	return c
}

// newWriter returns a Writer of every event.
func newWriter(size int, full func(plog.Logs, int)) *Writer {
	resource := pcommon.NewResource()
	resource.Attributes().PutStr("service.name", "kmesh")
	resource.Attributes().PutStr("service.instance.id", "node-1")
	scope := pcommon.NewInstrumentationScope()
	scope.SetName("github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver")
	scope.SetVersion("1.2.3")
	return NewWriter(Settings{Closed: true, Failed: true, Opened: true, Periodic: true}, resource, scope, size, full)
}
