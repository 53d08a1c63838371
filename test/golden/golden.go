// SPDX-License-Identifier: Apache-2.0

// Package golden compares telemetry with the files in testdata/golden.
package golden

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the goldens anew")

// Require compares OTLP/JSON with testdata/golden/name. The caller's package is two folders below the module's root.
func Require(t *testing.T, name string, otlpJSON []byte) {
	t.Helper()
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, otlpJSON, "", "  "))
	indented.WriteByte('\n')
	path := filepath.Join("..", "..", "testdata", "golden", name)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, indented.Bytes(), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), indented.String())
}
