// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"io"
	"net/netip"
	"time"
	"unique"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity/interfaces"
)

// Source names the ends of connections, from Start until Close.
type Source interface {
	Resolver
	// Start must not keep its context: background work goes on until Close.
	Start(context.Context) error
	// Close may be called without Start, and twice.
	Close() error
	// Named returns whether a workload has the names, or had them within retain. A source that does not list its workloads
	// returns true.
	Named(names unique.Handle[Names]) bool
	Held() Held
	// InSync is true while the source knows the present state of what it reads.
	InSync() bool
}

// SourceConfig is the section of the configuration that one source owns, with its defaults.
type SourceConfig interface {
	// Validate reports everything that is wrong, each with its key and the remedy.
	Validate() error
	Capabilities() Capabilities
	// NewSource makes a source of this configuration, which does nothing before Start.
	NewSource(SourceSettings) (Source, error)
}

// FilesConfig is a configuration that names files.
type FilesConfig interface {
	// CheckFiles reports those that are not there, each with its key and the remedy.
	CheckFiles() error
}

// Capabilities are what a source knows.
type Capabilities struct {
	Services  bool // it knows services, and which workloads are behind them
	Processes bool // it names the process at an end
	Cgroups   bool // it distinguishes pods at one address by the cgroup at an end
	Lists     bool // it lists its workloads: see Source.Named
}

// SourceSettings are what every source gets, whatever its own configuration.
type SourceSettings struct {
	HostName string
	NodeName string        // of the Kubernetes node; empty: unknown
	Retain   time.Duration // how long a removed workload still answers for its last connections
	Settle   time.Duration // how long a record waits for an answer that is settled
	// Spread is the time over which agents that start together come to a server that all of them ask.
	Spread time.Duration
	Logger *zap.Logger // nil: none
	// OnStatus gets the error when the source loses sync, and nil when it is in sync again. It is called from another
	// goroutine, and on changes only. nil: nobody.
	OnStatus func(error)
	// OpenLocator opens what finds the pod of a cgroup. The source that calls it closes what it returns, which is nil where
	// nothing can be found. nil: as if it returned nil.
	OpenLocator func() LocatorCloser
	// Interfaces returns the addresses of the network namespace that this process is in. nil: those that the kernel reports.
	Interfaces func() ([]netip.Addr, error)
}

// Queue is a source that knows how many changes of identities it has received and does not use yet.
type Queue interface{ Behind() int }

// LocatorCloser is a Locator that works until it is closed.
type LocatorCloser interface {
	Locator
	io.Closer
}

// WithDefaults returns the settings with something to call in place of every nil.
func (s SourceSettings) WithDefaults() SourceSettings {
	if s.Logger == nil {
		s.Logger = zap.NewNop()
	}
	if s.OnStatus == nil {
		s.OnStatus = func(error) {}
	}
	if s.OpenLocator == nil {
		s.OpenLocator = func() LocatorCloser { return nil }
	}
	if s.Interfaces == nil {
		s.Interfaces = interfaces.Own
	}
	return s
}
