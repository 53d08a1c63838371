// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kmesh-net/otelcol-kmesh/internal/sink"
)

// How long an agent takes to stop: first it reads on while consumers are busy, then it hands over what is left.
const (
	drainTimeout    = 2 * time.Second
	handOverTimeout = 3 * time.Second
)

// resumeTimeout is how long an agent that lost one of its signals waits before it reads on. At the collector's end the
// other signals follow at once: what closes in between must not count for one of them only.
const resumeTimeout = time.Second

// lifecycle is the part of an agent that starts and stops it.
type lifecycle struct {
	mu      sync.Mutex
	stopped bool
	resume  *time.Timer // nil: no signal was lost

	cancel context.CancelFunc // nil: the loop does not run
	done   sync.WaitGroup
	readTo time.Time // when the loop ends at the latest; set before cancel
	handTo time.Time // when the last signal has handed over at the latest
	failed error     // of the loop's last reading
}

// Start begins to read, until Stop.
func (r *Agent) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sinks {
		s.Start()
	}
	r.read()
}

func (r *Agent) read() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.done.Go(func() { r.loop(ctx) })
}

// Stop ends the loop, hands over everything that was read, and closes the agent. It must follow Start.
//
// It takes drainTimeout, a reading and handOverTimeout at most, whatever the consumers do, and less if ctx ends earlier.
// What no consumer accepted by then is logged. It is no error: the collector would not go on with a new configuration.
func (r *Agent) Stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	err := r.halt(ctx)
	r.handOver(ctx, r.sinks...)
	return errors.Join(err, r.release(err))
}

// StopSignal hands over what is left of one signal; the agent goes on with the others.
func (r *Agent) StopSignal(ctx context.Context, name string) error {
	return r.lose(ctx, func() {
		at := slices.IndexFunc(r.sinks, func(s namedSink) bool { return s.signal == name })
		if at < 0 {
			return
		}
		one := r.sinks[at]
		r.handOver(ctx, one)
		r.earlier.Exported.Add(one.Stats().Series.Exported)
		r.namer.Remove(one.Sink)
		r.setSinks(slices.Delete(slices.Clone(r.sinks), at, at+1))
		r.sweepFirst = r.sweepFirst && r.needs.First
	})
}

// lose stops one signal while nothing is read, and reads on if no Stop follows.
func (r *Agent) lose(ctx context.Context, stop func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil
	}
	err := r.halt(ctx)
	stop()
	r.resume = time.AfterFunc(resumeTimeout, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.stopped && r.cancel == nil {
			r.read()
		}
	})
	return err
}

// halt ends the loop. All that was read until then is in the series and in the queue.
func (r *Agent) halt(ctx context.Context) error {
	if r.resume != nil {
		r.resume.Stop()
	}
	if r.cancel == nil {
		return nil // nothing was read since
	}
	now := time.Now()
	r.readTo = now.Add(drainTimeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(now)/2 < drainTimeout {
		r.readTo = now.Add(deadline.Sub(now) / 2)
	}
	r.cancel()
	r.done.Wait()
	r.cancel = nil
	now = time.Now()
	r.handTo = now.Add(handOverTimeout)
	err := errors.Join(
		r.probe.Read(now, r.add), // what closed while the loop ended
		r.collect(now, false),
	)
	r.namer.Drain(now)
	r.flush(now)
	return err
}

// ends returns whether the loop is over: it was stopped, and the consumers have what was read or took too long. Connections
// that close meanwhile are read.
func (r *Agent) ends(ctx context.Context, now time.Time, failed error) bool {
	if ctx.Err() == nil {
		return false
	}
	busy := slices.ContainsFunc(r.sinks, func(s namedSink) bool { return !s.Idle() })
	return failed != nil || !busy || !now.Before(r.readTo)
}

// handOver ends the deliveries of sinks at once: one whose consumer blocks must not take the others' time. Signals that stop
// one after the other share the time, too: the later ones delivered all the while.
func (r *Agent) handOver(ctx context.Context, sinks ...namedSink) {
	ctx, cancel := context.WithDeadline(ctx, r.handTo)
	defer cancel()
	lost := make([]*sink.Loss, len(sinks))
	var deliveries sync.WaitGroup
	for i, s := range sinks {
		deliveries.Go(func() { lost[i] = s.Shutdown(ctx) })
	}
	deliveries.Wait()
	r.observe()
	for _, l := range lost {
		if l != nil {
			r.logger.Warn(l.Message, append([]zap.Field{zap.Error(l.Err)}, l.Fields...)...)
		}
	}
}

// release gives the probe to the next agent of the process unless reading it failed, and closes the rest.
func (r *Agent) release(failed error) error {
	if r.keep == nil || failed != nil || r.failed != nil {
		return r.Close()
	}
	o := r.Observation()
	return errors.Join(r.closeAll(), r.keep(Audit{Exported: o.Exported(), Excluded: o.Excluded()}))
}

// Close frees the probe and the source of an agent that was not started, or whose loop has ended.
func (r *Agent) Close() error { return errors.Join(r.closeAll(), r.probe.Close()) }

func (r *Agent) closeAll() error {
	var errs []error
	for _, c := range r.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
