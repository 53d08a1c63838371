// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const rules = "../../deploy/prometheus"

// alert is a rule of alerts.yaml.
type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t testing.TB) (all []alert) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(rules, "alerts.yaml"))
	require.NoError(t, err)
	var file struct{ Groups []struct{ Rules []alert } }
	require.NoError(t, yaml.Unmarshal(content, &file))
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

// anchors are the fragments by which the sections of a document are linked.
func anchors(t testing.TB, path string) map[string]bool {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	all := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(content), -1) {
		text := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all[strings.ReplaceAll(text, " ", "-")] = true
	}
	return all
}

func TestEveryAlertLeadsToItsRunbook(t *testing.T) {
	const base = "https://github.com/kmesh-net/otelcol-kmesh/blob/main/"
	tests, err := os.ReadFile(filepath.Join(rules, "tests", "alerts.yaml"))
	require.NoError(t, err)
	for _, a := range alerts(t) {
		require.Contains(t, []string{"info", "warning", "critical"}, a.Labels["severity"], a.Alert)
		require.NotEmpty(t, a.Annotations["summary"], a.Alert)
		require.NotEmpty(t, a.Annotations["description"], a.Alert)
		path, section, ok := strings.Cut(strings.TrimPrefix(a.Annotations["runbook_url"], base), "#")
		require.True(t, ok, a.Alert)
		require.True(t, anchors(t, filepath.Join("../..", path))[section], "%s: %s has no section #%s", a.Alert, path, section)
		require.Contains(t, string(tests), "alertname: "+a.Alert, "%s has no test that it is quiet", a.Alert)
	}
}
