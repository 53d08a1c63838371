// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
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

// machine is a root of this machine's files, on which a test may change what it likes.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T) machine {
	t.Helper()
	dir := t.TempDir()
	mount := func(path, kind, options string) {
		require.NoError(t, os.MkdirAll(path, 0o755))
		require.NoError(t, syscall.Mount(kind, path, kind, 0, options))
		t.Cleanup(func() { require.NoError(t, syscall.Unmount(path, 0)) })
	}
	changes := filepath.Join(dir, "changes")
	mount(changes, "tmpfs", "mode=755")
	upper, work := filepath.Join(changes, "upper"), filepath.Join(changes, "work")
	require.NoError(t, os.Mkdir(upper, 0o755))
	require.NoError(t, os.Mkdir(work, 0o755))
	m := machine{t: t, root: filepath.Join(dir, "root")}
	mount(m.root, "overlay", fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work))
	return m
}

func (m machine) path(path string) string { return filepath.Join(m.root, path) }

// run runs a command on the machine, and returns what it printed.
func (m machine) run(args ...string) string {
	m.t.Helper()
	out, err := exec.Command("chroot", append([]string{m.root}, args...)...).CombinedOutput()
	require.NoError(m.t, err, "%s: %s", args, out)
	return string(out)
}

func (m machine) write(path, content string, mode os.FileMode) {
	m.t.Helper()
	require.NoError(m.t, os.MkdirAll(filepath.Dir(m.path(path)), 0o755))
	require.NoError(m.t, os.RemoveAll(m.path(path)))
	require.NoError(m.t, os.WriteFile(m.path(path), []byte(content), mode))
}

func (m machine) read(path string) string {
	m.t.Helper()
	content, err := os.ReadFile(m.path(path))
	require.NoError(m.t, err)
	return string(content)
}

// has reports whether there is such a file or link.
func (m machine) has(path string) bool {
	_, err := os.Lstat(m.path(path))
	return err == nil
}

// newPackages puts packages of two versions onto the machine. No test of these needs the collector itself.
func (m machine) newPackages() (older, newer string) {
	m.t.Helper()
	run(m.t, "make", "-C", "../..", ".tools/nfpm")
	for _, version := range []string{"1.0.0", "1.1.0"} {
		run(m.t, "../../deploy/package/build.sh", m.root, "/bin/true", runtime.GOARCH, version)
	}
	name := "/otelcol-kmesh_%s_" + runtime.GOARCH + ".deb"
	return fmt.Sprintf(name, "1.0.0"), fmt.Sprintf(name, "1.1.0")
}

func TestPackageKeepsWhatIsTheUsers(t *testing.T) {
	const (
		config = "/etc/otelcol-kmesh/config.yaml"
		wanted = "/etc/systemd/system/multi-user.target.wants/otelcol-kmesh.service"
		state  = "/var/lib/private/otelcol-kmesh"
	)
	m := newMachine(t)
	older, newer := m.newPackages()
	m.run("dpkg", "--install", older)
	require.False(t, m.has(wanted), "enabled without being asked to")
	m.run("systemctl", "enable", "otelcol-kmesh")
	require.True(t, m.has(wanted))
	mine := m.read(config) + "# mine\n"
	m.write(config, mine, 0o644)
	m.write(state+"/queue", "", 0o600) // as systemd makes it for DynamicUser
	require.NoError(t, os.Symlink("private/otelcol-kmesh", m.path("/var/lib/otelcol-kmesh")))

	m.run("dpkg", "--install", newer)
	require.Equal(t, "install ok installed 1.1.0", m.run("dpkg-query", "--show", "--showformat", "${Status} ${Version}", "otelcol-kmesh"))
	require.Equal(t, mine, m.read(config))
	require.True(t, m.has(wanted), "still enabled")

	m.run("dpkg", "--remove", "otelcol-kmesh")
	require.False(t, m.has("/usr/bin/otelcol-kmesh"))
	require.False(t, m.has(wanted), "a link to a unit that is gone")
	require.Equal(t, mine, m.read(config))
	require.True(t, m.has(state+"/queue"))

	m.run("dpkg", "--purge", "otelcol-kmesh")
	for _, path := range []string{"/etc/otelcol-kmesh", state, "/var/lib/otelcol-kmesh"} {
		require.False(t, m.has(path), path)
	}
}

// Where systemd runs, the scripts ask it for this. Its answers leave no package half installed.
func TestPackageRestartsItsServiceOnce(t *testing.T) {
	m := newMachine(t)
	older, newer := m.newPackages()
	m.write("/run/systemd/system/.keep", "", 0o644)
	m.write("/usr/bin/systemctl", "#!/bin/sh\necho \"$*\" >>/asked\n[ \"$1\" = daemon-reload ]\n", 0o755)
	asked := func() []string {
		t.Helper()
		if !m.has("/asked") {
			return nil
		}
		lines := strings.Split(strings.TrimSpace(m.read("/asked")), "\n")
		require.NoError(t, os.Remove(m.path("/asked")))
		return lines
	}
	m.run("dpkg", "--install", older)
	require.Equal(t, []string{"daemon-reload", "try-restart otelcol-kmesh.service"}, asked())
	m.run("dpkg", "--install", newer)
	require.Equal(t, []string{"daemon-reload", "daemon-reload", "try-restart otelcol-kmesh.service"}, asked(), "the old one runs until then")
	m.run("dpkg", "--remove", "otelcol-kmesh")
	require.Equal(t, []string{"stop otelcol-kmesh.service", "disable otelcol-kmesh.service", "daemon-reload"}, asked())

	// rpm says how many versions stay.
	script, err := os.ReadFile("../../deploy/package/before-remove.sh")
	require.NoError(t, err)
	m.write("/before-remove.sh", string(script), 0o755)
	m.run("/before-remove.sh", "1")
	require.Empty(t, asked())
	m.run("/before-remove.sh", "0")
	require.Equal(t, []string{"stop otelcol-kmesh.service", "disable otelcol-kmesh.service"}, asked())
}
