// SPDX-License-Identifier: Apache-2.0

package kmeshdirectoryextension

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"google.golang.org/grpc"

	"github.com/kmesh-net/otelcol-kmesh/internal/directory"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
)

const (
	// readyInterval is how often the directory looks whether the cluster is watched again.
	readyInterval = 100 * time.Millisecond
	// retain is how long the index knows what is gone: agents keep that themselves.
	retain = 10 * time.Second
	// answerWithin bounds the end of the streams at shutdown.
	answerWithin = time.Second
)

// directoryExtension watches a cluster with the code of the source `kubernetes`, and serves it to agents.
type directoryExtension struct {
	config   *Config
	settings component.TelemetrySettings

	source    *kubernetes.Source
	server    *directory.Server
	grpc      *grpc.Server
	address   string // where it listens
	telemetry *telemetry
	stop      context.CancelFunc
	done      sync.WaitGroup

	mu     sync.Mutex
	failed bool // the source has reported an error, and not yet that it is in sync again
}

// Start listens, and begins to watch the cluster. It does not wait for the API server: agents are sent away until that has
// sent everything.
func (e *directoryExtension) Start(ctx context.Context, host component.Host) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Shutdown(ctx))
		}
	}()
	e.source, err = kubernetes.New(&e.config.Kubernetes, identity.SourceSettings{
		Retain: retain, Logger: e.settings.Logger, OnStatus: func(err error) { e.status(host, err) },
	})
	if err != nil {
		return here(err)
	}
	e.server = directory.New(e.source.Index(), directory.Bounds{Subscriptions: e.config.MaxAddresses}, e.settings.Logger)
	if e.telemetry, err = newTelemetry(e.settings, e); err != nil {
		return err
	}
	server, err := e.config.ToServer(ctx, host.GetExtensions(), e.settings)
	if err != nil {
		return err
	}
	discovery.RegisterAggregatedDiscoveryServiceServer(server, e.server)
	listener, err := e.config.NetAddr.Listen(ctx)
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	e.grpc, e.address = server, listener.Addr().String()
	background, stop := context.WithCancel(context.Background()) // Start's own context may end with Start
	e.stop = stop
	e.done.Go(func() {
		if err := server.Serve(listener); err != nil {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	})
	if err := e.source.Start(background); err != nil {
		return err
	}
	e.done.Go(func() { e.watch(background) })
	return nil
}

// status takes what the source reports: an error, or nil when it is in sync again.
func (e *directoryExtension) status(host component.Host, err error) {
	e.mu.Lock()
	e.failed = err != nil
	e.mu.Unlock()
	if err != nil {
		e.server.Serve(false)
		componentstatus.ReportStatus(host, componentstatus.NewRecoverableErrorEvent(here(err)))
		return
	}
	componentstatus.ReportStatus(host, componentstatus.NewEvent(componentstatus.StatusOK))
}

// watch takes agents when the cluster is watched.
func (e *directoryExtension) watch(ctx context.Context) {
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for {
		e.mu.Lock()
		failed := e.failed
		e.mu.Unlock()
		if !failed && e.source.InSync() {
			e.server.Serve(true)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Shutdown sends the agents away, which go to another directory. It may be called without Start, and twice.
func (e *directoryExtension) Shutdown(ctx context.Context) error {
	if e.server != nil {
		e.server.Close()
	}
	if e.grpc != nil {
		e.stopServer(ctx)
	}
	if e.stop != nil {
		e.stop()
	}
	var err error
	if e.source != nil {
		err = e.source.Close()
	}
	e.done.Wait()
	if e.telemetry != nil {
		e.telemetry.shutdown()
		e.telemetry = nil
	}
	return err
}

// stopServer lets the streams end with their status, so that agents see why, for a moment.
func (e *directoryExtension) stopServer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		e.grpc.GracefulStop()
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		e.grpc.Stop()
		<-stopped
	}
	e.grpc = nil
}
