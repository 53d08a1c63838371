// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

// A server that hangs is noticed within silence + pingTimeout, one that cannot be reached any more likewise. By itself the client
// needs 45 s, and connections of a pod that got an address meanwhile would be named after its former holder.
const (
	silence     = 3 * time.Second // after which the API server is pinged
	pingTimeout = 3 * time.Second
	dialTimeout = 5 * time.Second
)

// hearing notes when the API server last sent anything, be it the answer to a ping.
type hearing struct{ at atomic.Int64 }

func (h *hearing) last() time.Time {
	if ns := h.at.Load(); ns != 0 {
		return started.Add(time.Duration(ns))
	}
	return time.Time{}
}

// started is from when hearings are counted: a monotonic clock cannot be kept in one word.
var started = time.Now()

// heardConn is a connection of which it is noted.
type heardConn struct {
	net.Conn
	hearing *hearing
}

func (c heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.hearing.at.Store(int64(time.Since(started)))
	}
	return n, err
}

// transportOf is client-go's transport with another patience, which that has no setting for.
func transportOf(config *rest.Config, heard *hearing) (http.RoundTripper, error) {
	settings, err := config.TransportConfig()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := transport.TLSConfigFor(settings)
	if err != nil {
		return nil, err
	}
	dial := (&net.Dialer{Timeout: dialTimeout}).DialContext
	if settings.DialHolder != nil {
		dial = settings.DialHolder.Dial
	}
	proxy := http.ProxyFromEnvironment
	if config.Proxy != nil {
		proxy = config.Proxy
	}
	return transport.HTTPWrappersForConfig(settings, &http.Transport{
		Proxy: proxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return heardConn{conn, heard}, nil
		},
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: pingTimeout},
		DisableCompression:  config.DisableCompression,
		IdleConnTimeout:     time.Minute,
	})
}
