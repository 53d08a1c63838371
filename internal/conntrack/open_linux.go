// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	ownNamespace  = "/proc/thread-self/ns/net"
	hostNamespace = "/proc/1/ns/net"
)

// Open opens the table of the host's network namespace, where the packets of pods are translated. If that namespace is unknown
// or cannot be entered, it opens the process's own, which is the same for a process on the host's network.
//
// The error names what is missing: CAP_NET_ADMIN, or the kernel's modules.
func Open(logger *zap.Logger) (*Table, error) {
	if !elsewhere() {
		return open(0, logger)
	}
	t, err := OpenAt(hostNamespace, logger)
	if err == nil {
		return t, nil
	}
	logger.Warn("cannot enter the host's network namespace to query its connection tracking; the receiver's own one is queried: "+
		"run it on the host's network (hostNetwork: true)", zap.Error(err))
	return open(0, logger)
}

// OpenAt is Open with the file of a network namespace. Entering one needs CAP_SYS_ADMIN.
func OpenAt(namespace string, logger *zap.Logger) (*Table, error) {
	file, err := os.Open(namespace) // #nosec G304 -- the caller's choice
	if err != nil {
		return nil, err
	}
	t, err := open(int(file.Fd()), logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("in %s: %w", namespace, err), file.Close())
	}
	t.namespace = file // the table may need another socket later
	return t, nil
}

// open takes the descriptor of a network namespace; 0 is that of the process.
func open(namespace int, logger *zap.Logger) (*Table, error) {
	t, err := newTable(func() (conn, error) {
		return netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: namespace})
	}, logger)
	switch {
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("%w: it needs CAP_NET_ADMIN", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("%w: the kernel needs the modules nf_conntrack and nf_conntrack_netlink", err)
	}
	return t, err
}

// elsewhere returns true if the process is certainly not in the host's network namespace.
func elsewhere() bool {
	own, err := os.Stat(ownNamespace)
	if err != nil {
		return false
	}
	host, err := os.Stat(hostNamespace)
	return err == nil && !os.SameFile(own, host)
}
