// SPDX-License-Identifier: Apache-2.0

package testhost

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// The kernel gives these to no client: by default those begin at 32768. A server that opens its port seconds after it was
// chosen finds it free.
const (
	firstPort = 15_000
	ports     = 16_000
)

// nextPort begins elsewhere in each process, as several run at once.
var nextPort atomic.Uint32

func init() { nextPort.Store(uint32(os.Getpid()) * 101) } // #nosec G115 -- any number will do

// Port returns a TCP port at which nobody listens, each time another one.
func Port() (int, error) {
	var last error
	for range ports {
		port := firstPort + int(nextPort.Add(1)%ports)
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port)) // #nosec G102 -- to find it taken at any address
		if err == nil {
			return port, listener.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("find a free port: %w", last)
}

// FreePort is Port, for a test.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := Port()
	if err != nil {
		t.Fatal(err)
	}
	return port
}
