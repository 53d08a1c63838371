//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAKernelBelowTheFloorIsRefusedWithItsVersion(t *testing.T) {
	for _, test := range []struct {
		name    string
		version uint32
		want    string // empty: it will do
	}{
		{"4.18", 4<<16 | 18<<8, "this kernel is 4.18, at least 5.15 is needed: upgrade the node's kernel"},
		{"the last below", 5<<16 | 14<<8 | 255, "this kernel is 5.14, at least 5.15 is needed: upgrade the node's kernel"},
		{"the floor", 5<<16 | 15<<8, ""},
		{"a higher minor", 5<<16 | 19<<8, ""},
		{"a lower minor of a higher major", 6<<16 | 1<<8, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := checkKernel(func() (uint32, error) { return test.version, nil })
			if test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, test.want)
			}
		})
	}
	unknown := errors.New("no vDSO")
	assert.ErrorIs(t, checkKernel(func() (uint32, error) { return 0, unknown }), unknown)
}
