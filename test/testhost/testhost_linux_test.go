// SPDX-License-Identifier: Apache-2.0

package testhost

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m)
}

func namespaces(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").Output()
	require.NoError(t, err)
	var names []string
	for line := range strings.Lines(string(out)) {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

func TestHostsReachEachOtherAndAreGoneAfterwards(t *testing.T) {
	RequireRoot(t)
	var bridge string
	t.Run("hosts", func(t *testing.T) {
		network := NewNetwork(t)
		bridge = network.bridge
		client := network.Host("client", "10.244.0.10/24")
		server := network.Host("server", "10.244.0.11/24")
		var listener net.Listener
		var err error
		server.Do(func() { listener, err = net.Listen("tcp", "10.244.0.11:80") })
		require.NoError(t, err)
		defer func() { _ = listener.Close() }()

		var conn net.Conn
		client.Do(func() { conn, err = net.Dial("tcp", "10.244.0.11:80") })
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		assert.Equal(t, "10.244.0.10", conn.LocalAddr().(*net.TCPAddr).IP.String())
		assert.Contains(t, namespaces(t), bridge+"-client")
	})
	for _, name := range namespaces(t) {
		assert.NotContains(t, name, bridge)
	}
}
