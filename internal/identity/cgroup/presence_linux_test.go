// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

func TestWhetherAPodIsHere(t *testing.T) {
	tree := forest(t)
	pod, folder := uidOf(t, dashed), "kubepods/burstable/pod"+dashed
	events := filepath.Join(tree.root, folder, "cgroup.events")
	begin := time.Now()
	after := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	require.NoError(t, tree.walk(begin))
	require.Equal(t, identity.PresenceUnknown, tree.Present(pod, begin))

	tree.grow(t, folder+"/container")
	require.NoError(t, os.WriteFile(events, []byte("populated 1\nfrozen 0\n"), 0o600))
	require.NoError(t, tree.walk(after(1)))
	require.Equal(t, identity.PresenceHere, tree.Present(pod, after(1)))
	require.Empty(t, tree.wake)
	require.Equal(t, identity.PresenceSought, tree.Present(pod, after(2)), "it may have gone since the walk")
	require.Len(t, tree.wake, 1)
	before := tree.Generation()
	require.NoError(t, tree.walk(after(2)))
	require.Greater(t, tree.Generation(), before, "records that wait are tried again")
	require.Equal(t, identity.PresenceHere, tree.Present(pod, after(2)))

	// A kubelet leaves the folder for some seconds after the last process.
	require.NoError(t, os.WriteFile(events, []byte("populated 0\nfrozen 0\n"), 0o600))
	require.NoError(t, tree.walk(after(3)))
	require.Equal(t, identity.PresenceHere, tree.Present(pod, after(2)))
	require.Equal(t, identity.PresenceGone, tree.Present(pod, after(3)))
	require.NoError(t, os.RemoveAll(filepath.Join(tree.root, folder)))
	require.NoError(t, tree.walk(after(4)))
	require.Equal(t, identity.PresenceGone, tree.Present(pod, after(4)))
	require.NoError(t, tree.walk(after(3).Add(remember)))
	require.Equal(t, identity.PresenceUnknown, tree.Present(pod, after(5)), "it is forgotten")
}
