// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"sync/atomic"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// pods is a locator that knows nothing until a server has sent what the kubelet calls a pod: a directory does, istiod does not,
// and without it no process would be in a pod that is known.
type pods struct {
	identity.LocatorCloser
	named atomic.Bool
}

// Locate implements identity.Locator.
func (p *pods) Locate(process identity.Process, at time.Time) (identity.PodUID, identity.Place) {
	if !p.named.Load() {
		return identity.PodUID{}, identity.PlaceUnknown
	}
	return p.LocatorCloser.Locate(process, at)
}

// Present implements identity.Locator.
func (p *pods) Present(pod identity.PodUID, at time.Time) identity.Presence {
	if !p.named.Load() {
		return identity.PresenceUnknown
	}
	return p.LocatorCloser.Present(pod, at)
}

// openPods returns the locator of a source that asks for addresses; nil: only its address finds a pod.
func openPods(settings *identity.SourceSettings) *pods {
	locator := settings.OpenLocator()
	if locator == nil {
		return nil
	}
	return &pods{LocatorCloser: locator}
}
