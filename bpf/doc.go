// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the programs that run in the kernel, compiled, and the Go
// types of what they hand over. Both are generated from the C files beside it and
// committed, so that building the receiver needs no C compiler.
//
// The programs are licensed GPL-2.0-only or BSD-2-Clause; the texts are beside them. What headers/
// has is other projects', under the licences that its README.md names.
package bpf

//go:generate bpf2go -cc clang-19 -strip llvm-strip-19 -tags linux -go-package bpf -target amd64,arm64 -type record -type detail -type endpoint -type process -type counters -type counter -type tally -type spill_key -type spill -type walk -type scan -type lock -type connection -type prefix -type direction -type record_kind -type tcp_state TCP tcp.c -- -nostdlibinc -Iheaders -O2 -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror
