// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// logLines is how much of the verifier's log an error keeps: its last lines name the reason.
const logLines = 40

// refusal explains why the kernel did not load a program: the verifier rejected it, or the
// kernel does not permit programs of its kind, which it decides before it looks at any
// instruction.
func refusal(program string, err error, read func(path string) ([]byte, error)) error {
	verifier := new(ebpf.VerifierError)
	rejected := errors.As(err, &verifier)
	if errors.Is(err, unix.EPERM) && (!rejected || !processed(verifier.Log)) {
		return fmt.Errorf("the kernel does not permit programs of this kind (%s: %w): %s", program, unix.EPERM, restrictions(read))
	}
	if !rejected {
		return fmt.Errorf("load the program %s: %w", program, err)
	}
	log := verifier.Log
	if len(log) > logLines {
		log = log[len(log)-logLines:]
	}
	return fmt.Errorf("the kernel's verifier rejects the program %s: %w\n%s", program, verifier.Cause, strings.Join(log, "\n"))
}

// processed reports whether the verifier looked at any instruction.
func processed(log []string) bool {
	for _, line := range log {
		var n int
		if _, err := fmt.Sscanf(line, "processed %d insns", &n); err == nil {
			return n > 0
		}
	}
	return len(log) > 0
}

// restrictions names what on this machine may forbid a program that the process has the
// capabilities for.
func restrictions(read func(path string) ([]byte, error)) string {
	var found []string
	if text, err := read("/sys/kernel/security/lockdown"); err == nil {
		// As "none [integrity] confidentiality".
		if _, rest, ok := strings.Cut(string(text), "["); ok {
			if mode, _, ok := strings.Cut(rest, "]"); ok && mode != "none" {
				found = append(found, "kernel lockdown is "+mode)
			}
		}
	}
	if text, err := read("/sys/kernel/security/lsm"); err == nil {
		for _, module := range strings.Split(strings.TrimSpace(string(text)), ",") {
			if module == "bpf" || module == "selinux" || module == "apparmor" {
				found = append(found, "the security module "+module+" may deny it")
			}
		}
	}
	if effective, err := capabilities(); err == nil && effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		if text, err := read("/proc/sys/kernel/unprivileged_bpf_disabled"); err == nil && strings.TrimSpace(string(text)) != "0" {
			found = append(found, "kernel.unprivileged_bpf_disabled is set and the process lacks CAP_SYS_ADMIN")
		} else {
			found = append(found, "the process lacks CAP_SYS_ADMIN")
		}
	}
	if len(found) == 0 {
		return "no lockdown, security module or missing capability was found, so the kernel itself was built without them"
	}
	return strings.Join(found, "; ")
}

func readFile(path string) ([]byte, error) { return os.ReadFile(path) }
