// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net/netip"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func TestAProcessIsNamedByItsNameAndPID(t *testing.T) {
	w := processWorkload("node-a", identity.Process{PID: 42, Name: "curl"})
	require.Equal(t, "curl-42", w.Name)
	require.Equal(t, "host", w.Namespace())
	require.Equal(t, "node-a//Process/42/curl", w.UID)
	require.Equal(t, identity.Names{
		Workload: "curl", CanonicalService: "curl", CanonicalRevision: "latest",
		Namespace: "host", Principal: "-", Cluster: "node-a",
	}, w.Names.Value())
}

func TestARemoteEndIsItsAddress(t *testing.T) {
	w := identity.AddressWorkload(netip.MustParseAddr("2001:db8::7"))
	require.Equal(t, "2001:db8::7", w.Name)
	require.Equal(t, "-", w.Namespace())
	require.Equal(t, identity.Names{
		Workload: "2001:db8::7", CanonicalService: "2001:db8::7", CanonicalRevision: "-",
		Namespace: "-", Principal: "-", Cluster: "-",
	}, w.Names.Value())
}

func TestAProcessCanBeCalledAnything(t *testing.T) {
	for _, c := range []struct {
		pid                 uint32
		given, workload, in string
	}{
		{7, "a b", "a b", "a b-7"},
		{7, "caf\xc3\xa9", "café", "café-7"},
		{7, "caf\xc3", "caf\uFFFD", "caf\uFFFD-7"},
		{7, "x\ny\x1b[2J", "x\uFFFDy\uFFFD[2J", "x\uFFFDy\uFFFD[2J-7"},
		{7, "x\u202ey", "x\uFFFDy", "x\uFFFDy-7"},
		{7, "curl\x00\x00rest", "curl", "curl-7"},
		{7, " \x00", "-", "pid-7"},
		{7, "", "-", "pid-7"},
		{0, "", "-", "-"},
	} {
		w := processWorkload("node-a", identity.Process{PID: c.pid, Name: c.given})
		require.Equal(t, c.workload, w.Names.Value().Workload, "%q", c.given)
		require.Equal(t, c.in, w.Name, "%q", c.given)
	}
}

func FuzzProcessName(f *testing.F) {
	for _, name := range []string{"", "curl", "kworker/0:1", "a\x00b", "\xff\xfe", "\u2028", " "} {
		f.Add(name, uint32(1))
	}
	f.Fuzz(func(t *testing.T, name string, pid uint32) {
		w := processWorkload("node-a", identity.Process{PID: pid, Name: name})
		for _, text := range []string{w.Name, w.Names.Value().Workload, w.Names.Value().CanonicalService} {
			require.NotEmpty(t, text)
			require.True(t, utf8.ValidString(text))
			for _, r := range text {
				require.False(t, unicode.IsControl(r), "%q", text)
			}
		}
	})
}
