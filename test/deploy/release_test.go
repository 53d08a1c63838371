// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The notes of a release are its section of the CHANGELOG, and a version that has none is not released.
func TestReleaseNotes(t *testing.T) {
	script, err := os.ReadFile("../../deploy/release/prepare.sh")
	require.NoError(t, err)
	root := t.TempDir()
	write := func(path, content string, mode os.FileMode) {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
	}
	write("deploy/release/prepare.sh", string(script), 0o755)
	write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\nnext\n\n## [1.2.3] - 2026-01-02\n\nnew\n\n## [1.2] - 2026-01-01\n\nold\n", 0o644)
	write("builder-config.yaml", "dist:\n  version: 0.1.0-dev\n  output_path: ./dist\n", 0o644)
	for _, tool := range []string{"builder", "helm"} {
		write("tools/"+tool, "#!/bin/sh\n", 0o755)
	}
	for version, want := range map[string]string{
		"v1.2.3":    "\nnew\n\n",
		"1.2":       "\nold\n",
		"0.1.0-dev": "\nnext\n\n",
		"1.2.4":     "",
	} {
		prepare := exec.Command(filepath.Join(root, "deploy/release/prepare.sh"), version)
		prepare.Env = append(os.Environ(), "PATH="+filepath.Join(root, "tools")+":"+os.Getenv("PATH"))
		out, err := prepare.CombinedOutput()
		if want == "" {
			require.Error(t, err, version)
			require.Contains(t, string(out), "nothing in a section ["+version+"]")
			continue
		}
		require.NoError(t, err, "%s: %s", version, out)
		notes, err := os.ReadFile(filepath.Join(root, ".release/notes.md"))
		require.NoError(t, err)
		require.Equal(t, want, string(notes), version)
		config, err := os.ReadFile(filepath.Join(root, ".release/builder-config.yaml"))
		require.NoError(t, err)
		require.Equal(t, "dist:\n  version: "+strings.TrimPrefix(version, "v")+"\n  output_path: ./.release\n", string(config))
	}
}
