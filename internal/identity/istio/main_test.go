// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"google.golang.org/grpc/grpclog"

	"github.com/kmesh-net/otelcol-kmesh/test/leaktest"
)

// warnings are what gRPC logs by itself, which the Collector writes into its own log.
var warnings log

type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestMain(m *testing.M) {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, &warnings, &warnings))
	leaktest.Main(m)
}
