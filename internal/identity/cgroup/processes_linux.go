// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/puzpuzpuz/xsync/v4"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// hostNamespace is what the host's PID namespace is called, in every kernel.
const hostNamespace = "pid:[4026531836]"

// ticksPerSecond is the unit of times in /proc/PID/stat, in every kernel that BPF runs on.
const ticksPerSecond = 100

// process is what was found at a number, and never changes.
type process struct {
	pod     identity.PodUID
	started time.Time
	looked  time.Time // when it was known to be there, or not
	gone    bool
}

// processes reads the places of processes from /proc.
type processes struct {
	proc  string
	known *xsync.Map[uint32, *process]
	asked *xsync.Map[uint32, time.Time]
}

// newProcesses returns nil where numbers are not those of the probe.
func newProcesses(proc string) *processes {
	if link, err := os.Readlink(filepath.Join(proc, "self/ns/pid")); err != nil || link != hostNamespace {
		return nil
	}
	return &processes{proc: proc, known: xsync.NewMap[uint32, *process](), asked: xsync.NewMap[uint32, time.Time]()}
}

// locate returns the place of the process that had the PID at the time at. PIDs are reused: the process that was there before
// and after that time is the right one.
func (s *processes) locate(pid uint32, at time.Time) (pod identity.PodUID, where identity.Place, ask bool) {
	if p, ok := s.known.Load(pid); ok && !p.looked.Before(at) {
		if p.gone || p.started.After(at) {
			return pod, identity.PlaceUnknown, false
		}
		pod, where = placeOf(p.pod)
		return pod, where, false
	}
	if _, asked := s.asked.Load(pid); !asked && s.asked.Size() < maxAsked {
		s.asked.Store(pid, at)
	}
	return pod, identity.PlaceSought, true
}

// look reads the processes that were asked for, and forgets those that were not asked for lately; true if any was.
func (s *processes) look(now time.Time) bool {
	found := false
	for pid := range s.asked.All() {
		s.asked.Delete(pid)
		p := s.read(pid)
		s.known.Store(pid, &p)
		found = true
	}
	for pid, p := range s.known.All() {
		if now.Sub(p.looked) > remember {
			s.known.Delete(pid)
		}
	}
	return found
}

func (s *processes) read(pid uint32) process {
	folder := filepath.Join(s.proc, strconv.FormatUint(uint64(pid), 10))
	before, err := started(folder)
	if err != nil {
		return process{looked: time.Now(), gone: true}
	}
	looked := time.Now() // it was there until now at least
	text, err := os.ReadFile(filepath.Join(folder, "cgroup"))
	if err != nil {
		return process{looked: looked, gone: true}
	}
	after, err := started(folder)
	if err != nil || after.ticks != before.ticks {
		return process{looked: looked, gone: true}
	}
	p := process{started: before.at, looked: looked}
	for line := range bytes.Lines(text) {
		if _, path, ok := bytes.Cut(line, []byte(":/")); ok {
			if uid, ok := PodOf(string(bytes.TrimSpace(path))); ok {
				p.pod = uid
				break
			}
		}
	}
	return p
}

type beginning struct {
	ticks uint64 // since the machine's start
	at    time.Time
}

// started reads when a process began: the 22nd field, where the second is a name that can hold anything.
func started(folder string) (beginning, error) {
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return beginning{}, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const behindName = 22 - 3
	if len(fields) <= behindName {
		return beginning{}, errors.New("no process")
	}
	n, err := strconv.ParseUint(string(fields[behindName]), 10, 64)
	if err != nil {
		return beginning{}, err
	}
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return beginning{}, err
	}
	up := time.Duration(boot.Nano()) - time.Duration(n)*(time.Second/ticksPerSecond)
	return beginning{n, time.Now().Round(0).Add(-up)}, nil
}
