// SPDX-License-Identifier: Apache-2.0

package live

import (
	"errors"
	"sync"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/exporter/kmeshmapexporter/internal/graph"
)

const (
	interval = time.Second
	// queued is how many events a viewer may be behind before it is dropped.
	queued = 8
)

// Reasons why a viewer gets no events.
var (
	ErrFull   = errors.New("too many viewers")
	ErrClosed = errors.New("the exporter stops")
)

// Source is what is drawn.
type Source interface {
	Draw() *graph.Drawn
}

// Settings of a Feed.
type Settings struct {
	Source     Source
	MaxViewers int
	Window     time.Duration
	// Ticks, if set, stand in for a clock.
	Ticks <-chan time.Time
}

// Feed makes the events. It draws while there are viewers.
type Feed struct {
	settings Settings

	mu      sync.Mutex
	viewers map[*Viewer]struct{}
	last    *graph.Drawn // what all viewers have
	stop    chan struct{}
	closed  bool
	running sync.WaitGroup

	slow, refused uint64
}

// Viewer is one who gets the events.
type Viewer struct {
	feed   *Feed
	events chan []byte
}

// NewFeed makes a Feed without viewers.
func NewFeed(settings Settings) *Feed {
	return &Feed{settings: settings, viewers: make(map[*Viewer]struct{})}
}

func (f *Feed) window() int { return int(f.settings.Window.Seconds()) }

// Join adds a viewer, whose first event is a snapshot.
func (f *Feed) Join() (*Viewer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, ErrClosed
	case len(f.viewers) >= f.settings.MaxViewers:
		f.refused++
		return nil, ErrFull
	}
	if len(f.viewers) == 0 {
		f.last = f.settings.Source.Draw()
		f.stop = make(chan struct{})
		stop := f.stop
		f.running.Go(func() { f.run(stop) })
	}
	v := &Viewer{feed: f, events: make(chan []byte, queued)}
	first := snapshot(f.last, f.window())
	v.events <- encode("snapshot", &first)
	f.viewers[v] = struct{}{}
	return v, nil
}

// Events end when the viewer is dropped, or the feed is closed.
func (v *Viewer) Events() <-chan []byte { return v.events }

// Leave ends a viewer. It is safe after the events ended.
func (v *Viewer) Leave() {
	v.feed.mu.Lock()
	defer v.feed.mu.Unlock()
	v.feed.remove(v)
}

func (f *Feed) remove(v *Viewer) {
	if _, ok := f.viewers[v]; !ok {
		return
	}
	delete(f.viewers, v)
	close(v.events)
	if len(f.viewers) == 0 {
		close(f.stop)
		f.last = nil
	}
}

func (f *Feed) run(stop <-chan struct{}) {
	ticks := f.settings.Ticks
	if ticks == nil {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case <-stop:
			return
		case <-ticks:
			f.send(stop)
		}
	}
}

// send draws the graph and gives every viewer what changed. One that did not read the events before is dropped: after a
// missed event the later ones mean nothing to it.
func (f *Feed) send(stop <-chan struct{}) {
	drawn := f.settings.Source.Draw()
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-stop: // the last viewer left meanwhile, and others may have come
		return
	default:
	}
	changed := difference(f.last, drawn, f.window())
	f.last = drawn
	event := encode("update", &changed)
	for v := range f.viewers {
		select {
		case v.events <- event:
		default:
			f.slow++
			f.remove(v)
		}
	}
}

// Close ends all viewers.
func (f *Feed) Close() {
	f.mu.Lock()
	f.closed = true
	for v := range f.viewers {
		f.remove(v)
	}
	f.mu.Unlock()
	f.running.Wait()
}

// Counts are what became of viewers.
type Counts struct {
	Viewers       int
	Slow, Refused uint64
}

// Counts gives how many viewers there are, and how many were sent away.
func (f *Feed) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Counts{Viewers: len(f.viewers), Slow: f.slow, Refused: f.refused}
}

// Slow counts a viewer whose connection took no data in time.
func (v *Viewer) Slow() {
	v.feed.mu.Lock()
	defer v.feed.mu.Unlock()
	v.feed.slow++
	v.feed.remove(v)
}

// Snapshot is the whole graph, drawn now.
func (f *Feed) Snapshot() Event { return snapshot(f.settings.Source.Draw(), f.window()) }
