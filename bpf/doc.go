// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the programs that run in the kernel, compiled, and the Go
// types of what they hand over. Both are generated from the C files beside it and
// committed, so that building the receiver needs no C compiler.
//
// The programs are licensed GPL-2.0-only or BSD-2-Clause.
package bpf

//go:generate bpf2go -cc clang-19 -strip llvm-strip-19 -tags linux -go-package bpf -target amd64,arm64 -type record -type endpoint -type process -type counters -type tally -type spill_key -type spill -type walk -type connection -type direction -type record_kind -type tcp_state TCP tcp.c -- -O2 -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
