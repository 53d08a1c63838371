// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAKernelBelowTheFloorIsRefusedWithItsVersion(t *testing.T) {
	for _, test := range []struct{ name, release, want string }{
		{"4.18", "4.18.0-553.el8.x86_64", "this kernel is 4.18, at least 5.15 is needed: upgrade the node's kernel"},
		{"the last below", "5.14.21", "this kernel is 5.14, at least 5.15 is needed: upgrade the node's kernel"},
		{"the floor", "5.15.0-1", ""},
		{"a higher minor", "5.19", ""},
		{"a lower minor of a higher major", "6.1.0-56-cloud-amd64", ""},
		{"a release candidate", "7.0-rc1", ""},
		{"none", "rolling", `read the kernel's version: "rolling" is none`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := checkKernel(func() (string, error) { return test.release, nil })
			if test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, test.want)
			}
		})
	}
	unknown := errors.New("no uname")
	assert.ErrorIs(t, checkKernel(func() (string, error) { return "", unknown }), unknown)
}
