// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package deploy

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRules runs the rules' unit tests, beside them, with Prometheus' own tool.
func TestRules(t *testing.T) {
	const promtool = "../../.tools/promtool"
	files, err := filepath.Glob(filepath.Join(rules, "*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	run(t, promtool, append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, files...)...)
	tests, err := filepath.Glob(filepath.Join(rules, "tests", "*.yaml"))
	require.NoError(t, err)
	require.Len(t, tests, 3)
	run(t, promtool, append([]string{"test", "rules"}, tests...)...)
}
