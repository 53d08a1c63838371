// SPDX-License-Identifier: Apache-2.0

package kmeshmapexporter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/page"
)

// server serves the page.
type server struct {
	http    *http.Server
	address net.Addr
	running sync.WaitGroup
}

func serve(ctx context.Context, host component.Host, i *instance) (*server, error) {
	handler, err := page.New(i.graph, i.feed)
	if err != nil {
		return nil, err
	}
	config := i.config.ServerConfig
	s := &server{}
	if s.http, err = config.ToServer(ctx, host.GetExtensions(), i.settings.TelemetrySettings, handler); err != nil {
		return nil, err
	}
	listener, err := config.ToListener(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the map at %s, set endpoint to a free address: %w", config.NetAddr.Endpoint, err)
	}
	s.address = listener.Addr()
	scheme := "http"
	if config.TLS.HasValue() {
		scheme = "https"
	}
	i.settings.Logger.Info("the map is served", zap.String("url", scheme+"://"+s.address.String()+"/"))
	s.running.Go(func() {
		if err := s.http.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(fmt.Errorf("the map's server ended: %w", err)))
		}
	})
	return s, nil
}

func (s *server) shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.running.Wait()
	return err
}
