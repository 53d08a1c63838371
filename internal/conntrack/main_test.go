package conntrack

import (
	"testing"

	"github.com/kmesh-net/otelcol-kmesh/internal/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m)
}
