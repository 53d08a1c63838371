// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

const imageLimit = 60 << 20 // compressed

// image is an unpacked OCI image.
type image struct {
	root       string
	name       string // by which a node knows it that imports the archive
	entrypoint []string
	digest     string
	compressed int64
}

// buildImage builds the image as a release does, and unpacks it.
func buildImage(t testing.TB) image {
	t.Helper()
	dir := t.TempDir()
	archive := filepath.Join(dir, "image.tar")
	build := exec.Command("../../deploy/image/build.sh", archive)
	build.Stderr = os.Stderr
	digest, err := build.Output()
	require.NoError(t, err, "build.sh needs `make build`, and: apt-get install buildah")
	layout := filepath.Join(dir, "layout")
	require.NoError(t, os.Mkdir(layout, 0o755))
	run(t, "tar", "-xf", archive, "-C", layout)

	readFile := func(path string, to any) {
		content, err := os.ReadFile(filepath.Join(layout, path))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(content, to))
	}
	read := func(digest string, to any) {
		readFile(filepath.Join("blobs", strings.Replace(digest, ":", "/", 1)), to)
	}
	type blob struct {
		Digest      string
		Annotations map[string]string
	}
	var index struct{ Manifests []blob }
	var manifest struct {
		Config blob
		Layers []blob
	}
	var config struct {
		Config struct {
			Entrypoint []string
			User       string
		}
	}
	i := image{root: filepath.Join(dir, "root"), digest: strings.TrimSpace(string(digest))}
	readFile("index.json", &index)
	require.Len(t, index.Manifests, 1)
	require.Equal(t, i.digest, index.Manifests[0].Digest)
	i.name = index.Manifests[0].Annotations["org.opencontainers.image.ref.name"]
	read(i.digest, &manifest)
	read(manifest.Config.Digest, &config)
	require.Equal(t, "65532:65532", config.Config.User)
	i.entrypoint = config.Config.Entrypoint
	require.NoError(t, os.Mkdir(i.root, 0o755))
	for _, layer := range manifest.Layers {
		path := filepath.Join(layout, "blobs", strings.Replace(layer.Digest, ":", "/", 1))
		run(t, "tar", "-xf", path, "-C", i.root)
		i.compressed += compressedSize(t, path)
	}
	return i
}

// compressedSize is what a registry would store of a layer.
func compressedSize(t testing.TB, path string) int64 {
	t.Helper()
	in, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	var size counted
	out := gzip.NewWriter(&size)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
	return int64(size)
}

type counted int64

func (c *counted) Write(p []byte) (int, error) { *c += counted(len(p)); return len(p), nil }

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
}

func TestImageIsSmallAndReproducible(t *testing.T) {
	first, second := buildImage(t), buildImage(t)
	require.Equal(t, first.digest, second.digest)
	require.Less(t, first.compressed, int64(imageLimit))
	t.Logf("%s, %.1f MB compressed", first.digest, float64(first.compressed)/1e6)
	// A name without a registry is one of docker.io/library to the kubelet.
	require.Equal(t, "docker.io/library/"+daemonSet(t, "").Spec.Template.Spec.Containers[0].Image, first.name)
	info, err := os.Stat(filepath.Join(first.root, "etc/ssl/certs/ca-certificates.crt"))
	require.NoError(t, err)
	require.Positive(t, info.Size())
}

// mount is a folder of this machine in a container.
type mount struct {
	from, to string
	readOnly bool
}

// container runs a pod's container with runc: the user, capabilities, file system, namespaces, arguments and
// environment are the pod's. The test takes the kubelet's part: it fills volumes and the values of fields.
type container struct {
	t    testing.TB
	name string
	dir  string
	cmd  *exec.Cmd
	done chan struct{}

	configuration mount
}

// newContainer writes the bundle of the only container of a pod. network is a namespace's file; empty: the host's.
func newContainer(t testing.TB, i image, name string, pod corev1.PodSpec, network string, env map[string]string, mounts ...mount) *container {
	t.Helper()
	spec := pod.Containers[0]
	user, noNewPrivileges := int64(0), spec.SecurityContext.AllowPrivilegeEscalation != nil && !*spec.SecurityContext.AllowPrivilegeEscalation
	for _, id := range []*int64{podUser(pod), spec.SecurityContext.RunAsUser} {
		if id != nil {
			user = *id
		}
	}
	require.Equal(t, []corev1.Capability{"ALL"}, spec.SecurityContext.Capabilities.Drop)
	capabilities := []string{}
	for _, c := range spec.SecurityContext.Capabilities.Add {
		capabilities = append(capabilities, "CAP_"+string(c))
	}
	inherited := []string{} // Kubernetes gives capabilities to root only
	if user == 0 {
		inherited = capabilities
	}
	environment := []string{}
	for _, e := range spec.Env {
		value, given := env[e.Name]
		if !given {
			require.Nil(t, e.ValueFrom, "%s: the test must resolve the field", e.Name)
			value = e.Value
		}
		environment = append(environment, e.Name+"="+value)
		delete(env, e.Name)
	}
	for key, value := range env {
		environment = append(environment, key+"="+value)
	}

	folders := []map[string]any{
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
		{"destination": "/sys", "type": "bind", "source": "/sys", "options": []string{"rbind", "ro", "nosuid", "noexec", "nodev"}},
	}
	for _, m := range mounts {
		options := []string{"bind", "rw"}
		if m.readOnly {
			options = []string{"bind", "ro"}
		}
		folders = append(folders, map[string]any{"destination": m.to, "type": "bind", "source": m.from, "options": options})
		// A runtime that unpacks the image makes the mount points; the read-only root here would not let it.
		require.NoError(t, os.MkdirAll(filepath.Join(i.root, m.to), 0o755))
	}
	for _, path := range []string{"proc", "dev", "sys"} {
		require.NoError(t, os.MkdirAll(filepath.Join(i.root, path), 0o755))
	}
	namespaces := []map[string]string{{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}}
	if !pod.HostPID {
		namespaces = append(namespaces, map[string]string{"type": "pid"})
	}
	if network != "" {
		namespaces = append(namespaces, map[string]string{"type": "network", "path": network})
	} else {
		require.True(t, pod.HostNetwork)
	}
	resources := map[string]any{}
	if limit := spec.Resources.Limits.Memory(); !limit.IsZero() {
		resources["memory"] = map[string]any{"limit": limit.Value()}
	}
	linux := map[string]any{"namespaces": namespaces, "resources": resources}
	if confined(pod, spec) {
		linux["seccomp"] = runtimeDefault(t, capabilities)
	}
	id := fmt.Sprintf("kmesh-%d-%s", os.Getpid(), name)
	linux["cgroupsPath"] = "/" + id
	bundle := map[string]any{
		"ociVersion": "1.0.2",
		"hostname":   name,
		"root":       map[string]any{"path": i.root, "readonly": *spec.SecurityContext.ReadOnlyRootFilesystem},
		"process": map[string]any{
			"user": map[string]any{"uid": user, "gid": user}, "cwd": "/", "env": environment,
			"args": append(append([]string{}, i.entrypoint...), spec.Args...), "noNewPrivileges": noNewPrivileges,
			"capabilities": map[string]any{"bounding": capabilities, "effective": inherited, "permitted": inherited},
		},
		"mounts": folders,
		"linux":  linux,
	}
	c := &container{t: t, name: id, dir: t.TempDir()}
	content, err := json.Marshal(bundle)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "config.json"), content, 0o600))
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			content, _ := os.ReadFile(c.log())
			t.Logf("--- the end of what %s printed:\n%s", name, content[max(0, len(content)-6000):])
		}
	})
	return c
}

// confined reports whether the runtime's own seccomp profile applies.
func confined(pod corev1.PodSpec, container corev1.Container) bool {
	profile := container.SecurityContext.SeccompProfile
	if profile == nil && pod.SecurityContext != nil {
		profile = pod.SecurityContext.SeccompProfile
	}
	return profile != nil && profile.Type == corev1.SeccompProfileTypeRuntimeDefault
}

// runtimeDefault is containerd's profile for a container with these capabilities.
func runtimeDefault(t testing.TB, capabilities []string) map[string]any {
	t.Helper()
	content, err := os.ReadFile("../../testdata/seccomp/containerd.json")
	require.NoError(t, err)
	var profile map[string]any
	require.NoError(t, json.Unmarshal(content, &profile))
	var allowed []any
	for _, rule := range profile["syscalls"].([]any) {
		needs := map[any]string{"bpf": "CAP_BPF", "perf_event_open": "CAP_PERFMON"}[rule.(map[string]any)["names"].([]any)[0]]
		if needs == "" || slices.Contains(capabilities, needs) {
			allowed = append(allowed, rule)
		}
	}
	profile["syscalls"] = allowed
	return profile
}

func podUser(pod corev1.PodSpec) *int64 {
	if pod.SecurityContext == nil {
		return nil
	}
	return pod.SecurityContext.RunAsUser
}

func (c *container) log() string { return filepath.Join(c.dir, "log") }

// start starts the container, for the first time or again.
func (c *container) start() {
	c.t.Helper()
	log, err := os.OpenFile(c.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(c.t, err)
	defer func() { _ = log.Close() }()
	c.cmd = exec.Command("runc", "run", "--bundle", c.dir, c.name)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	require.NoError(c.t, c.cmd.Start(), "apt-get install runc")
	done := make(chan struct{})
	c.done = done
	go func(cmd *exec.Cmd) { defer close(done); _ = cmd.Wait() }(c.cmd)
}

// kill ends it as a node's power cut would.
func (c *container) kill() {
	if c.cmd == nil {
		return
	}
	_ = exec.Command("runc", "kill", c.name, "KILL").Run()
	<-c.done
	_ = exec.Command("runc", "delete", "--force", c.name).Run()
	c.cmd = nil
}

// signal reaches the container's process.
func (c *container) signal(s syscall.Signal) {
	c.t.Helper()
	run(c.t, "runc", "kill", c.name, fmt.Sprint(int(s)))
}
