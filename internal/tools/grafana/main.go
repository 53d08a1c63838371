// SPDX-License-Identifier: Apache-2.0

// Grafana writes the dashboards of deploy/grafana, in the classic schema: Grafana 11 and older read no other.
//
// usage: grafana FOLDER
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// dashboards are all dashboards by the name of their file.
func dashboards() (map[string]dashboard.Dashboard, error) {
	built := map[string]dashboard.Dashboard{}
	for name, builder := range map[string]*dashboard.DashboardBuilder{
		"overview.json":       overview(),
		"service.json":        service(),
		"workload.json":       workload(),
		"connection-log.json": connectionLog(),
		"agents.json":         agents(),
	} {
		board, err := builder.Build()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		built[name] = board
	}
	return built, nil
}

func encode(board dashboard.Dashboard) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(board); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func write(folder string) error {
	all, err := dashboards()
	if err != nil {
		return err
	}
	for name, board := range all {
		content, err := encode(board)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil { // #nosec G306 -- for everybody
			return err
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: grafana FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "grafana:", err)
		os.Exit(1)
	}
}
