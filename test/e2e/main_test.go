// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/kmesh-net/otelcol-kmesh/test/leaktest"
)

// adversaryVariable is in the environment of this binary where it is the adversary of the soak.
const adversaryVariable = "KMESH_ADVERSARY"

// TestMain fails, rather than skips, where the tests cannot run, because whoever starts them wants them run.
func TestMain(m *testing.M) {
	if os.Getenv(adversaryVariable) != "" {
		os.Exit(m.Run())
	}
	if missing := missing(); len(missing) > 0 {
		for _, what := range missing {
			fmt.Fprintln(os.Stderr, "e2e:", what)
		}
		os.Exit(1)
	}
	leaktest.Main(m)
}

// missing returns what the tests need and do not find, and where it comes from.
func missing() []string {
	var what []string
	if os.Geteuid() != 0 {
		what = append(what, "not root: the tests load eBPF programs and make network namespaces; run `make e2e` as root")
	}
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			what = append(what, fmt.Sprintf("%s is missing: apt-get install iproute2 nftables", program))
		}
	}
	for path, remedy := range needed {
		if _, err := os.Stat(path); err != nil {
			what = append(what, fmt.Sprintf("%v: build it with: %s", err, remedy))
		}
	}
	return what
}
