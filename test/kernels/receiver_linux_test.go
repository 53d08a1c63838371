// SPDX-License-Identifier: Apache-2.0

//go:build kernels

package kernels

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	kmeshreceiver "github.com/kmesh-net/otelcol-kmesh/receiver/kmeshreceiver"
	"github.com/kmesh-net/otelcol-kmesh/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// running is the kernel's version, 5.10 as 510 and 6.12 as 612.
func running(t *testing.T) (version int, name string) {
	t.Helper()
	var uname unix.Utsname
	require.NoError(t, unix.Uname(&uname))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(uname.Release[:]), "%d.%d", &major, &minor)
	require.NoError(t, err)
	return major*100 + minor, fmt.Sprintf("%d.%d", major, minor)
}

// newReceiver makes the receiver with its access log, and with all that it says to its user.
func newReceiver(t *testing.T) (receiver.Logs, *consumertest.LogsSink, *observer.ObservedLogs) {
	t.Helper()
	factory := kmeshreceiver.NewFactory()
	config := factory.CreateDefaultConfig().(*kmeshreceiver.Config)
	config.Identity.Source = "host"
	config.IncludeLoopback = true
	settings := receivertest.NewNopSettings(factory.Type())
	core, said := observer.New(zapcore.InfoLevel)
	settings.Logger = zap.New(core)
	sink := new(consumertest.LogsSink)
	logs, err := factory.CreateLogs(t.Context(), settings, config, sink)
	require.NoError(t, err)
	return logs, sink, said
}

func TestBelowTheFloorTheStartEndsWithOneClearError(t *testing.T) {
	version, name := running(t)
	if version >= 515 {
		t.Skip("this kernel is not below the floor")
	}
	logs, _, _ := newReceiver(t)
	err := logs.Start(t.Context(), componenttest.NewNopHost())
	require.Error(t, err)
	t.Log(err)
	assert.Contains(t, err.Error(), "this kernel is "+name+", at least 5.15 is needed: upgrade the node's kernel")
	assert.NotContains(t, err.Error(), "\n", "no other complaint beside it")
	assert.NoError(t, logs.Shutdown(t.Context()))
}

func TestWithoutBTFTheStartEndsWithOneClearError(t *testing.T) {
	if version, _ := running(t); version < 515 {
		t.Skip("this kernel is below the floor")
	}
	if os.Getenv("KMESH_EMULATED") == "" {
		t.Skip("hides the kernel's BTF from the whole machine: only where run.sh boots one")
	}
	require.NoError(t, unix.Mount("tmpfs", "/sys/kernel/btf", "tmpfs", 0, ""))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount("/sys/kernel/btf", 0)) })
	logs, _, _ := newReceiver(t)
	err := logs.Start(t.Context(), componenttest.NewNopHost())
	require.Error(t, err)
	t.Log(err)
	assert.ErrorContains(t, err, "use a kernel that is built with CONFIG_DEBUG_INFO_BTF=y, and see that /sys/kernel/btf/vmlinux is readable here")
	assert.NotContains(t, err.Error(), "\n", "no other complaint beside it")
	assert.NoError(t, logs.Shutdown(t.Context()))
}

func TestAConnectionIsReportedAndWhatTheKernelLacksIsLoggedOnce(t *testing.T) {
	version, _ := running(t)
	if version < 515 {
		t.Skip("this kernel is below the floor")
	}
	logs, sink, said := newReceiver(t)
	require.NoError(t, logs.Start(t.Context(), componenttest.NewNopHost()))
	connect(t)
	assert.EventuallyWithT(t, func(c *assert.CollectT) { assert.Len(c, bodies(sink), 2) }, time.Minute, 10*time.Millisecond)
	require.NoError(t, logs.Shutdown(t.Context()))

	lines := bodies(sink)
	require.Len(t, lines, 2, "%v", lines)
	for _, line := range lines {
		bytes := "sent_bytes=100, received_bytes=10,"
		if strings.Contains(line, "direction=INBOUND") {
			bytes = "sent_bytes=10, received_bytes=100,"
		}
		assert.Contains(t, line, bytes)
		assert.Contains(t, line, "src.namespace=host")
		t.Log(line)
	}
	lacks := said.Filter(func(e observer.LoggedEntry) bool { return strings.HasPrefix(e.Message, "this kernel cannot ") }).All()
	for _, entry := range said.All() {
		t.Log(entry.Message)
	}
	if version < 612 { // some newer ones have what came with 6.15
		assert.Len(t, lacks, 1)
	}
	assert.LessOrEqual(t, len(lacks), 1)
	assert.Zero(t, said.FilterLevelExact(zapcore.WarnLevel).Len())
	assert.Zero(t, said.FilterLevelExact(zapcore.ErrorLevel).Len())
}

// connect sends 100 bytes one way and 10 the other.
func connect(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	client, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	server, err := listener.Accept()
	require.NoError(t, err)
	for _, way := range []struct {
		from, to net.Conn
		n        int
	}{{client, server, 100}, {server, client, 10}} {
		_, err = way.from.Write(make([]byte, way.n))
		require.NoError(t, err)
		_, err = io.ReadFull(way.to, make([]byte, way.n))
		require.NoError(t, err)
	}
	require.NoError(t, client.Close())
	require.NoError(t, server.Close())
}

// bodies are the lines of the access log.
func bodies(sink *consumertest.LogsSink) []string {
	var lines []string
	for _, batch := range sink.AllLogs() {
		for _, resource := range batch.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					lines = append(lines, record.Body().Str())
				}
			}
		}
	}
	return lines
}
