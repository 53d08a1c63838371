// SPDX-License-Identifier: Apache-2.0

package kmeshdirectoryextension

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/kmesh-net/otelcol-kmesh/extension/kmeshdirectoryextension/internal/metadatatest"
	"github.com/kmesh-net/otelcol-kmesh/internal/directory"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// shown has another number in every place.
type shown struct{}

func (shown) stats() directory.Stats {
	return directory.Stats{Agents: 1, Subscriptions: 2, Requests: 3, Responses: 4, Resources: 5, Removed: 6, Rejected: 7, Refused: 8}
}
func (shown) held() identity.Held { return identity.Held{Workloads: 9, Services: 10} }
func (shown) behind() int         { return 11 }
func (shown) inSync() bool        { return true }

func TestSelfTelemetryShowsWhatTheDirectoryDoes(t *testing.T) {
	to := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, to.Shutdown(context.Background())) })
	telemetry, err := newTelemetry(to.NewTelemetrySettings(), shown{})
	require.NoError(t, err)
	t.Cleanup(telemetry.shutdown)
	type points = []metricdata.DataPoint[int64]
	one := func(v int64) points { return points{{Value: v}} }
	two := func(first string, v int64, second string, w int64) points {
		return points{
			{Value: v, Attributes: attribute.NewSet(attribute.String("kind", first))},
			{Value: w, Attributes: attribute.NewSet(attribute.String("kind", second))},
		}
	}
	for _, instrument := range []struct {
		equal func(*testing.T, *componenttest.Telemetry, []metricdata.DataPoint[int64], ...metricdatatest.Option)
		want  points
	}{
		{metadatatest.AssertEqualKmeshDirectoryAgents, one(1)},
		{metadatatest.AssertEqualKmeshDirectorySubscriptions, one(2)},
		{metadatatest.AssertEqualKmeshDirectoryRequests, one(3)},
		{metadatatest.AssertEqualKmeshDirectoryResponses, one(4)},
		{metadatatest.AssertEqualKmeshDirectoryResources, two("sent", 5, "removed", 6)},
		{metadatatest.AssertEqualKmeshDirectoryRejected, one(7)},
		{metadatatest.AssertEqualKmeshDirectoryRefused, one(8)},
		{metadatatest.AssertEqualKmeshDirectoryIdentities, two("workload", 9, "service", 10)},
		{metadatatest.AssertEqualKmeshDirectoryEventsBehind, one(11)},
		{metadatatest.AssertEqualKmeshDirectoryInSync, one(1)},
	} {
		instrument.equal(t, to, instrument.want, metricdatatest.IgnoreTimestamp())
	}
}
