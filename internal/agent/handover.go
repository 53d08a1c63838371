// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"reflect"
	"sync"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// keepTimeout is how long an open probe waits for the next agent. A collector that reloads its configuration starts one
// within a second or so; in one that ends, the kernel frees the probe with the process.
const keepTimeout = 30 * time.Second

// Handover keeps the open probe of an agent that stopped for the next agent of the process, so that a reload of the
// configuration loses no connection: the programs go on, and the rings hold what nobody reads meanwhile.
type Handover struct {
	mu   sync.Mutex
	kept *kept
}

// kept is an open probe without an agent.
type kept struct {
	probe   Probe
	options probe.Options
	earlier Audit
	expiry  *time.Timer
}

// Audit is what earlier agents did with the ends that the programs counted.
type Audit struct{ Exported, Excluded flow.Counters }

// handover is that of the process.
var handover Handover

// put keeps a probe. It closes one that nobody took.
func (h *Handover) put(p Probe, options probe.Options, earlier Audit) error {
	err := h.Close()
	k := &kept{probe: p, options: options, earlier: earlier}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = k
	k.expiry = time.AfterFunc(keepTimeout, func() { _ = h.expire(k) })
	return err
}

// take returns the probe that is kept if it was opened with the same options; nil otherwise. It closes any other, which
// would keep a new one from opening.
func (h *Handover) take(options probe.Options) (Probe, Audit, error) {
	h.mu.Lock()
	k := h.kept
	if k == nil || !reflect.DeepEqual(k.options, options) {
		h.mu.Unlock()
		return nil, Audit{}, h.Close()
	}
	h.kept = nil
	h.mu.Unlock()
	k.expiry.Stop()
	return k.probe, k.earlier, nil
}

// Close closes the probe that is kept, if there is one.
func (h *Handover) Close() error {
	h.mu.Lock()
	k := h.kept
	h.mu.Unlock()
	return h.expire(k)
}

// expire closes k unless it was taken.
func (h *Handover) expire(k *kept) error {
	h.mu.Lock()
	if k == nil || h.kept != k {
		h.mu.Unlock()
		return nil
	}
	h.kept = nil
	h.mu.Unlock()
	k.expiry.Stop()
	return k.probe.Close()
}
