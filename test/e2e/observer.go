// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity/kubernetes"
)

// observer is the source kubernetes by itself, with what it reported of its status.
type observer struct {
	*kubernetes.Source
	t testing.TB

	mu    sync.Mutex
	heard []string
}

const inSync = "in sync"

// observe starts the source with $KUBECONFIG, until the test ends.
func observe(t testing.TB) *observer {
	t.Helper()
	o := &observer{t: t}
	config := kubernetes.NewDefaultConfig()
	config.AuthType = kubernetes.AuthKubeConfig
	source, err := kubernetes.New(config, identity.SourceSettings{
		Retain: time.Minute,
		OnStatus: func(err error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			if err == nil {
				o.heard = append(o.heard, inSync)
				return
			}
			o.heard = append(o.heard, err.Error())
		},
	})
	require.NoError(t, err)
	require.NoError(t, source.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, source.Close()) })
	o.Source = source
	return o
}

// last is the status that was reported last; empty: nothing yet.
func (o *observer) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.heard) == 0 {
		return ""
	}
	return o.heard[len(o.heard)-1]
}

// says waits until the status contains the text.
func (o *observer) says(words string) {
	o.t.Helper()
	require.EventuallyWithT(o.t, func(c *assert.CollectT) { require.Contains(c, o.last(), words) }, soon, 20*time.Millisecond)
}

// who had the address, and whether that is certain.
func (o *observer) who(address string, at time.Time) (pod string, settled bool) {
	w, settled := o.Resolve(identity.End{Address: netip.AddrPortFrom(netip.MustParseAddr(address), 80)}, at)
	if w == nil {
		return "nobody", settled
	}
	return w.Name, settled
}

// becomes waits until it is certain who had the address.
func (o *observer) becomes(address string, at time.Time, pod string) {
	o.t.Helper()
	require.Eventually(o.t, func() bool {
		who, settled := o.who(address, at)
		return settled && who == pod
	}, soon, 20*time.Millisecond, "%s should be %s", address, pod)
}
