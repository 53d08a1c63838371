// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// query is an expression of a dashboard, a rule or a document of this repository.
type query struct {
	from       string // the file, and the panel or the rule there
	expression string // with its variables replaced
	logQL      bool
	mayBeEmpty bool // it asks for what a healthy system does not have
}

// variables are what Grafana would fill in, with everything chosen.
var variables = strings.NewReplacer(
	"$__rate_interval", "30s", "$__range", "1h", "$__auto", "1m", "${namespace}", ".*", "$namespace", ".*", "${service}", ".*", "$service", ".*",
	"$workload", ".*", "$node", ".*", "$${__trace.traceId}", "00000000000000000000000000000000",
)

// dashboardQueries are those of all panels and variables in a dashboard.
func dashboardQueries(t testing.TB, path string) (all []query) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var board struct {
		Panels     []dashboardPanel
		Templating struct {
			List []struct {
				Name  string
				Query any
			}
		}
	}
	require.NoError(t, json.Unmarshal(content, &board))
	name := filepath.Base(path)
	for _, p := range flatten(board.Panels) {
		require.NotEmpty(t, p.Targets, "%s: %s", name, p.Title)
		for _, target := range p.Targets {
			all = append(all, query{
				from: name + ": " + p.Title, expression: variables.Replace(target.Expr), logQL: p.Datasource.UID == "${loki}",
				mayBeEmpty: strings.Contains(target.Expr, "> 0") || strings.Contains(target.Expr, "unless"),
			})
		}
	}
	values := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, v := range board.Templating.List {
		if text, ok := v.Query.(string); ok && strings.HasPrefix(text, "label_values") {
			parts := values.FindStringSubmatch(text)
			require.NotNil(t, parts, text)
			all = append(all, query{from: name + ": variable " + v.Name, expression: "count by (" + parts[2] + ") (" + variables.Replace(parts[1]) + ")"})
		}
	}
	return all
}

type dashboardPanel struct {
	Type, Title string
	Datasource  struct{ UID string }
	Targets     []struct{ Expr string }
	Panels      []dashboardPanel
}

func flatten(panels []dashboardPanel) (all []dashboardPanel) {
	for _, p := range panels {
		if p.Type != "row" {
			all = append(all, p)
		}
		all = append(all, flatten(p.Panels)...)
	}
	return all
}

// ruleQueries are those of a file of rules. What an alert asks for is not there in a healthy system.
func ruleQueries(t testing.TB, path string) (all []query) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Rules []struct{ Record, Alert, Expr string }
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &file))
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			all = append(all, query{from: filepath.Base(path) + ": " + rule.Record + rule.Alert, expression: rule.Expr, mayBeEmpty: rule.Alert != ""})
		}
	}
	return all
}

var (
	fence  = regexp.MustCompile("^\\s*```")
	inline = regexp.MustCompile("`([^`]+)`")
	// A function over our metrics, or a selector of our log.
	promQL    = regexp.MustCompile(`\b(rate|irate|increase|sum|count|max|min|avg|topk|histogram_quantile|last_over_time)\b.*\b(kmesh_|otelcol_|istio_|traces_)`)
	selector  = regexp.MustCompile(`^(kmesh|otelcol|istio)_[a-z_]+\{[^}]*\}$`) // in a sentence; in a block it is a sample of output
	logQL     = regexp.MustCompile(`\{[^}]*service_name=`)
	notAQuery = regexp.MustCompile(`…|\.\.\.|\b(curl|grep)\b`)
	remark    = regexp.MustCompile(`\s+#.*$`)
	inComment = regexp.MustCompile(`^# In (?:Loki|Prometheus): (.*)$`)
	inSource  = regexp.MustCompile(`\bquery: '([^']*)'`)
)

// documentQueries are those in a document's code, or in the comments of an example configuration.
func documentQueries(t testing.TB, path string) (all []query) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	add := func(text string) {
		text = strings.TrimSpace(remark.ReplaceAllString(text, ""))
		if logQL.MatchString(text) || promQL.MatchString(text) {
			if !notAQuery.MatchString(text) {
				all = append(all, query{from: path, expression: variables.Replace(text), logQL: logQL.MatchString(text), mayBeEmpty: true})
			}
		}
	}
	if filepath.Ext(path) != ".md" {
		for line := range strings.Lines(string(content)) {
			if found := inComment.FindStringSubmatch(strings.TrimRight(line, "\n")); found != nil {
				add(found[1])
			}
		}
		return all
	}
	fenced, open := false, ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case fence.MatchString(line):
			fenced, open = !fenced, ""
		case fenced:
			// A query may take several lines: to its last closing parenthesis.
			open = strings.TrimSpace(open + " " + remark.ReplaceAllString(line, ""))
			if strings.Count(open, "(") <= strings.Count(open, ")") {
				add(open)
				open = ""
			}
		default:
			for _, span := range inline.FindAllStringSubmatch(line, -1) {
				add(span[1])
				if selector.MatchString(span[1]) && !notAQuery.MatchString(span[1]) {
					all = append(all, query{from: path, expression: span[1], mayBeEmpty: true})
				}
			}
		}
	}
	return all
}

// sourceQueries are those in the links between data sources.
func sourceQueries(t testing.TB, path string) (all []query) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, found := range inSource.FindAllStringSubmatch(string(content), -1) {
		all = append(all, query{from: path, expression: variables.Replace(found[1]), logQL: true, mayBeEmpty: true})
	}
	require.NotEmpty(t, all, path)
	return all
}

// documents are all that a user reads in this repository, relative to this folder.
func documents(t testing.TB) (paths []string) {
	t.Helper()
	root := "../.."
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && strings.HasPrefix(name, ".") || slices.Contains([]string{"dist", "release", "testdata", "node_modules"}, name) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) == ".md" || filepath.Base(filepath.Dir(path)) == "examples" {
			paths = append(paths, path)
		}
		return nil
	}))
	return paths
}

// all returns every query of this repository.
func allQueries(t testing.TB) (all []query) {
	t.Helper()
	boards, err := filepath.Glob("../../deploy/grafana/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, boards)
	for _, path := range boards {
		all = append(all, dashboardQueries(t, path)...)
	}
	rules, err := filepath.Glob("../../deploy/prometheus/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, rules)
	for _, path := range rules {
		all = append(all, ruleQueries(t, path)...)
	}
	all = append(all, sourceQueries(t, "../../deploy/grafana/datasources.yaml")...)
	before := len(all)
	for _, path := range documents(t) {
		all = append(all, documentQueries(t, path)...)
	}
	require.Greater(t, len(all), before, "the documents have queries")
	return all
}
