// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"errors"
	"os"
	"time"

	"github.com/cilium/ebpf"
)

// ran is how often a program ran, and for how long.
type ran struct {
	count uint64
	time  time.Duration
}

// ours are the programs of the receiver, by the 15 bytes of their names that the kernel keeps.
var ours = []string{"set_state", "destroy_sock", "connect4", "connect6"}

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

// work is what our programs did between two looks.
func work(before, after map[string]ran) ran {
	var sum ran
	for _, name := range ours {
		sum.count += after[name].count - before[name].count
		sum.time += after[name].time - before[name].time
	}
	return sum
}
