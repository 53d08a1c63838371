//go:build linux && (amd64 || arm64)

package main

import (
	"unsafe"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// stateBytes is what the kernel keeps of a connection end for us, beside its own head of a socket storage element.
const stateBytes = int(unsafe.Sizeof(bpf.TCPConnection{}))
