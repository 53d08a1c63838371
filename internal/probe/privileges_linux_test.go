// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"maps"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// The table of docs/privileges.md.
func TestWhatEachCapabilityIsFor(t *testing.T) {
	testhost.RequireRoot(t)
	programs := map[string]map[uint]bool{ // what each needs beside CAP_BPF
		"set_state":            {unix.CAP_PERFMON: true},
		"destroy_sock":         {unix.CAP_PERFMON: true},
		"scan_sockets":         {unix.CAP_PERFMON: true},
		"list_locks":           {unix.CAP_PERFMON: true},
		string(WalkSyscall):    {unix.CAP_PERFMON: true},
		string(WalkIterator):   {unix.CAP_PERFMON: true},
		"older_sockets":        {unix.CAP_PERFMON: true},
		"original_destination": {unix.CAP_PERFMON: true},
		"accepted":             {unix.CAP_PERFMON: true},
		"handed_over":          {unix.CAP_PERFMON: true},
		"connect4":             {unix.CAP_PERFMON: true, unix.CAP_NET_ADMIN: true},
		"connect6":             {unix.CAP_PERFMON: true, unix.CAP_NET_ADMIN: true},
	}
	forbidden := forbidden(t)
	for program, needs := range programs {
		t.Run(program, func(t *testing.T) {
			for _, dropped := range needed {
				withCapabilities(t, func(uint64) uint64 {
					return (1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_NET_ADMIN) &^ (1 << dropped.bit)
				}, func() {
					err := loadOnly(program)
					if dropped.bit == unix.CAP_BPF || needs[dropped.bit] || forbidden[program] {
						assert.Error(t, err, "without %s", dropped.name)
					} else {
						assert.NoError(t, err, "without %s", dropped.name)
					}
				})
			}
		})
	}
	spec, err := bpf.LoadTCP()
	assert.NoError(t, err)
	for program := range spec.Programs {
		assert.Contains(t, programs, program, "the table lacks it")
	}
}

// loadOnly loads one program and the maps.
func loadOnly(program string) error {
	spec, err := bpf.LoadTCP()
	if err != nil {
		return err
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != program })
	loaded, err := ebpf.NewCollection(spec)
	if err == nil {
		loaded.Close()
	}
	return err
}

// forbidden are the optional programs that this kernel refuses whatever capabilities there are.
func forbidden(t *testing.T) map[string]bool {
	t.Helper()
	refused := map[string]bool{}
	walks := 0
	for _, program := range []string{string(WalkSyscall), string(WalkIterator), partRedirect.Name, partAccepted.Name} {
		if err := loadOnly(program); err != nil {
			t.Logf("this kernel does not load %s: %v", program, refusal(program, err, readFile))
			refused[program] = true
		} else if strings.HasSuffix(program, "_connections") {
			walks++
		}
	}
	require.NotZero(t, walks, "one of the two must load, else the test shows nothing of the walk")
	return refused
}
