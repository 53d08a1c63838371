// SPDX-License-Identifier: Apache-2.0

package kmeshreceiver

import (
	"bufio"
	"go/build/constraint"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// platforms are the operating systems and machines that the go command knows (`go tool dist list`), each with each.
var (
	systems = strings.Fields("aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris wasip1 windows")
	targets = strings.Fields("386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm")
)

// builtOn returns on which platforms a file is built.
func builtOn(t *testing.T, file string) map[string]bool {
	t.Helper()
	expression := constraintOf(t, file)
	on := make(map[string]bool)
	for _, system := range systems {
		for _, target := range targets {
			on[system+"/"+target] = expression == nil || expression.Eval(func(tag string) bool {
				return tag == system || tag == target || system == "android" && tag == "linux" || system == "ios" && tag == "darwin"
			})
		}
	}
	return on
}

func constraintOf(t *testing.T, file string) constraint.Expr {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := lines.Text(); constraint.IsGoBuild(line) {
			expression, err := constraint.Parse(line)
			require.NoError(t, err)
			return expression
		}
	}
	return nil
}

func TestEveryPlatformHasItsFiles(t *testing.T) {
	here, elsewhere := builtOn(t, "create.go"), builtOn(t, "create_other.go")
	for platform, built := range here {
		assert.Equal(t, !built, elsewhere[platform], platform)
	}
	assert.True(t, here["linux/amd64"])
	assert.True(t, here["linux/arm64"])
	assert.False(t, here["linux/386"])
	assert.False(t, here["darwin/arm64"])

	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasPrefix(file, "generated_") {
			continue
		}
		switch expression := constraintOf(t, file); {
		case expression == nil:
		case strings.Contains(file, "_other"):
			assert.Equal(t, elsewhere, builtOn(t, file), file)
		default:
			assert.Equal(t, here, builtOn(t, file), file)
		}
	}
}
