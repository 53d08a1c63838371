// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"testing"

	"github.com/kmesh-net/otelcol-kmesh/test/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m)
}
