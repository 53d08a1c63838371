// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// ownNode has the test's locks keep out nobody but the test: a collector may run here.
func ownNode(t *testing.T) {
	t.Helper()
	testhost.RequireRoot(t)
	t.Setenv(testNode, "p")
}

func TestTwoExclusiveProbesOnOneNodeAreRefused(t *testing.T) {
	ownNode(t)
	first, err := Open(Options{Exclusive: true})
	require.NoError(t, err)
	_, err = Open(Options{Exclusive: true})
	require.ErrorContains(t, err, "another kmesh receiver watches this node already (this process, "+strconv.Itoa(os.Getpid())+")")
	assert.ErrorContains(t, err, "run one collector with it per node")
	require.NoError(t, first.Close())
	again, err := Open(Options{Exclusive: true})
	require.NoError(t, err)
	assert.NoError(t, again.Close())
}

// holding starts the test's binary as a process that has a Probe open.
func holding(t *testing.T, cgroup string, attributes *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), hold+"="+cgroup)
	holder.Stderr = os.Stderr
	holder.SysProcAttr = attributes
	input, err := holder.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = input.Close() })
	output, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	said, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", said)
	return holder
}

// Neither a cgroup namespace of its own nor a folder below the root hides the other collector.
func TestTheLockIsTheNodes(t *testing.T) {
	ownNode(t)
	holder := holding(t, ownCgroup(t), &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWCGROUP})
	name, err := os.ReadFile("/proc/self/comm") // it is the same program
	require.NoError(t, err)
	_, err = Open(Options{Exclusive: true})
	assert.ErrorContains(t, err, fmt.Sprintf("(process %d, %s)", holder.Process.Pid, bytes.TrimSpace(name)))
	require.NoError(t, holder.Process.Kill())
	require.Error(t, holder.Wait())
	p, err := Open(Options{Exclusive: true})
	require.NoError(t, err)
	assert.NoError(t, p.Close())
}

func TestALockKeepsOutThoseOfItsNode(t *testing.T) {
	ownNode(t)
	first, err := Open(Options{Exclusive: true})
	require.NoError(t, err)
	t.Setenv(testNode, "q")
	second, err := Open(Options{Exclusive: true})
	require.NoError(t, err)
	_, err = Open(Options{Exclusive: true})
	require.ErrorContains(t, err, "another kmesh receiver watches this node already (this process, "+strconv.Itoa(os.Getpid())+")")
	assert.NoError(t, errors.Join(first.Close(), second.Close()))
}

// What any user may lock is no lock.
func TestALockedCgroupFolderKeepsNobodyOut(t *testing.T) {
	ownNode(t)
	root, err := cgroupRoot("")
	require.NoError(t, err)
	folder, err := os.Open(root)
	require.NoError(t, err)
	defer func() { _ = folder.Close() }()
	require.NoError(t, unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	p, err := Open(Options{Exclusive: true})
	require.NoError(t, err)
	assert.NoError(t, p.Close())
}

func TestTheNeededCapabilitiesAreEnoughForTheLock(t *testing.T) {
	ownNode(t)
	withCapabilities(t, func(uint64) uint64 {
		return 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_NET_ADMIN
	}, func() {
		p, err := Open(Options{Exclusive: true})
		if assert.NoError(t, err) {
			assert.Empty(t, lacking(p))
			assert.NoError(t, p.Close())
		}
	})
}

func TestACgroupBelowTheRootIsSaid(t *testing.T) {
	p := open(t, Options{CgroupPath: ownCgroup(t)})
	missing := lacking(p)
	require.Len(t, missing, 1)
	assert.Equal(t, partRoot, missing[0].Part)
	assert.ErrorContains(t, missing[0].Err, "is not the root of the cgroup v2 hierarchy")
}
