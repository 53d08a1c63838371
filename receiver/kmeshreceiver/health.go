//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
)

// health tells the collector how the instance fares: to each signal's host, and only
// when it changed. Each part of the instance (the reader, the source of identities,
// the downstream) has its own say; the instance is well when all are.
type health struct {
	mu    sync.Mutex
	hosts []component.Host
	last  *componentstatus.Event
	ails  map[string]error
}

func (h *health) add(host component.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts = append(h.hosts, host)
	if h.last != nil {
		componentstatus.ReportStatus(host, h.last)
	}
}

func (h *health) report(event *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell(event)
}

func (h *health) tell(event *componentstatus.Event) {
	h.last = event
	for _, host := range h.hosts {
		componentstatus.ReportStatus(host, event)
	}
}

// part gives the say of a part of the instance: an error, or nil once it is well.
func (h *health) part(name string) func(error) {
	return func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if before := h.ails[name]; before == nil && err == nil || before != nil && err != nil && before.Error() == err.Error() {
			return
		}
		if err != nil {
			if h.ails == nil {
				h.ails = make(map[string]error)
			}
			h.ails[name] = err
			h.tell(componentstatus.NewRecoverableErrorEvent(err))
			return
		}
		delete(h.ails, name)
		for _, other := range h.ails {
			h.tell(componentstatus.NewRecoverableErrorEvent(other))
			return
		}
		h.tell(componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

// watched is a consumer whose refusals show in the receiver's status.
type watched struct {
	consumer.Logs
	outcome func(error)
}

func (w watched) ConsumeLogs(ctx context.Context, logs plog.Logs) error {
	err := w.Logs.ConsumeLogs(ctx, logs)
	if ctx.Err() == nil { // else it was our own shutdown
		w.outcome(err)
	}
	return err
}
