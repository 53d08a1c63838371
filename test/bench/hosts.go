// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// hosts are two network namespaces with a veth pair between them.
type hosts struct{ client, server string }

const (
	clientAddress = "10.9.0.1"
	serverAddress = "10.9.1.1" // and those that follow it
	// serverAddresses are enough for a thousand series: two ends, four metrics each.
	serverAddresses = 125
)

func newHosts(ctx context.Context) (*hosts, error) {
	h := &hosts{client: fmt.Sprintf("kmesh-bench-client-%d", os.Getpid()), server: fmt.Sprintf("kmesh-bench-server-%d", os.Getpid())}
	setup := [][]string{
		{"netns", "add", h.client},
		{"netns", "add", h.server},
		{"-n", h.client, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", h.server},
		{"-n", h.client, "addr", "add", clientAddress + "/16", "dev", "eth0"},
	}
	for i := range serverAddresses {
		setup = append(setup, []string{"-n", h.server, "addr", "add", nth(i) + "/16", "dev", "eth0"})
	}
	for _, name := range []string{h.client, h.server} {
		for _, device := range []string{"lo", "eth0"} {
			setup = append(setup, []string{"-n", name, "link", "set", device, "up"})
		}
		// Each connection's port waits in TIME_WAIT at the server: give the client many.
		setup = append(setup, []string{"netns", "exec", name, "sysctl", "-q", "net.ipv4.ip_local_port_range=1024 65535"})
	}
	for _, args := range setup {
		if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil { // #nosec G204 -- our own words
			err = fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
			return nil, errors.Join(err, h.remove())
		}
	}
	return h, nil
}

// nth is the n-th address of the server.
func nth(n int) string { return fmt.Sprintf("10.9.1.%d", 1+n) }

// remove works after an interrupt too, and says nothing of a namespace that was never made.
func (h *hosts) remove() error {
	var errs []error
	for _, name := range []string{h.client, h.server} {
		if _, err := os.Stat("/run/netns/" + name); err == nil {
			errs = append(errs, exec.CommandContext(context.Background(), "ip", "netns", "del", name).Run()) // #nosec G204 -- our own words
		}
	}
	return errors.Join(errs...)
}
