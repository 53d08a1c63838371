// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"net"
	"net/http/httptest"
	"sync"
	"testing"
)

// freeze stops a server's connections once the channel is closed, as if the server were stopped.
func freeze(t *testing.T, server *httptest.Server) chan struct{} {
	t.Helper()
	frozen := make(chan struct{})
	server.Listener = freezing{server.Listener, frozen}
	return frozen
}

type freezing struct {
	net.Listener
	frozen <-chan struct{}
}

func (l freezing) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &freezingConn{Conn: conn, frozen: l.frozen, closed: make(chan struct{})}, nil
}

type freezingConn struct {
	net.Conn
	frozen <-chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (c *freezingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.frozen:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (c *freezingConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
