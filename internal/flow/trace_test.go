// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The vectors of the telemetry contract.
func TestATraceIsThatOfTheContract(t *testing.T) {
	for _, v := range []struct {
		client, server         uint32
		id, clientID, serverID string
	}{
		{1, 2, "b3703ad894507022acb0770836e3e52b", "768d33984af88a51", "7510de5d6921582e"},
		{0xdeadbeef, 0x01020304, "ec81afeaa238300c624e060cc8e3295e", "39cad84c25b83d58", "92e0623c218dcf83"},
	} {
		trace := NewTrace(v.client, v.server)
		assert.Equal(t, v.id, hex.EncodeToString(trace.ID[:]))
		assert.Equal(t, v.clientID, hex.EncodeToString(trace.Client[:]))
		assert.Equal(t, v.serverID, hex.EncodeToString(trace.Server[:]))
	}
}

func TestARandomTraceIsNotThatOfItsNumbers(t *testing.T) {
	assert.Equal(t, RandomTrace(9), RandomTrace(9))
	assert.NotEqual(t, RandomTrace(9).ID, RandomTrace(10).ID)
}
