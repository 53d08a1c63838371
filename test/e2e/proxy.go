// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy stands between a client and a server, and can be a bad network.
type proxy struct {
	url      string // https
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	delay time.Duration
	open  map[net.Conn]struct{}
}

// startProxy passes everything on to the server at the URL until the test ends.
func startProxy(t testing.TB, server string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{
		url: "https://" + listener.Addr().String(), target: strings.TrimPrefix(server, "https://"),
		listener: listener, open: make(map[net.Conn]struct{}),
	}
	p.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.pass(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.setCut(true)
		p.running.Wait()
	})
	return p
}

// setCut ends all connections, and refuses new ones while it is true.
func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	for conn := range p.open {
		_ = conn.Close()
	}
	clear(p.open)
}

// setDelay delays what the server sends by so much.
func (p *proxy) setDelay(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

func (p *proxy) delayed() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay
}

// keep returns whether the connections may continue.
func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	for _, conn := range conns {
		p.open[conn] = struct{}{}
	}
	return true
}

func (p *proxy) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if !p.keep(client, server) {
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	p.back(client, server)
	_ = client.Close()
	up.Wait()
}

// back passes on what the server sends, each piece when its delay is over.
func (p *proxy) back(client io.Writer, server io.Reader) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	pieces := make(chan piece, 1000)
	var writing sync.WaitGroup
	writing.Go(func() {
		for next := range pieces {
			<-time.After(time.Until(next.due))
			_, _ = client.Write(next.bytes)
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if n > 0 {
			pieces <- piece{append([]byte(nil), buffer[:n]...), time.Now().Add(p.delayed())}
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	writing.Wait()
}
