// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const committed = "../../../deploy/grafana"

func TestDashboardsAreCurrent(t *testing.T) {
	folder := t.TempDir()
	if err := write(folder); err != nil {
		t.Fatal(err)
	}
	want, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	have, err := filepath.Glob(filepath.Join(committed, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(have) != len(want) || len(want) == 0 {
		t.Errorf("%s has %d dashboards, this program writes %d", committed, len(have), len(want))
	}
	for _, path := range want {
		fresh, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		old, err := os.ReadFile(filepath.Join(committed, filepath.Base(path)))
		if err != nil {
			t.Error(err)
		} else if string(old) != string(fresh) {
			t.Errorf("%s is not current: run `make dashboards`", filepath.Base(path))
		}
	}
}

// What the JSON must have for a panel to be right in any Grafana.
type target struct {
	Expr       string
	Format     string
	Datasource *struct{ UID string }
}

type shown struct {
	Type, Title, Description string
	Datasource               *struct{ UID string }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []target
	Panels                   []shown
}

func TestPanels(t *testing.T) {
	all, err := dashboards()
	if err != nil {
		t.Fatal(err)
	}
	uids := map[string]bool{}
	for name, board := range all {
		content, err := encode(board)
		if err != nil {
			t.Fatal(err)
		}
		var decoded struct {
			UID, Title string
			Panels     []shown
			Templating struct {
				List []struct{ Name string }
			}
		}
		if err := json.Unmarshal(content, &decoded); err != nil {
			t.Fatal(err)
		}
		if decoded.UID == "" || uids[decoded.UID] {
			t.Errorf("%s: uid %q must be there and differ from the others'", name, decoded.UID)
		}
		uids[decoded.UID] = true
		variables := map[string]bool{}
		for _, v := range decoded.Templating.List {
			variables[v.Name] = true
		}
		titles := map[string]bool{}
		for _, p := range flatten(decoded.Panels) {
			check(t, name, p, variables)
			if titles[p.Title] {
				t.Errorf("%s: two panels %q", name, p.Title)
			}
			titles[p.Title] = true
		}
		for _, uid := range regexp.MustCompile(`/d/([a-z-]+)`).FindAllStringSubmatch(string(content), -1) {
			known := false
			for _, other := range all {
				known = known || other.Uid != nil && *other.Uid == uid[1]
			}
			if !known {
				t.Errorf("%s: links to the dashboard %q, which does not exist", name, uid[1])
			}
		}
	}
}

func flatten(panels []shown) (all []shown) {
	for _, p := range panels {
		if p.Type != "row" {
			all = append(all, p)
		}
		all = append(all, flatten(p.Panels)...)
	}
	return all
}

var (
	variable   = regexp.MustCompile(`\$\{?([a-z]+)\b`)
	fixedRange = regexp.MustCompile(`\b(?:rate|increase)\([^\[]*\[\d`)
)

// optionalSets are the metrics of the sets that are off by default. All other panels work on the default metrics.
var optionalSets = map[string]*regexp.Regexp{
	"workload": regexp.MustCompile(`\bkmesh_tcp_(?:workload_|retrans_|packet_loss_)`),
	"latency":  regexp.MustCompile(`\bkmesh_tcp_(?:connect_duration|connection_duration|rtt|connections_active)`),
	"istio":    regexp.MustCompile(`\bistio_`),
}

func check(t *testing.T, dashboard string, p shown, variables map[string]bool) {
	t.Helper()
	at := dashboard + ": " + p.Title
	if p.Title == "" || len(p.Description) < 10 {
		t.Errorf("%s: a panel has a title and a description", at)
	}
	if p.Datasource == nil || !strings.HasPrefix(p.Datasource.UID, "${") {
		t.Errorf("%s: the data source must be a variable", at)
	} else if name := strings.Trim(p.Datasource.UID, "${}"); !variables[name] {
		t.Errorf("%s: there is no variable %s", at, name)
	}
	if p.FieldConfig.Defaults.Unit == "" && p.Type != "logs" {
		t.Errorf("%s: no unit", at)
	}
	for set, of := range optionalSets {
		for _, q := range p.Targets {
			if of.MatchString(q.Expr) && !strings.Contains(p.Description, "Empty without the "+set+" set.") {
				t.Errorf("%s: without the %s set, which is off by default, it is empty: say so", at, set)
			}
		}
	}
	if len(p.Targets) == 0 {
		t.Errorf("%s: no query", at)
	}
	for _, q := range p.Targets {
		if fixedRange.MatchString(q.Expr) {
			t.Errorf("%s: a fixed range misses samples at another interval or zoom: %s", at, q.Expr)
		}
		for _, v := range variable.FindAllStringSubmatch(q.Expr, -1) {
			if !variables[v[1]] {
				t.Errorf("%s: there is no variable %s: %s", at, v[1], q.Expr)
			}
		}
	}
}
