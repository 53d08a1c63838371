// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Identities are the content of a file.
type Identities struct {
	Workloads []*identity.Workload
	Services  []*identity.Service
	Warnings  []string // what is valid, but probably a mistake
}

// Parse reads the text of an identity file. It is strict: a key that is not one of the workload API's is an error, as is
// a reference to a service that is not in the file. An error names the line, the entry and the remedy.
func Parse(text []byte) (*Identities, error) {
	var doc document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("it is empty: write `workloads: []` if there are none")
		}
		return nil, withoutTypes(err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("something follows the first YAML document: put all workloads and services into one, without `---` between them")
	}
	// The same again for the lines: entries decode strictly only without a decoder of their own.
	var tree yaml.Node
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, withoutTypes(err)
	}
	if line := emptyItem(&tree); line > 0 {
		return nil, fmt.Errorf("line %d: a list's item is empty: remove its dash, or write what is missing", line)
	}
	return build(&doc, linesOf(&tree))
}

var (
	unknownField = regexp.MustCompile(`field (.*) not found in type file\.(\w+)`)
	wrongType    = regexp.MustCompile("cannot unmarshal (\\S+)(?: `(.*)`)? into (\\S+)")
)

// withoutTypes is the YAML package's error without the names of Go types.
func withoutTypes(err error) error {
	var all *yaml.TypeError
	if !errors.As(err, &all) {
		return fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	texts := make([]string, len(all.Errors))
	for i, text := range all.Errors {
		text = unknownField.ReplaceAllStringFunc(text, func(s string) string {
			m := unknownField.FindStringSubmatch(s)
			return fmt.Sprintf("unknown key %q in a %s: remove it, or correct its spelling", m[1], entryNames[m[2]])
		})
		text = wrongType.ReplaceAllStringFunc(text, func(s string) string {
			m := wrongType.FindStringSubmatch(s)
			what := typeNames[m[1]]
			if what == "" {
				what = m[1]
			}
			if m[2] != "" {
				what += fmt.Sprintf(" %q", m[2])
			}
			return fmt.Sprintf("%s where %s belongs", what, wantedNames(m[3]))
		})
		texts[i] = text
	}
	return errors.New(strings.Join(texts, "; "))
}

var entryNames = map[string]string{
	"document": "file", "workload": "workload", "service": "service", "port": "port",
}

var typeNames = map[string]string{
	"!!str": "text", "!!int": "number", "!!float": "number", "!!bool": "truth value", "!!seq": "list", "!!map": "mapping",
	"!!null": "nothing", "!!timestamp": "time",
}

func wantedNames(goType string) string {
	switch {
	case goType == "string":
		return "text"
	case goType == "int":
		return "a whole number"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	default:
		return "a mapping of keys to values"
	}
}
