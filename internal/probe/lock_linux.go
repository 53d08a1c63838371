// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// lockPrefix starts the name of a lock; the number of its process on the host follows, and the node.
const lockPrefix = "kmesh_"

// testNode is the variable of the environment by which tests run several nodes on one machine: a
// letter. A lock keeps out those of its own node. It is empty anywhere else.
const testNode = "KMESH_TEST_NODE"

// lockName is the name of a process's lock. The kernel takes 15 bytes.
func lockName(process uint32) string {
	node := os.Getenv(testNode)
	if len(node) > 1 {
		node = node[:1]
	}
	return lockPrefix + strconv.FormatUint(uint64(process), 10) + node
}

// parseLock takes the name of a lock apart.
func parseLock(name string) (process, node string) {
	rest := strings.TrimPrefix(name, lockPrefix)
	process = strings.TrimRightFunc(rest, unicode.IsLetter)
	return process, rest[len(process):]
}

// nodeLock is what shows that this process watches the node: a map that nobody uses, of a type
// that takes privileges to create. The kernel gives it up with the process.
type nodeLock struct {
	held *ebpf.Map
}

// noLock is the error where the kernel cannot list its maps, so that nobody can be found.
type noLock struct{ error }

func (e noLock) Unwrap() error { return e.error }

// opening keeps two goroutines of this process apart, whose maps have one name.
var opening sync.Mutex

// lockNode takes the lock of the whole node, whatever namespaces the process is in. It fails if
// another one has it, and names that one.
func lockNode(l *loader) (*nodeLock, error) {
	opening.Lock()
	defer opening.Unlock()
	list, err := newLockList(l)
	if err != nil {
		return nil, noLock{err}
	}
	defer list.close()
	if _, err := list.read(); err != nil { // which has our own number
		return nil, err
	}
	var self uint32
	if err := list.collection.Variables["lock_reader"].Get(&self); err != nil {
		return nil, fmt.Errorf("read this process's number on the host: %w", err)
	}
	held, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: lockName(self), Type: ebpf.LPMTrie, Flags: unix.BPF_F_NO_PREALLOC,
		KeySize: 8, ValueSize: 4, MaxEntries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("create the map that shows that this process watches the node: %w", err)
	}
	if err := list.verify(held, self); err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return &nodeLock{held}, nil
}

// Close gives the lock up. A nil lock is none.
func (l *nodeLock) Close() error {
	if l == nil {
		return nil
	}
	return l.held.Close()
}

// lockList reads all locks of the node.
type lockList struct {
	collection *ebpf.Collection
	iterator   *link.Iter
}

func newLockList(l *loader) (*lockList, error) {
	const program = "list_locks"
	collection, err := l.alone(program)
	if err != nil {
		return nil, refusal(program, err, readFile)
	}
	iterator, err := link.AttachIter(link.IterOptions{Program: collection.Programs[program]})
	if err != nil {
		collection.Close()
		return nil, fmt.Errorf("attach the iterator over maps: %w", err)
	}
	return &lockList{collection, iterator}, nil
}

func (l *lockList) close() {
	_ = l.iterator.Close()
	l.collection.Close()
}

func (l *lockList) read() ([]bpf.TCPLock, error) {
	pass, err := l.iterator.Open()
	if err != nil {
		return nil, fmt.Errorf("list the maps of the node: %w", err)
	}
	defer func() { _ = pass.Close() }()
	raw, err := io.ReadAll(pass)
	if err != nil {
		return nil, fmt.Errorf("list the maps of the node: %w", err)
	}
	locks := make([]bpf.TCPLock, len(raw)/binary.Size(bpf.TCPLock{}))
	if err := binary.Read(bytes.NewReader(raw), binary.NativeEndian, locks); err != nil {
		return nil, fmt.Errorf("list the maps of the node: %w", err)
	}
	return locks, nil
}

// verify fails if another map of that kind was there before held.
func (l *lockList) verify(held *ebpf.Map, self uint32) error {
	info, err := held.Info()
	if err != nil {
		return fmt.Errorf("read the number of a map: %w", err)
	}
	own, ok := info.ID()
	if !ok {
		return errors.New("read the number of a map: the kernel does not give it")
	}
	locks, err := l.read()
	if err != nil {
		return err
	}
	_, node := parseLock(lockName(self))
	for i := range locks {
		_, other := parseLock(unix.ByteSliceToString(locks[i].Name[:]))
		if other == node && ebpf.MapID(locks[i].Id) < own {
			return fmt.Errorf("another kmesh receiver watches this node already (%s), and two would count everything twice: "+
				"use the one receiver in all pipelines, and run one collector with it per node", holder(&locks[i], self))
		}
	}
	return nil
}

// holder names the process that has a lock.
func holder(lock *bpf.TCPLock, self uint32) string {
	number, _ := parseLock(unix.ByteSliceToString(lock.Name[:]))
	if number == strconv.FormatUint(uint64(self), 10) {
		return "this process, " + number
	}
	// Numbers of the host mean something else in a PID namespace.
	if int(self) == os.Getpid() {
		if name, err := os.ReadFile("/proc/" + number + "/comm"); err == nil {
			return "process " + number + ", " + strings.TrimSpace(string(name))
		}
	}
	return "process " + number + " of the host"
}
