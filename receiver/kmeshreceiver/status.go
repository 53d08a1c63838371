// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
)

// status reports an instance's status to the host of each signal, on changes only. The instance is OK when none of its parts
// (reading, the identity source, the next consumers) has an error.
type status struct {
	mu     sync.Mutex
	hosts  []component.Host
	last   *componentstatus.Event
	errors map[string]error // by part
}

// add adds a host, and reports the last event to it.
func (s *status) add(host component.Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts = append(s.hosts, host)
	if s.last != nil {
		componentstatus.ReportStatus(host, s.last)
	}
}

func (s *status) report(event *componentstatus.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reportLocked(event)
}

func (s *status) reportLocked(event *componentstatus.Event) {
	s.last = event
	for _, host := range s.hosts {
		componentstatus.ReportStatus(host, event)
	}
}

// set sets the error of a part of the instance; nil: the part works.
func (s *status) set(part string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.errors[part]; before == nil && err == nil || before != nil && err != nil && before.Error() == err.Error() {
		return
	}
	if err != nil {
		if s.errors == nil {
			s.errors = make(map[string]error)
		}
		s.errors[part] = err
		s.reportLocked(componentstatus.NewRecoverableErrorEvent(err))
		return
	}
	delete(s.errors, part)
	for _, other := range s.errors {
		s.reportLocked(componentstatus.NewRecoverableErrorEvent(other))
		return
	}
	s.reportLocked(componentstatus.NewEvent(componentstatus.StatusOK))
}
