// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

// ran is how often a program ran, and for how long.
type ran struct {
	count uint64
	time  time.Duration
}

// ours and theirs tell the programs of the receiver and of tcplife by their names.
func ours(name string) bool {
	return slices.Contains([]string{"set_state", "destroy_sock", "connect4", "connect6", "accepted", "handed_over", "original_destination"}, name)
}

func theirs(name string) bool {
	return strings.HasPrefix(name, "inet_sock_set_s") // the kernel keeps 15 bytes of a name, BTF all
}

// programs gives the loaded ones by their name. The kernel counts while someone has asked it to.
func programs() map[string]ran {
	all := make(map[string]ran)
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return all
		}
		if err != nil {
			return all
		}
		id = next
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		info, ofInfo := program.Info()
		stats, ofStats := program.Stats()
		_ = program.Close()
		if ofInfo != nil || ofStats != nil {
			continue
		}
		r := all[info.Name]
		r.count += stats.RunCount
		r.time += stats.Runtime
		all[info.Name] = r
	}
}

// work is what the programs of these names did between two looks.
func work(which func(name string) bool, before, after map[string]ran) ran {
	var sum ran
	for name, now := range after {
		if which(name) {
			sum.count += now.count - before[name].count
			sum.time += now.time - before[name].time
		}
	}
	return sum
}
