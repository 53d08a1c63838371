// SPDX-License-Identifier: Apache-2.0

package kmeshmapexporter

import (
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
)

var ignore = []metricdatatest.Option{metricdatatest.IgnoreTimestamp()}

func one(value int64) []metricdata.DataPoint[int64] {
	return []metricdata.DataPoint[int64]{{Value: value}}
}
