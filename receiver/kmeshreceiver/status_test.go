// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/component/componentstatus"
)

// part sets the status of one part.
func part(s *status, name string) func(error) {
	return func(err error) { s.set(name, err) }
}

func TestTheStatusIsReportedOnChangeOnly(t *testing.T) {
	var h status
	host := newHost()
	h.add(host)
	reading := part(&h, "reading")
	reading(nil)
	assert.Empty(t, host.reported(), "it was OK before")
	reading(errors.New("first"))
	reading(errors.New("first"))
	assert.Equal(t, []string{"StatusRecoverableError: first"}, host.reported())
	reading(errors.New("second"))
	reading(nil)
	reading(nil)
	assert.Equal(t, []string{"StatusRecoverableError: first", "StatusRecoverableError: second", "StatusOK"}, host.reported())
}

func TestTheInstanceIsOKWhenAllItsPartsAre(t *testing.T) {
	var h status
	host := newHost()
	h.add(host)
	reading, source := part(&h, "reading"), part(&h, "identity")
	reading(errors.New("no ring"))
	source(errors.New("no file"))
	reading(nil)
	assert.Equal(t, []string{
		"StatusRecoverableError: no ring", "StatusRecoverableError: no file", "StatusRecoverableError: no file",
	}, host.reported(), "the error that is left is reported")
	source(nil)
	assert.Equal(t, "StatusOK", host.reported()[3])
	assert.Len(t, host.reported(), 4)
}

func TestEveryHostGetsTheStatusALateOneThePresentOne(t *testing.T) {
	var h status
	early, late, last := newHost(), newHost(), newHost()
	h.add(early)
	reading := part(&h, "reading")
	reading(errors.New("no ring"))
	h.add(late)
	assert.Equal(t, []string{"StatusRecoverableError: no ring"}, late.reported())
	reading(nil)
	h.add(last)
	assert.Equal(t, []string{"StatusRecoverableError: no ring", "StatusOK"}, early.reported())
	assert.Equal(t, early.reported(), late.reported())
	assert.Equal(t, []string{"StatusOK"}, last.reported())
}

func TestAHostThatTakesNoStatusIsNoError(t *testing.T) {
	var h status
	h.add(newMdatagenNopHost())
	assert.NotPanics(t, func() { h.report(componentstatus.NewEvent(componentstatus.StatusOK)) })
}

func TestEachChangeIsReportedOnce(t *testing.T) {
	var h status
	host := newHost()
	h.add(host)
	set := part(&h, "identity")
	for _, err := range []error{nil, errors.New("a"), errors.New("a"), errors.New("b"), nil, nil} {
		set(err)
	}
	assert.Equal(t, []string{"StatusRecoverableError: a", "StatusRecoverableError: b", "StatusOK"}, host.reported())
}
