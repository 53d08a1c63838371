// SPDX-License-Identifier: Apache-2.0

package host

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// namespace of all local processes.
const namespace = "host"

// processWorkload is what a local process is called.
func processWorkload(host string, p identity.Process) *identity.Workload {
	name, pid := printable(p.Name), strconv.FormatUint(uint64(p.PID), 10)
	pod := name + "-" + pid
	switch {
	case name == "" && p.PID == 0:
		pod = identity.Unknown // the socket's process is not known
	case name == "":
		pod = "pid-" + pid
	}
	return &identity.Workload{
		UID: host + "//Process/" + pid + "/" + name, Name: pod,
		Names: identity.Names{Workload: name, Namespace: namespace, Cluster: host}.Handle(),
	}
}

// printable makes text of a process's name, which any process can set to any bytes: a line break in it must not become
// one in an access log.
func printable(name string) string {
	name, _, _ = strings.Cut(name, "\x00")
	name = strings.ToValidUTF8(name, "\uFFFD")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name))
}
