//go:build linux && (amd64 || arm64)

package kmeshreceiver

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/component/componentstatus"
)

func TestHealthIsToldOnChangeOnly(t *testing.T) {
	var h health
	host := newHost()
	h.add(host)
	reading := h.part("reading")
	reading(nil)
	assert.Empty(t, host.told(), "it was well before")
	reading(errors.New("first"))
	reading(errors.New("first"))
	assert.Equal(t, []string{"StatusRecoverableError: first"}, host.told())
	reading(errors.New("second"))
	reading(nil)
	reading(nil)
	assert.Equal(t, []string{"StatusRecoverableError: first", "StatusRecoverableError: second", "StatusOK"}, host.told())
}

func TestTheInstanceIsWellWhenAllItsPartsAre(t *testing.T) {
	var h health
	host := newHost()
	h.add(host)
	reading, source := h.part("reading"), h.part("identity")
	reading(errors.New("no ring"))
	source(errors.New("no file"))
	reading(nil)
	assert.Equal(t, []string{
		"StatusRecoverableError: no ring", "StatusRecoverableError: no file", "StatusRecoverableError: no file",
	}, host.told(), "what still ails is what is told")
	source(nil)
	assert.Equal(t, "StatusOK", host.told()[3])
	assert.Len(t, host.told(), 4)
}

func TestEveryHostIsToldALateOneThePresentHealth(t *testing.T) {
	var h health
	early, late, last := newHost(), newHost(), newHost()
	h.add(early)
	reading := h.part("reading")
	reading(errors.New("no ring"))
	h.add(late)
	assert.Equal(t, []string{"StatusRecoverableError: no ring"}, late.told())
	reading(nil)
	h.add(last)
	assert.Equal(t, []string{"StatusRecoverableError: no ring", "StatusOK"}, early.told())
	assert.Equal(t, early.told(), late.told())
	assert.Equal(t, []string{"StatusOK"}, last.told())
}

func TestAHostThatTakesNoHealthIsNoError(t *testing.T) {
	var h health
	h.add(newMdatagenNopHost())
	assert.NotPanics(t, func() { h.report(componentstatus.NewEvent(componentstatus.StatusOK)) })
}
