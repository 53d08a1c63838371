// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// ScopeName is the instrumentation scope of everything that the receiver emits.
const ScopeName = "github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver"

// Settings are what the metrics and the access log have in common.
type Settings struct {
	Resource pcommon.Resource // copied into every batch; never changed after it is given
	Version  string           // of the instrumentation scope
}
