// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func TestWhatIsKnownIsInDoubtWhileNobodyWatches(t *testing.T) {
	var g watchGap
	g.begin(noon)
	require.False(t, g.covers(noon), "the first watch: nothing is known that could be wrong")
	g.end(after(100))
	require.False(t, g.covers(after(98.9)))
	require.True(t, g.covers(after(99)), "the watch may not have told it any more")
	require.True(t, g.covers(after(200)))
	require.False(t, g.tick(after(200)), "nobody watches")
	require.False(t, g.lasts(after(102.9)))
	require.True(t, g.lasts(after(103)))
	g.begin(after(300))
	require.False(t, g.lasts(after(301)))
	require.True(t, g.covers(after(200)), "the watch catches up")
	require.False(t, g.tick(after(301.9)))
	require.True(t, g.tick(after(302)))
	require.False(t, g.covers(after(200)))
	require.False(t, g.tick(after(303)), "told once")
}

func TestAWatchThatIsTakenUpAtOnceMissedNothing(t *testing.T) {
	var g watchGap
	g.end(after(100))
	g.begin(after(100.1))
	require.False(t, g.covers(after(100)))
	require.False(t, g.tick(after(200)))

	// Unless the one before had not caught up yet.
	g.end(after(300))
	g.begin(after(310))
	g.end(after(311))
	g.begin(after(311.1))
	require.True(t, g.covers(after(305)))
	require.True(t, g.tick(after(313.1)))
	require.False(t, g.covers(after(305)))
}

func TestAnAnswerCostsNoAllocation(t *testing.T) {
	r := newTestRegistry()
	r.setPod(testCluster.pod(podOf("p", "10.244.0.5")), true, noon)
	source := &Source{Resolver: r.index, gap: new(watchGap)}
	end := identity.End{Address: netip.MustParseAddrPort("10.244.0.5:80")}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if w, settled := source.Resolve(end, noon); w == nil || !settled {
			t.Error("nobody")
		}
	}))
}

// A pod is deleted, and its address given to another, while the watch of the pods is away.
func TestNothingIsCertainWhileThePodsCannotBeWatched(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, podOf("first", "10.244.0.5"))
	var away atomic.Bool
	var watches []watch.Interface // under the client's lock
	w.client.PrependWatchReactor("pods", func(a clienttesting.Action) (bool, watch.Interface, error) {
		if away.Load() {
			return true, nil, apierrors.NewInternalError(context.DeadlineExceeded)
		}
		opened, err := w.client.Tracker().Watch(a.GetResource(), "")
		watches = append(watches, opened)
		return true, opened, err
	})
	w.client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		if away.Load() {
			return true, nil, apierrors.NewInternalError(context.DeadlineExceeded)
		}
		return false, nil, nil
	})
	require.NoError(t, w.Start(ctx))
	require.Eventually(t, w.InSync, within, often)
	resolve := func(at time.Time) (string, bool) {
		p, settled := w.Resolve(identity.End{Address: netip.MustParseAddrPort("10.244.0.5:80")}, at)
		if p == nil {
			return "nobody", settled
		}
		return p.Name, settled
	}
	who, settled := resolve(time.Now())
	require.Equal(t, "first", who)
	require.True(t, settled)
	began := time.Now().Add(-10 * time.Second)

	away.Store(true)
	w.client.Lock()
	for _, opened := range watches {
		opened.Stop()
	}
	w.client.Unlock()
	require.Eventually(t, func() bool { return !w.InSync() }, within, often)
	require.Eventually(t, func() bool { _, settled := resolve(time.Now()); return !settled }, within, often)
	who, settled = resolve(began)
	require.Equal(t, "first", who)
	require.True(t, settled, "it began while everything was known")

	require.NoError(t, w.client.CoreV1().Pods("default").Delete(ctx, "first", metav1.DeleteOptions{}))
	w.do(w.client.CoreV1().Pods("default").Create(ctx, podOf("second", "10.244.0.5"), metav1.CreateOptions{}))
	generation := w.Generation()
	away.Store(false)
	w.becomes("10.244.0.5:80", "second")
	require.Eventually(t, func() bool { _, settled := resolve(time.Now()); return settled }, within, often)
	require.Greater(t, w.Generation(), generation+2, "what waited is tried again")
	require.True(t, w.InSync())
}
