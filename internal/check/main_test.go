// SPDX-License-Identifier: Apache-2.0

package check

import (
	"testing"

	"github.com/kmesh-net/otelcol-kmesh/test/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m)
}
