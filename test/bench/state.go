// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"unsafe"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// stateBytes is what the kernel keeps of a connection end for us, beside the head of a hash table's entry.
const stateBytes = int(unsafe.Sizeof(bpf.TCPConnection{}))
