// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package distribution

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// kmeshConfig writes a configuration with the receiver's settings, one per line and
// indented as under `kmesh:`, and a health check that follows the components' status.
func kmeshConfig(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
receivers:
  kmesh:
    %s
exporters:
  debug:
extensions:
  health_check:
    http: {endpoint: 127.0.0.1:13133}
    component_health: {include_permanent_errors: true}
service:
  extensions: [health_check]
  pipelines:
    metrics: {receivers: [kmesh], exporters: [debug]}
    logs: {receivers: [kmesh], exporters: [debug]}
`, strings.Join(lines, "\n    ")), 0o600))
	return file
}

const (
	statusGate = "--feature-gates=+extension.healthcheck.useComponentStatus"
	statusURL  = "http://127.0.0.1:13133/status?verbose"
)

// finalError returns the message that says why the collector ended.
func finalError(t *testing.T, log string) string {
	t.Helper()
	require.NotContains(t, log, "goroutine ", "a stack trace is no message for a user")
	require.Equal(t, 1, strings.Count(log, "Error: "), "one error:\n%s", log)
	_, message, _ := strings.Cut(log, "Error: ")
	return message
}

func TestWrongConfigurationNamesTheKey(t *testing.T) {
	for _, tt := range []struct{ key, setting string }{
		{"collection_interval", "collection_interval: often"},
		{"collection_interval", "collection_interval: 0s"},
		{"colection_interval", "colection_interval: 5s"},
		{"workload_metrics", "workload_metrics: {enabled: 7}"},
		{"min_duration", "connection_metrics: {enabled: true, min_duration: -5s}"},
		{"events", "access_log: {events: [finished]}"},
		{"period", "access_log: {events: [periodic], period: 0s}"},
		{"source", "identity: {source: dns}"},
		{"settle", "identity: {settle: -1s}"},
		{"retain", "identity: {retain: -1s}"},
		{"scope", "scope: everything"},
		{"include_loopback", "include_loopback: [yes, no]"},
		{"aggregation_cardinality_limit", "aggregation_cardinality_limit: -1"},
		{"series_expiration", "series_expiration: -1s"},
		{"error_mode", "error_mode: explode"},
		{"metrics", "metrics: {kmesh.tcp.send: {enabled: false}}"},
	} {
		t.Run(tt.setting, func(t *testing.T) {
			c := start(t, newHost(t), kmeshConfig(t, tt.setting), withArgs(statusGate))
			message := finalError(t, c.requireFailure(t))
			require.Contains(t, message, tt.key)
			require.Contains(t, message, "kmesh")
		})
	}
}

func TestBadIdentityFileIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "nothing.yaml")
	malformed := filepath.Join(t.TempDir(), "malformed.yaml")
	require.NoError(t, os.WriteFile(malformed, []byte("workloads:\n  - uid: [\n"), 0o600))
	for _, file := range []string{missing, malformed} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			config := kmeshConfig(t, "identity: {source: file, file: {path: "+file+"}}")
			c := start(t, newHost(t), config, withArgs(statusGate))
			require.Contains(t, finalError(t, c.requireFailure(t)), file)
		})
	}
}

// missingCapabilities are those the receiver needs, with what must go for each to be
// missing: CAP_SYS_ADMIN stands for the two that were split off from it.
var missingCapabilities = []struct {
	name    string
	dropped []uintptr
}{
	{"CAP_BPF", []uintptr{unix.CAP_BPF, unix.CAP_SYS_ADMIN}},
	{"CAP_PERFMON", []uintptr{unix.CAP_PERFMON, unix.CAP_SYS_ADMIN}},
	{"CAP_NET_ADMIN", []uintptr{unix.CAP_NET_ADMIN}},
}

func TestMissingCapabilityIsNamedWithItsRemedy(t *testing.T) {
	for _, tt := range missingCapabilities {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, newHost(t), kmeshConfig(t, "identity: {source: host}"), withArgs(statusGate), without(tt.dropped...))
			message := finalError(t, c.requireFailure(t))
			require.Contains(t, message, tt.name+" is missing")
			require.Contains(t, message, "run as root")
			for _, other := range missingCapabilities {
				if other.name != tt.name {
					require.NotContains(t, message, other.name, "it is there")
				}
			}
		})
	}
}

// The three are enough: what the documentation asks to grant.
func TestThreeCapabilitiesAreEnough(t *testing.T) {
	var others []uintptr
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		switch capability {
		case unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN:
		default:
			others = append(others, capability)
		}
	}
	c := start(t, newHost(t), kmeshConfig(t, "identity: {source: host}"), withArgs(statusGate), without(others...))
	c.requireHealth(t, statusURL, 200)
	c.stop(t)
}

func TestIgnoredStartErrorShowsInTheHealth(t *testing.T) {
	for _, tt := range missingCapabilities {
		t.Run(tt.name, func(t *testing.T) {
			config := kmeshConfig(t, "error_mode: ignore", "identity: {source: host}")
			c := start(t, newHost(t), config, withArgs(statusGate), without(tt.dropped...))
			body := c.requireHealth(t, statusURL, 500)
			require.Contains(t, body, tt.name+" is missing")
			require.Contains(t, body, "receiver:kmesh")
			require.Contains(t, c.log.String(), tt.name+" is missing")
			c.stop(t)
		})
	}
}

func TestNoBTFIsNamedWithItsRemedy(t *testing.T) {
	hidden := withMounts(func() error { return unix.Mount("none", "/sys/kernel/btf", "tmpfs", 0, "") })
	c := start(t, newHost(t), kmeshConfig(t, "identity: {source: host}"), withArgs(statusGate), hidden)
	message := finalError(t, c.requireFailure(t))
	require.Contains(t, message, "BTF")
	require.Contains(t, message, "CONFIG_DEBUG_INFO_BTF")
}

// Only the original destination is at stake, so the receiver runs.
func TestNoCgroupV2IsAWarningWithItsRemedy(t *testing.T) {
	hidden := withMounts(func() error { return unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH) })
	c := start(t, newHost(t), kmeshConfig(t, "identity: {source: host}"), withArgs(statusGate), hidden)
	c.requireHealth(t, statusURL, 200)
	require.Contains(t, c.log.String(), "no cgroup v2 is mounted here")
	require.Contains(t, c.log.String(), "cgroup_path")
	c.stop(t)
}

func TestSecondReceiverOnTheNodeIsRefused(t *testing.T) {
	first := start(t, newHost(t), kmeshConfig(t, "identity: {source: host}"), withArgs(statusGate))
	first.requireHealth(t, statusURL, 200)
	second := start(t, newHost(t), kmeshConfig(t, "identity: {source: host}"), withArgs(statusGate))
	require.Contains(t, finalError(t, second.requireFailure(t)), "another kmesh receiver watches this node already")
	first.stop(t)
}
