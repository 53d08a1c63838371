// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// Agents that start together do not list together.
func TestTheFirstListsAreSpread(t *testing.T) {
	const agents, spread = 100, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		begun := make([]atomic.Int64, agents)
		start := time.Now()
		for i := range agents {
			client := fake.NewClientset()
			client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
				begun[i].CompareAndSwap(0, int64(time.Since(start))+1)
				return false, nil, nil
			})
			s := newSource(NewDefaultConfig(), identity.SourceSettings{Spread: spread, Interfaces: noInterfaces}, client, neverReported)
			require.NoError(t, s.Start(t.Context()))
			defer func() { require.NoError(t, s.Close()) }()
		}
		time.Sleep(spread)
		synctest.Wait()
		tenths := map[int64]int{}
		for i := range begun {
			at := time.Duration(begun[i].Load())
			require.Positive(t, at, "nobody waits longer than that")
			tenths[int64(at/(spread/10))]++
		}
		require.Greater(t, len(tenths), 5)
		for _, n := range tenths {
			require.Less(t, n, agents/2)
		}
	})
}
