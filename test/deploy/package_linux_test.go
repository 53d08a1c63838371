// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The packages have the same files. The unit is a valid one, and its command runs as another user than root with
// the unit's capabilities and no others.
func TestPackages(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("make", "-C", "../..", "packages", "PACKAGES="+dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	packages, err := filepath.Glob(filepath.Join(dir, "otelcol-kmesh*"))
	require.NoError(t, err)
	require.Len(t, packages, 2)
	rpm, err := os.ReadFile(packages[0])
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(rpm, []byte{0xed, 0xab, 0xee, 0xdb}), "%s: the lead of an RPM package", packages[0])
	deb := packages[1]

	root := filepath.Join(dir, "root")
	run(t, "dpkg-deb", "--extract", deb, root)
	conffiles, err := exec.Command("dpkg-deb", "--info", deb, "conffiles").Output()
	require.NoError(t, err)
	require.Equal(t, "/etc/otelcol-kmesh/config.yaml", strings.TrimSpace(string(conffiles)), "an update keeps the user's changes")

	path := filepath.Join(root, "usr/lib/systemd/system/otelcol-kmesh.service")
	unit, err := os.ReadFile(path)
	require.NoError(t, err)
	setting := func(key string) string {
		found := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindSubmatch(unit)
		require.NotNil(t, found, key)
		return string(found[1])
	}
	require.Equal(t, setting("CapabilityBoundingSet"), setting("AmbientCapabilities"))

	// The paths of the package, below its root here.
	command := strings.Fields(strings.NewReplacer("/usr/bin/", root+"/usr/bin/", "=/etc/", "="+root+"/etc/").Replace(setting("ExecStart")))
	verified := filepath.Join(dir, "otelcol-kmesh.service")
	require.NoError(t, os.WriteFile(verified, bytes.Replace(unit, []byte("ExecStart=/usr/bin/"), []byte("ExecStart="+root+"/usr/bin/"), 1), 0o644))
	out, err = exec.Command("systemd-analyze", "verify", verified).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, strings.TrimSpace(string(out)))

	readable(t, root)
	capabilities := "-all"
	for _, c := range strings.Fields(strings.ToLower(setting("AmbientCapabilities"))) {
		capabilities += ",+" + strings.TrimPrefix(c, "cap_")
	}
	cmd := start(t, "http://127.0.0.1:13133/", "setpriv", append([]string{
		"--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
		"--inh-caps=" + capabilities, "--ambient-caps=" + capabilities, "--bounding-set=" + capabilities,
	}, command...)...)
	require.Equal(t, http.StatusOK, status("http://127.0.0.1:9464/metrics"))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
}
