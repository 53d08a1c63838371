// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// Two addresses: one that changes hands, and one that does not.
const (
	movingAddress = "10.244.8.20"
	steadyAddress = "10.244.8.21"
)

// soon is how long it may take to be in sync again; nearly all of it is the pause between two tries, which grows.
const soon = 2 * time.Minute

func movingPod(suffix string, since time.Time) *corev1.Pod {
	return ready(podOf("moving", "5c5944c58c", suffix, nil, movingAddress), since)
}

// TestKubernetesFaults makes a watch fail in every way that it can: known workloads stay known, and an address that is
// given on meanwhile is never certain to be the former holder's.
func TestKubernetesFaults(t *testing.T) {
	ctx := context.Background()
	c := newCluster(t)
	p := startProxy(t, c.url)
	kubeconfig, token := c.kubeconfigFor(t, "agent", p.url)
	require.NoError(t, os.WriteFile(token, []byte("not yet"), 0o600))
	t.Setenv("KUBECONFIG", kubeconfig)
	pods := c.client.CoreV1().Pods("default")

	o := observe(t) // before the API server is there
	require.False(t, o.InSync())
	c.startAPIServer(t)
	c.apply(t, "namespace.yaml")
	c.apply(t, "rbac.yaml")
	c.create(t, podOf("steady", "7656cf8794", "4fqx2", nil, steadyAddress))
	holder := movingPod("first", time.Now())
	c.create(t, holder)

	// back waits until all is in sync again, with the steady pod's name as it was.
	back := func(since time.Time) {
		t.Helper()
		require.Eventually(t, o.InSync, soon, 10*time.Millisecond)
		t.Logf("in sync %s after it could be", time.Since(since).Round(time.Millisecond))
		o.says(inSync)
		who, _ := o.who(steadyAddress, time.Now())
		require.Equal(t, "steady-7656cf8794-4fqx2", who)
	}
	// given gives the moving address to another pod, and gives a time before that and one after it.
	given := func(suffix string) (before, after time.Time) {
		t.Helper()
		before = time.Now()
		c.deletePod(t, holder.Name)
		holder = movingPod(suffix, time.Now().Add(time.Second))
		c.create(t, holder)
		return before, time.Now().Add(2100 * time.Millisecond) // the kubelet rounds to whole seconds
	}
	uncertain := func(former string) {
		t.Helper()
		require.Eventually(t, func() bool { _, settled := o.who(movingAddress, time.Now()); return !settled }, soon, 10*time.Millisecond)
		for address, name := range map[string]string{movingAddress: former, steadyAddress: "steady-7656cf8794-4fqx2"} {
			who, settled := o.who(address, time.Now())
			assert.Equal(t, name, who, "no identity is lost")
			assert.False(t, settled, "it may have been given on")
		}
	}

	t.Run("a token that comes late", func(t *testing.T) {
		o.says("rejects the collector's credentials")
		require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
		back(time.Now())
		o.becomes(movingAddress, time.Now(), holder.Name)
	})

	// What the API server knew of the past is gone with it: it answers 410 to who would watch on from there.
	t.Run("the API server is away and the address given on, then 410", func(t *testing.T) {
		former := holder.Name
		began := time.Now().Add(-2 * time.Second)
		p.setCut(true)
		o.says("cannot watch")
		uncertain(former)
		_, settled := o.who(movingAddress, began)
		require.True(t, settled, "it began while all was known")
		seen, err := pods.List(ctx, metav1.ListOptions{})
		require.NoError(t, err)
		before, after := given("second")
		c.apiServer.kill()
		c.apiServer.launch()
		requireGone(t, c, seen.ResourceVersion)
		var who string
		who, settled = o.who(movingAddress, after)
		require.Equal(t, former, who)
		require.False(t, settled)
		p.setCut(false)
		back(time.Now())
		o.becomes(movingAddress, after, holder.Name)
		o.becomes(movingAddress, before, "nobody") // when it was given on is not known
	})

	t.Run("a slow watch", func(t *testing.T) {
		const slow = 2 * time.Second
		former := holder.Name
		p.setDelay(slow)
		before := time.Now()
		c.deletePod(t, former)
		require.Eventually(t, func() bool { who, _ := o.who(movingAddress, time.Now()); return who == "nobody" }, soon, 10*time.Millisecond)
		require.Greater(t, time.Since(before), slow)
		since := time.Now()
		holder = movingPod("third", since)
		c.create(t, holder)
		at := time.Now()
		who, settled := o.who(movingAddress, at)
		require.Equal(t, "nobody", who)
		require.False(t, settled, "the word of it is on its way")
		o.becomes(movingAddress, at, holder.Name)
		require.Greater(t, time.Since(at), slow/2)
		o.becomes(movingAddress, before, former)
		p.setDelay(0)
		require.True(t, o.InSync())
	})

	t.Run("rights that are taken away", func(t *testing.T) {
		former := holder.Name
		bindings := c.client.RbacV1().ClusterRoleBindings()
		binding, err := bindings.Get(ctx, agentAccount, metav1.GetOptions{})
		require.NoError(t, err)
		require.NoError(t, bindings.Delete(ctx, agentAccount, metav1.DeleteOptions{}))
		// Watches that are there go on, and the API server takes a moment to know.
		require.Eventually(t, func() bool {
			p.setCut(false) // ends them
			return strings.Contains(o.last(), `does not allow to list pods: give the collector's service account a ClusterRole`)
		}, soon, time.Second)
		uncertain(former)
		before, after := given("fourth")
		binding.ResourceVersion = ""
		_, err = bindings.Create(ctx, binding, metav1.CreateOptions{})
		require.NoError(t, err)
		back(time.Now())
		o.becomes(movingAddress, after, holder.Name)
		o.becomes(movingAddress, before, "nobody") // when it was given on is not known
	})

	t.Run("a token that is revoked", func(t *testing.T) {
		former := holder.Name
		require.NoError(t, c.client.CoreV1().ServiceAccounts(agentNamespace).Delete(ctx, agentAccount, metav1.DeleteOptions{}))
		// The API server remembers for 10 s that it was valid; watches that are there go on.
		require.Eventually(t, func() bool {
			p.setCut(false) // ends them
			return strings.Contains(o.last(), "rejects the collector's credentials")
		}, soon, time.Second)
		uncertain(former)
		before, after := given("fifth")
		c.create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: agentAccount, Namespace: agentNamespace}})
		require.NoError(t, os.WriteFile(token, c.token(t, agentNamespace, agentAccount), 0o600))
		back(time.Now())
		o.becomes(movingAddress, after, holder.Name)
		o.becomes(movingAddress, before, "nobody") // when it was given on is not known
	})
}

// requireGone checks that the API server really answers 410 to who would watch on from that version.
func requireGone(t *testing.T, c *cluster, version string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w, err := c.client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{ResourceVersion: version})
	if err == nil {
		defer w.Stop()
		event := <-w.ResultChan()
		require.Equal(t, watch.Error, event.Type)
		err = apierrors.FromObject(event.Object)
	}
	require.True(t, apierrors.IsResourceExpired(err) || apierrors.IsGone(err), "%v", err)
}
