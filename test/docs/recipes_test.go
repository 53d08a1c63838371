// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// recipe is a block of Go that is a file of its own: its first line is the path.
var recipe = regexp.MustCompile("(?ms)^   ```go\n   // (internal/\\S+\\.go)\n(.*?)^   ```$")

// A stranger starts from the code in the recipes: it compiles, and is what the stages take.
func TestTheCodeOfTheRecipesCompiles(t *testing.T) {
	root, err := filepath.Abs(repository)
	require.NoError(t, err)
	folder := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	add := func(path, text string) {
		file := filepath.Join(folder, strings.ReplaceAll(path, "/", "_"))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		overlay.Replace[filepath.Join(root, path)] = file
	}
	found := recipe.FindAllStringSubmatch(read(t, "docs/recipes.md"), -1)
	require.Len(t, found, 2)
	for _, block := range found {
		add(block[1], strings.ReplaceAll(block[2], "\n   ", "\n")[3:])
	}
	add("internal/recipes/recipes.go", `package recipes

import (
	"github.com/kmesh-net/otelcol-kmesh/internal/agent"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/consul"
	"github.com/kmesh-net/otelcol-kmesh/internal/profiles"
)

var (
	_ identity.SourceConfig = (*consul.Config)(nil)
	_ identity.Source       = (*consul.Source)(nil)
	_ agent.Sink            = (*profiles.Sink)(nil)
)
`)
	text, err := json.Marshal(overlay)
	require.NoError(t, err)
	file := filepath.Join(folder, "overlay.json")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	build := exec.Command("go", "build", "-overlay", file, "./internal/recipes")
	build.Dir = root
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
