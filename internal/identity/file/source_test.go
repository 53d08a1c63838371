// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

const (
	podA = "workloads: [{uid: a, name: pod-a, addresses: [10.0.0.1]}]\n"
	podB = "workloads: [{uid: b, name: pod-b, addresses: [10.0.0.1]}]\n"
	bad  = "workloads: [{uid: c, name: pod-c, addresses: [10.0.0.x]}]\n"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// watched is a source whose polls a test makes.
type watched struct {
	*Source
	t        *testing.T
	path     string
	now      time.Time
	statuses []string
	logs     *observer.ObservedLogs
}

func watch(t *testing.T, text string) *watched {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	w := &watched{t: t, path: filepath.Join(t.TempDir(), "identity.yaml"), now: noon, logs: logs}
	w.write(text)
	source := New(&Config{Path: w.path}, identity.SourceSettings{Retain: time.Minute, Logger: zap.New(core), OnStatus: func(err error) {
		if err == nil {
			w.statuses = append(w.statuses, "good")
			return
		}
		w.statuses = append(w.statuses, strings.ReplaceAll(err.Error(), w.path, "FILE"))
	}})
	require.False(t, source.InSync())
	require.NoError(t, source.load(w.now))
	w.Source = source
	return w
}

func (w *watched) write(text string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(w.path, []byte(text), 0o600))
}

// polls lets so many seconds pass.
func (w *watched) polls(n int) {
	for range n {
		w.now = w.now.Add(time.Second)
		w.poll(w.now)
	}
}

// who had 10.0.0.1 at so many seconds after the start.
func (w *watched) who(seconds int) string {
	found, _ := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.0.0.1:80")}, noon.Add(time.Duration(seconds)*time.Second))
	if found == nil {
		return "nobody"
	}
	return found.Name
}

// name of who has the address now.
func (w *watched) name(address string) string {
	found, _ := w.Resolve(identity.End{Address: netip.AddrPortFrom(netip.MustParseAddr(address), 80)}, w.now)
	if found == nil {
		return "nobody"
	}
	return found.Name
}

func TestAChangeIsTakenWhenTheFileRests(t *testing.T) {
	w := watch(t, podA)
	require.True(t, w.InSync())
	require.Equal(t, "pod-a", w.who(-1_000_000), "the first version's identities have always been there")
	generation := w.Generation()
	w.polls(3)
	require.Equal(t, generation, w.Generation())

	w.write(podB)
	w.polls(1)
	require.Equal(t, "pod-a", w.who(4), "half written, it would be another version")
	w.polls(1)
	require.Equal(t, "pod-a", w.who(4), "a connection from before the reload")
	require.Equal(t, "pod-b", w.who(5))
	require.NotEqual(t, generation, w.Generation())
	require.Equal(t, identity.Held{Workloads: 1}, w.Held())
	require.Empty(t, w.statuses)

	w.polls(59)
	require.Equal(t, "pod-a", w.who(4))
	w.polls(1)
	require.Equal(t, "nobody", w.who(4), "retain is over")
}

func TestAFileThatNeverRestsIsTakenAllTheSame(t *testing.T) {
	w := watch(t, podA)
	for i := range 2 * patience {
		w.write(podB + strings.Repeat("#", i+1))
		w.polls(1)
	}
	require.Equal(t, "pod-b", w.who(100))
}

func TestABadVersionIsReportedOnceAndTheOneBeforeStays(t *testing.T) {
	w := watch(t, podA)
	w.write(bad)
	w.polls(5)
	complaint := `identity file FILE: line 1: workload "c": address "10.0.0.x" is not an IP address: write one like 10.244.0.11 or fd00::11`
	require.Equal(t, []string{complaint}, w.statuses)
	require.Equal(t, 1, w.logs.FilterLevelExact(zap.ErrorLevel).Len())
	require.Equal(t, "pod-a", w.who(100))
	require.False(t, w.InSync())

	require.NoError(t, os.Remove(w.path))
	w.polls(5)
	gone := "identity file FILE: no such file or directory: create it, or correct identity.file.path"
	require.Equal(t, []string{complaint, gone}, w.statuses)
	w.write(bad)
	w.polls(5)
	require.Equal(t, []string{complaint, gone, complaint}, w.statuses)

	w.write(podB)
	w.polls(5)
	require.Equal(t, []string{complaint, gone, complaint, "good"}, w.statuses)
	require.Equal(t, "pod-b", w.who(100))
	require.True(t, w.InSync())
}

func TestAVersionThatIsTakenBackIsGoodAtOnce(t *testing.T) {
	w := watch(t, podA)
	generation := w.Generation()
	w.write(bad)
	w.polls(2)
	require.False(t, w.InSync())
	w.write(podA)
	w.polls(1)
	require.True(t, w.InSync())
	require.Len(t, w.statuses, 2)
	require.Equal(t, "good", w.statuses[1])
	require.Equal(t, generation, w.Generation())
}

// TestAConfigMapIsSwapped does to the file what a kubelet does: names stay, links move.
func TestAConfigMapIsSwapped(t *testing.T) {
	w := watch(t, podA)
	dir := filepath.Dir(w.path)
	require.NoError(t, os.Remove(w.path))
	version := func(name, text string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "identity.yaml"), []byte(text), 0o600))
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("..1", podA)
	require.NoError(t, os.Symlink("..data/identity.yaml", w.path))
	w.polls(2)
	require.Equal(t, "pod-a", w.who(100))
	version("..2", podB)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "..1")))
	w.polls(2)
	require.Equal(t, "pod-b", w.who(100))
	require.Empty(t, w.statuses)
}

func TestServicesComeAndGo(t *testing.T) {
	w := watch(t, "services: [{name: s, namespace: n, hostname: h, addresses: [10.96.0.1], ports: [{service_port: 80}]}]\n")
	asked := netip.MustParseAddrPort("10.96.0.1:80")
	s := w.Service(netip.AddrPort{}, asked, nil, noon)
	require.NotNil(t, s)
	require.Equal(t, "h", s.Host)
	require.Equal(t, identity.Held{Services: 1}, w.Held())
	w.write("services: []\n")
	w.polls(2)
	require.NotNil(t, w.Service(netip.AddrPort{}, asked, nil, w.now), "nobody else has the address")
	w.polls(61)
	require.Nil(t, w.Service(netip.AddrPort{}, asked, nil, w.now))
	require.Equal(t, identity.Held{}, w.Held())
}

func TestAStartThatCannotBeSaysWhy(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte(bad), 0o600))
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "none.yaml"), "identity file PATH: no such file or directory: create it, or correct identity.file.path"},
		{filepath.Join(dir, "bad.yaml", "x"), "identity file PATH: not a directory: check identity.file.path, and that the collector may read it"},
		{dir, "identity file PATH: not a regular file: correct identity.file.path"},
		{filepath.Join(dir, "bad.yaml"), `identity file PATH: line 1: workload "c": address "10.0.0.x" is not an IP address: write one like 10.244.0.11 or fd00::11`},
	} {
		source := New(&Config{Path: c.path}, identity.SourceSettings{})
		require.EqualError(t, source.Start(context.Background()), strings.ReplaceAll(c.want, "PATH", c.path))
		require.NoError(t, source.Close())
		require.False(t, source.InSync())
	}
	require.EqualError(t, (&Config{}).Validate(), "identity.file.path is empty: write the path of the identity file")
}

func TestAFileThatIsTooLargeIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, maxSize+1))
	_, _, err := read(path)
	require.EqualError(t, err, "identity file "+path+": larger than 64 MiB: is identity.file.path right?")
}

// Reading and hashing a large file each second takes a part of a core.
func TestAFileThatRestsIsNotRead(t *testing.T) {
	w := watch(t, podA)
	w.now = time.Now().Add(time.Hour) // its last change is long ago
	w.polls(1)
	first := w.readAt
	w.polls(30)
	require.Equal(t, first, w.readAt)
	w.polls(30)
	require.NotEqual(t, first, w.readAt, "but now and then, as there are file systems whose times do not change")

	w.write(podB)
	w.polls(1)
	require.Equal(t, 1, w.Behind())
	w.polls(1)
	require.Zero(t, w.Behind())
	require.Equal(t, "pod-b", w.name("10.0.0.1"))
}

func TestTwoWorkloadsWithOneAddressAreMentioned(t *testing.T) {
	w := watch(t, "workloads:\n- {uid: b, name: pod-b, addresses: [10.0.0.1, 10.0.0.1]}\n- {uid: a, name: pod-a, addresses: [10.0.0.1]}\n"+
		"- {uid: c, name: c, network_mode: HOST_NETWORK, addresses: [10.0.0.1]}\n")
	warnings := w.logs.FilterLevelExact(zap.WarnLevel).All()
	require.Len(t, warnings, 1)
	require.Equal(t, `line 3: workload "a": line 2 has the address 10.0.0.1 too: only "a" is ever found at it; `+
		`write network_mode: HOST_NETWORK if they share their host's`, warnings[0].ContextMap()["entry"])
}

func TestStartFollowsTheFileUntilClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.yaml")
	require.NoError(t, os.WriteFile(path, []byte(podA), 0o600))
	source := New(&Config{Path: path}, identity.SourceSettings{Retain: time.Minute})
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, source.Start(ctx))
	cancel() // it is only Start's
	require.NoError(t, os.WriteFile(path, []byte(podB), 0o600))
	require.Eventually(t, func() bool {
		w, settled := source.Resolve(identity.End{Address: netip.MustParseAddrPort("10.0.0.1:80")}, time.Now())
		return settled && w.Name == "pod-b"
	}, 10*time.Second, 50*time.Millisecond)
	require.NoError(t, source.Close())
	require.NoError(t, source.Close())
}
