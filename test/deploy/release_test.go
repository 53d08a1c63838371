// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// What goreleaser would notice after minutes only. TestRelease examines the release itself.
func TestReleaseNamesFilesThatExist(t *testing.T) {
	var config struct {
		Builds []struct {
			Goarch []string
			Hooks  struct{ Post []string }
		}
		Archives []struct{ Files []struct{ Src string } }
		SBOMs    []struct{ Args []string }
		Checksum struct {
			Extra []map[string]string `yaml:"extra_files"`
		}
		Release struct {
			Extra []map[string]string `yaml:"extra_files"`
		}
	}
	content, err := os.ReadFile("../../deploy/release/goreleaser.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &config))
	require.Len(t, config.Builds, 1)
	require.Equal(t, []string{"amd64", "arm64"}, config.Builds[0].Goarch)
	archived := map[string]bool{}
	for _, file := range config.Archives[0].Files {
		found, err := filepath.Glob(filepath.Join("../..", file.Src))
		require.NoError(t, err)
		require.NotEmpty(t, found, file.Src)
		archived[file.Src] = true
	}

	// An archive has what a package installs, and the packages come from the description that there is.
	var description struct{ Contents []struct{ Src string } }
	content, err = os.ReadFile("../../deploy/package/nfpm.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &description))
	for _, file := range description.Contents {
		if file.Src != "${BINARY}" {
			require.True(t, archived[file.Src], file.Src)
		}
	}
	require.Len(t, config.Builds[0].Hooks.Post, 1)
	script, arguments, _ := strings.Cut(config.Builds[0].Hooks.Post[0], " ")
	require.FileExists(t, filepath.Join("../..", script))
	require.Equal(t, "release {{ .Path }} {{ .Arch }} {{ .Version }}", arguments)

	require.Equal(t, []map[string]string{{"glob": ".release/otelcol-kmesh-*.tgz"}, {"glob": "release/*.deb"}, {"glob": "release/*.rpm"}}, config.Checksum.Extra)
	require.Equal(t, config.Checksum.Extra, config.Release.Extra)
	require.Len(t, config.SBOMs, 1)
	require.NotEmpty(t, config.SBOMs[0].Args, "the default asks the network")
}

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
