// SPDX-License-Identifier: Apache-2.0

package live

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/graph"
)

// drawings is a source whose drawings the test sets, and counts.
type drawings struct {
	drawn atomic.Pointer[graph.Drawn]
	count atomic.Int64
}

func (d *drawings) Draw() *graph.Drawn {
	d.count.Add(1)
	return d.drawn.Load()
}

func node(id uint32) graph.Node { return graph.Node{ID: id, Kind: graph.KindWorkload} }

func link(from, to uint32, sent float64) graph.Link {
	return graph.Link{LinkID: graph.LinkID{From: from, To: to, Kind: graph.LinkDirect}, Sent: sent}
}

func newFeed(t *testing.T, viewers int) (*Feed, *drawings, chan time.Time) {
	d := &drawings{}
	d.drawn.Store(&graph.Drawn{Nodes: []graph.Node{node(1), node(2)}, Links: []graph.Link{link(1, 2, 5)}})
	ticks := make(chan time.Time)
	f := NewFeed(Settings{Source: d, MaxViewers: viewers, Window: 5 * time.Minute, Ticks: ticks})
	t.Cleanup(f.Close)
	return f, d, ticks
}

func read(t *testing.T, v *Viewer) (name string, e Event) {
	t.Helper()
	select {
	case text, ok := <-v.Events():
		require.True(t, ok, "the viewer was dropped")
		lines := strings.Split(string(text), "\n")
		require.Len(t, lines, 4)
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(lines[1], "data: ")), &e))
		return strings.TrimPrefix(lines[0], "event: "), e
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	return "", e
}

func TestAViewerGetsASnapshotAndThenDifferencesOnly(t *testing.T) {
	f, d, ticks := newFeed(t, 2)
	v, err := f.Join()
	require.NoError(t, err)
	name, e := read(t, v)
	assert.Equal(t, "snapshot", name)
	assert.Len(t, e.Nodes, 2)
	assert.Len(t, e.Links, 1)
	assert.Equal(t, 300, e.Window)

	d.drawn.Store(&graph.Drawn{Nodes: []graph.Node{node(1), node(2), node(3)}, Links: []graph.Link{link(1, 2, 5), link(1, 3, 1)}})
	ticks <- time.Time{}
	name, e = read(t, v)
	assert.Equal(t, "update", name)
	assert.Equal(t, []graph.Node{node(3)}, e.Nodes)
	assert.Equal(t, []graph.Link{link(1, 3, 1)}, e.Links)

	d.drawn.Store(&graph.Drawn{Nodes: []graph.Node{node(1), node(3)}, Links: []graph.Link{link(1, 3, 2)}})
	ticks <- time.Time{}
	_, e = read(t, v)
	assert.Empty(t, e.Nodes)
	assert.Equal(t, []graph.Link{link(1, 3, 2)}, e.Links)
	assert.Equal(t, []uint32{2}, e.GoneNodes)
	assert.Equal(t, []graph.LinkID{{From: 1, To: 2, Kind: graph.LinkDirect}}, e.GoneLinks)
}

func TestNothingIsDrawnWithoutAViewer(t *testing.T) {
	f, d, _ := newFeed(t, 2)
	assert.Zero(t, d.count.Load())
	v, err := f.Join()
	require.NoError(t, err)
	assert.Equal(t, int64(1), d.count.Load())
	v.Leave()
	v.Leave()
	f.running.Wait() // the drawing ended with its last viewer
	assert.Equal(t, int64(1), d.count.Load())
}

func TestASlowViewerIsDroppedAndOthersAreNot(t *testing.T) {
	f, _, ticks := newFeed(t, 2)
	slow, err := f.Join()
	require.NoError(t, err)
	other, err := f.Join()
	require.NoError(t, err)
	read(t, other)
	for range queued { // with the snapshot that it did not read, one too many
		ticks <- time.Time{}
		read(t, other)
	}
	require.Eventually(t, func() bool { return f.Counts() == Counts{Viewers: 1, Slow: 1} }, 10*time.Second, time.Millisecond)
	for range queued {
		_, ok := <-slow.Events()
		require.True(t, ok, "what was queued can be read")
	}
	_, ok := <-slow.Events()
	assert.False(t, ok)
}

func TestViewersAreBounded(t *testing.T) {
	f, _, _ := newFeed(t, 1)
	v, err := f.Join()
	require.NoError(t, err)
	_, err = f.Join()
	require.ErrorIs(t, err, ErrFull)
	assert.Equal(t, Counts{Viewers: 1, Refused: 1}, f.Counts())
	v.Leave()
	_, err = f.Join()
	require.NoError(t, err)
	f.Close()
	_, err = f.Join()
	require.ErrorIs(t, err, ErrClosed)
}
