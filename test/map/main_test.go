// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package livemap

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/kmesh-net/otelcol-kmesh/test/leaktest"
)

const (
	distribution = "../../dist/otelcol-kmesh"
	web          = "../../exporter/kmeshmapexporter/web"
)

// TestMain fails, rather than skips, where the tests cannot run: who asks for them wants them run.
func TestMain(m *testing.M) {
	missing := false
	for what, remedy := range map[string]string{
		distribution:                          "make build",
		web + "/node_modules/playwright-core": "npm --prefix exporter/kmeshmapexporter/web ci",
		chromium():                            "apt-get install chromium",
	} {
		if _, err := os.Stat(what); err != nil {
			fmt.Fprintf(os.Stderr, "map: %v: %s\n", err, remedy)
			missing = true
		}
	}
	if _, err := exec.LookPath("node"); err != nil {
		fmt.Fprintln(os.Stderr, "map: node is missing: apt-get install nodejs npm")
		missing = true
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "map: not root: the tests load eBPF programs and make network namespaces")
		missing = true
	}
	if missing {
		os.Exit(1)
	}
	leaktest.Main(m)
}

func chromium() string {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	return "/usr/bin/chromium"
}
