// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// spoil makes the verifier reject a program: what comes before an end reads above its stack.
// In place, because jumps count instructions.
func spoil(spec *ebpf.CollectionSpec, program string) {
	instructions := spec.Programs[program].Instructions
	for i, instruction := range instructions {
		if instruction.OpCode.JumpOp() == asm.Exit && i > 0 {
			instructions[i-1] = asm.LoadMem(asm.R0, asm.R10, 8, asm.DWord).WithMetadata(instructions[i-1].Metadata)
		}
	}
}

// A kernel may reject what all that we tried took: only its own log shows the reason.
func TestTheTracepointsProgramIsRejectedWithTheVerifiersLog(t *testing.T) {
	testhost.RequireRoot(t)
	_, err := Open(Options{amend: func(spec *ebpf.CollectionSpec) { spoil(spec, "set_state") }})
	require.Error(t, err)
	assert.ErrorContains(t, err, "the kernel's verifier rejects the program set_state")
	assert.ErrorContains(t, err, "stack")
	lines := strings.Count(err.Error(), "\n")
	assert.Greater(t, lines, 20, "the log, not its last line: %v", err)
	assert.LessOrEqual(t, lines, logLines+1)
}

func TestARefusalBeforeVerificationNamesWhatMayForbidIt(t *testing.T) {
	files := map[string]string{
		"/sys/kernel/security/lockdown":              "none integrity [confidentiality]\n",
		"/sys/kernel/security/lsm":                   "lockdown,capability,yama,bpf\n",
		"/proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
	}
	read := func(path string) ([]byte, error) {
		text, ok := files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}
	early := &ebpf.VerifierError{Cause: unix.EPERM, Log: []string{"processed 0 insns (limit 1000000) max_states_per_insn 0"}}
	for name, err := range map[string]error{
		"with a log":    fmt.Errorf("program older_sockets: load program: %w", early),
		"without a log": fmt.Errorf("program older_sockets: load program: %w", unix.EPERM),
	} {
		t.Run(name, func(t *testing.T) {
			err := refusal("older_sockets", err, read)
			assert.ErrorIs(t, err, unix.EPERM)
			assert.ErrorContains(t, err, "the kernel does not permit programs of this kind (older_sockets: ")
			assert.ErrorContains(t, err, "kernel lockdown is confidentiality; the security module bpf may deny it")
			assert.NotContains(t, err.Error(), "verifier")
			assert.NotContains(t, err.Error(), "\n")
		})
	}
	t.Run("nothing is known to forbid it", func(t *testing.T) {
		testhost.RequireRoot(t)
		files["/sys/kernel/security/lockdown"] = "[none] integrity confidentiality\n"
		files["/sys/kernel/security/lsm"] = "capability\n"
		assert.ErrorContains(t, refusal("walk_connections", early, read), "the kernel itself was built without them")
	})
	t.Run("the verifier worked", func(t *testing.T) {
		late := &ebpf.VerifierError{Cause: unix.EPERM, Log: []string{"R1 leaks addr", "processed 12 insns (limit 1000000)"}}
		err := refusal("older_sockets", late, read)
		assert.ErrorContains(t, err, "the kernel's verifier rejects the program older_sockets")
		assert.ErrorContains(t, err, "R1 leaks addr")
	})
}

// The helper that reads any address is not there under lockdown=confidentiality.
func TestUnderLockdownNothingIsMissing(t *testing.T) {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil || !strings.Contains(string(text), "[confidentiality]") && !strings.Contains(string(text), "[integrity]") {
		t.Skip("this kernel is not locked down")
	}
	ownNode(t)
	p := open(t, Options{Exclusive: true})
	t.Log(strings.TrimSpace(string(text)))
	var want, missing []string
	if strings.Contains(string(text), "[confidentiality]") {
		// ebpf-go takes a kernel that does not let programs read its memory for one that does not know of users' memory either.
		want = []string{partRedirect.Name}
		if version(t) < 602 { // without bpf_rdonly_cast
			want = append(want, partHandedOver.Name, partScan.Name, partWalk.Name)
		}
	}
	for _, m := range p.Missing() {
		missing = append(missing, m.Name)
	}
	assert.Equal(t, want, missing)
}

func TestAnyOtherLoadErrorNamesTheProgram(t *testing.T) {
	err := refusal("connect4", unix.ENOMEM, readFile)
	assert.ErrorIs(t, err, unix.ENOMEM)
	assert.ErrorContains(t, err, "load the program connect4")
}

// combination is a set of refusals; bit i refuses the optional part i.
type combination int

func (c combination) lacks(part Part) bool {
	for i := range parts {
		if parts[i] == part {
			return c&(1<<i) != 0
		}
	}
	return false
}

func (c combination) amend(spec *ebpf.CollectionSpec) {
	for i, part := range parts {
		if c&(1<<i) == 0 {
			continue
		}
		switch part {
		case partWalk:
			spoil(spec, string(WalkSyscall))
			spoil(spec, string(WalkIterator))
		case partListeners:
			spec.Maps["listeners"].ValueSize = 0 // EINVAL
			spec.Maps["listeners"].Value = nil
		default:
			spoil(spec, part.Name)
		}
	}
}

// counting are the optional parts that what is counted may depend on: the first ones. The others only name.
const counting = 7

// Whatever optional parts a kernel refuses, the probe starts, names each of them once, and what
// it still reports is exact. Every combination of the counting parts is tried, and each of the others.
func TestItStartsWithoutAnyOfTheOptionalParts(t *testing.T) {
	testhost.RequireRoot(t)
	all := combination(1<<len(parts)) - 1
	refused := forbidden(t)
	for c := range all + 1 {
		if (testing.Short() || c>>counting != 0) && c&(c-1) != 0 && c != all { // none, each alone, all
			continue
		}
		connections := 2000
		if testing.Short() { // an emulated machine takes minutes
			connections = 50
		}
		t.Run(fmt.Sprintf("%010b", c), func(t *testing.T) { startsWithout(t, c, refused, connections) })
	}
}

func startsWithout(t *testing.T, c combination, refused map[string]bool, connections int) {
	t.Helper()
	host := testhost.NewNetwork(t).Host("both", "10.244.0.11/24")
	var older, oldServer *net.TCPConn
	listener := listen(t, host, "10.244.0.11:80")
	older, oldServer = pair(t, host, listener)
	p := open(t, Options{amend: c.amend})

	missing := map[string]int{}
	for _, m := range p.Missing() {
		require.Error(t, m.Err)
		assert.NotEmpty(t, m.Loss)
		missing[m.Name]++
	}
	want := map[string]int{}
	for i, part := range parts {
		if c&(1<<i) != 0 || refused[part.Name] {
			want[part.Name] = 1
		}
	}
	require.Equal(t, want, missing)
	for _, program := range p.programs() {
		if program.Name == partOlder.Name {
			assert.Equal(t, !c.lacks(partOlder), program.Loaded)
		}
	}

	// An open connection, reported while it is open only with the walk.
	client, server := pair(t, host, listener)
	sendAndRead(t, client, server, 1234)
	var open []Record
	toUs := func(r *Record) bool { return port(r) == 80 && r.Cgroup != 0 && ours(r) }
	require.NoError(t, p.Sweep(false, func(r *Record) {
		if toUs(r) && r.Kind == KindOpen && r.Delta.Sent == 1234 {
			open = append(open, *r)
		}
	}))
	assert.Len(t, open, map[bool]int{true: 0, false: 1}[c.lacks(partWalk)])
	exchange(t, client, server, 1, 1)

	sum := map[Direction]Counters{}
	closed := 0
	take := func(r *Record) {
		if port(r) == 80 && r.Kind == KindClosed {
			closed++
			sum[r.Direction] = add(sum[r.Direction], r.Total)
		}
	}
	for i := range connections {
		client, server := pair(t, host, listener)
		exchange(t, client, server, 1+i%3, 2)
		if i%100 == 99 {
			require.NoError(t, p.Read(time.Now(), take))
		}
	}
	require.NoError(t, older.Close())
	_, err := oldServer.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, oldServer.Close())

	ends := 2 * (connections + 1)
	if !c.lacks(partOlder) || !c.lacks(partScan) {
		ends += 2
	}
	require.Eventually(t, func() bool {
		require.NoError(t, p.Read(time.Now(), take))
		return closed >= ends
	}, within, time.Millisecond)
	require.NoError(t, p.Read(time.Now(), take))
	assert.Equal(t, ends, closed)
	up, down := uint64(1234+1), uint64(1)
	for i := range connections {
		up, down = up+uint64(1+i%3), down+2
	}
	for direction, bytes := range map[Direction][2]uint64{Outbound: {up, down}, Inbound: {down, up}} {
		assert.Equal(t, bytes, [2]uint64{sum[direction].Sent, sum[direction].Received}, "direction %d", direction)
		assert.Equal(t, uint64(connections+1), sum[direction].Opened)
	}
}

// version is the kernel's, 6.1 as 601.
func version(t *testing.T) int {
	t.Helper()
	running, err := release()
	require.NoError(t, err)
	var major, minor int
	_, err = fmt.Sscanf(running, "%d.%d", &major, &minor)
	require.NoError(t, err)
	return major*100 + minor
}

// wanted are the variants that this kernel is known to have: where one of them does not load, the test fails.
func wanted(t *testing.T) []Walk {
	t.Helper()
	var variants []Walk
	if version(t) >= 601 {
		variants = append(variants, WalkSyscall)
	}
	if os.Getenv("KMESH_EMULATED") != "" { // Debian's own kernels refuse no kind of program
		variants = append(variants, WalkIterator)
	}
	return variants
}

func TestTheFirstVariantOfTheWalkThatLoadsIsTheOneThatRuns(t *testing.T) {
	p := open(t, Options{})
	require.NotEmpty(t, wanted(t), "a kernel below 6.1: say what it is expected to have")
	for _, program := range p.programs() {
		if name := Walk(program.Name); name == WalkSyscall || name == WalkIterator {
			assert.Equal(t, name == wanted(t)[0], program.Loaded, name)
		}
	}
}

func TestEachVariantOfTheWalkReportsOpenConnections(t *testing.T) {
	for _, variant := range []Walk{WalkSyscall, WalkIterator} {
		t.Run(string(variant), func(t *testing.T) {
			p := open(t, Options{Walks: []Walk{variant}})
			if missing := lacking(p); len(missing) > 0 {
				assert.Equal(t, partWalk, missing[0].Part)
				require.ErrorContains(t, missing[0].Err, string(variant))
				require.NotContains(t, wanted(t), variant, "%v", missing[0].Err)
				return
			}
			host := testhost.NewNetwork(t).Host("both", "10.244.0.11/24")
			client, server := pair(t, host, listen(t, host, "10.244.0.11:80"))
			sendAndRead(t, client, server, 55)
			var sent []uint64
			require.NoError(t, p.Sweep(false, func(r *Record) {
				if ours(r) && r.Direction == Outbound && r.Kind == KindOpen {
					sent = append(sent, r.Delta.Sent)
				}
			}))
			assert.Equal(t, []uint64{55}, sent)
			assert.Positive(t, p.counts.LongestWalk)
			assert.GreaterOrEqual(t, p.maps()[0].Entries, uint64(2), "both ends have an entry")
		})
	}
}
