//go:build linux && (amd64 || arm64)

package probe

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// A kernel may refuse what all that we tried took: only its own log tells the reason.
func TestAProgramThatTheVerifierRefusesIsToldWithItsLog(t *testing.T) {
	testhost.RequireRoot(t)
	spec, err := bpf.LoadTCP()
	require.NoError(t, err)
	// What comes before an end reads above its stack. In place: jumps count instructions.
	program := spec.Programs["set_state"]
	for i, instruction := range program.Instructions {
		if instruction.OpCode.JumpOp() == asm.Exit {
			program.Instructions[i-1] = asm.LoadMem(asm.R0, asm.R10, 8, asm.DWord).WithMetadata(program.Instructions[i-1].Metadata)
		}
	}

	p := new(Probe)
	err = p.assign(spec)
	require.Error(t, err)
	assert.ErrorContains(t, err, "the kernel's verifier refuses the programs")
	assert.ErrorContains(t, err, "set_state")
	assert.ErrorContains(t, err, "stack")
	assert.Greater(t, strings.Count(err.Error(), "\n"), 20, "the whole log, not its last line: %v", err)
	assert.NoError(t, p.Close())
}
