// SPDX-License-Identifier: Apache-2.0

// Package leaktest runs a package's tests, and fails it when they leave a goroutine behind.
package leaktest

import (
	"testing"

	"go.uber.org/goleak"
)

// Main is the body of a TestMain. The runtime's own goroutine that frees entries of package unique is no leak: with
// many names dropped at once, and the race detector, it is still at work when the last test has ended.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("runtime.runCleanups"))
}
