// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package livemap

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/test/testhost"
)

// applications run in the test hosts until the test ends.
type applications struct {
	t       testing.TB
	running sync.WaitGroup
	stop    chan struct{}
}

func newApplications(t testing.TB) *applications {
	a := &applications{t: t, stop: make(chan struct{})}
	t.Cleanup(func() {
		close(a.stop)
		a.running.Wait()
	})
	return a
}

// serve answers each request with as many bytes as its first eight say.
func (a *applications) serve(host *testhost.Host, address string) {
	a.t.Helper()
	var listener net.Listener
	var err error
	host.Do(func() { listener, err = net.Listen("tcp", address) })
	require.NoError(a.t, err)
	a.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			a.running.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				var size, answer [8]byte
				if _, err := io.ReadFull(conn, size[:]); err != nil {
					return
				}
				if _, err := io.ReadFull(conn, answer[:]); err != nil {
					return
				}
				if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint64(size[:]))-16); err != nil {
					return
				}
				_, _ = conn.Write(make([]byte, binary.BigEndian.Uint64(answer[:])))
			})
		}
	})
	a.running.Go(func() {
		<-a.stop
		_ = listener.Close()
	})
}

// counted is what a client counted.
type counted struct{ sent, received, opened, failed atomic.Int64 }

// call makes a connection so often, each with a request and an answer of these sizes.
func (a *applications) call(host *testhost.Host, address string, every time.Duration, request, answer int) *counted {
	c := &counted{}
	a.running.Go(func() {
		host.Do(func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for {
				select {
				case <-a.stop:
					return
				case <-ticker.C:
					a.exchange(address, request, answer, c)
				}
			}
		})
	})
	return c
}

func (a *applications) exchange(address string, request, answer int, c *counted) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		c.failed.Add(1)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	body := make([]byte, max(request, 16))
	binary.BigEndian.PutUint64(body, uint64(len(body)))
	binary.BigEndian.PutUint64(body[8:], uint64(answer))
	n, err := conn.Write(body)
	c.sent.Add(int64(n))
	if err != nil {
		a.t.Errorf("write to %s: %v", address, err)
		return
	}
	got, err := io.Copy(io.Discard, conn)
	c.received.Add(got)
	c.opened.Add(1)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		a.t.Errorf("read from %s: %v", address, err)
	}
}

// hosts are the shop of testdata/map/identity.yaml.
func hosts(t testing.TB) map[string]*testhost.Host {
	network := testhost.NewNetwork(t)
	all := make(map[string]*testhost.Host)
	for name, address := range addresses {
		all[name] = network.Host(name, address+"/24")
	}
	return all
}

var addresses = map[string]string{
	"gateway": "10.244.9.10", "frontend": "10.244.9.11", "catalog": "10.244.9.12", "cart": "10.244.9.13", "checkout": "10.244.9.14",
	"payments": "10.244.9.15", "ledger": "10.244.9.16", "mail": "10.244.9.17", "redis": "10.244.9.18", "postgres": "10.244.9.19",
	"prometheus": "10.244.9.20", "hostile": "10.244.9.21",
}

// startShop has the shop's applications talk. Nobody listens at the payments' second port.
// Others call the frontend, too.
func startShop(t testing.TB, others ...string) map[string]*counted {
	h, a := hosts(t), newApplications(t)
	port := map[string]string{
		"frontend": ":8080", "catalog": ":8080", "cart": ":8080", "checkout": ":8080", "payments": ":8443", "ledger": ":8080",
		"mail": ":25", "redis": ":6379", "postgres": ":5432",
	}
	for name, p := range port {
		a.serve(h[name], addresses[name]+p)
	}
	to := func(name string) string { return addresses[name] + port[name] }
	all := make(map[string]*counted)
	for _, c := range []struct {
		from, to        string
		every           time.Duration
		request, answer int
	}{
		{"gateway", "frontend", 50 * time.Millisecond, 400, 24_000},
		{"frontend", "catalog", 50 * time.Millisecond, 300, 9_000},
		{"frontend", "cart", 100 * time.Millisecond, 200, 900},
		{"frontend", "checkout", 200 * time.Millisecond, 300, 700},
		{"checkout", "payments", 200 * time.Millisecond, 500, 400},
		{"checkout", "cart", 200 * time.Millisecond, 100, 900},
		{"checkout", "mail", 500 * time.Millisecond, 2_000, 40},
		{"cart", "redis", 50 * time.Millisecond, 600, 1_000},
		{"catalog", "postgres", 50 * time.Millisecond, 1_500, 80_000},
		{"payments", "ledger", 250 * time.Millisecond, 800, 300},
		{"ledger", "postgres", 250 * time.Millisecond, 2_000, 3_000},
		{"prometheus", "frontend", time.Second, 150, 30_000},
	} {
		all[c.from+">"+c.to] = a.call(h[c.from], to(c.to), c.every, c.request, c.answer)
	}
	for _, other := range others {
		a.call(h[other], to("frontend"), 500*time.Millisecond, 64, 128)
	}
	// The connects that fail are to a port of the same workload.
	all["checkout!payments"] = a.call(h["checkout"], addresses["payments"]+":8444", 250*time.Millisecond, 0, 0)
	return all
}
