// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

var (
	client  = netip.MustParseAddrPort("10.244.0.10:51842")
	service = netip.MustParseAddrPort("10.96.5.5:8000")
	pod     = netip.MustParseAddrPort("10.244.0.11:80")
)

// kernel answers as a test wants.
type kernel struct {
	to     netip.AddrPort // invalid: no entry
	from   netip.AddrPort // of the first packet that it saw; invalid: the answer does not say
	err    error
	asked  int
	dialed int
	closed int
}

func (k *kernel) dial() (conn, error) {
	k.dialed++
	return k, nil
}

func (k *kernel) Execute(netlink.Message) ([]netlink.Message, error) {
	k.asked++
	switch {
	case k.err != nil:
		return nil, k.err
	case !k.to.IsValid():
		return nil, &netlink.OpError{Op: "receive", Err: syscall.ENOENT}
	}
	m := entry(k.to)
	if k.from.IsValid() {
		first, err := request(k.from, client)
		if err != nil {
			return nil, err
		}
		m.Data = append(m.Data, first.Data[headerSize:]...)
	}
	return []netlink.Message{m}, nil
}

func (k *kernel) SetDeadline(time.Time) error { return nil }

func (k *kernel) Close() error {
	k.closed++
	return nil
}

// entry is an answer of the kernel about a connection that the address answers to: a request has the same layout but
// for the number of the outermost attribute.
func entry(from netip.AddrPort) netlink.Message {
	m, err := request(from, netip.AddrPortFrom(from.Addr(), 1))
	if err != nil {
		panic(err)
	}
	m.Data[headerSize+2] = attrTupleReply // after the attribute's length, in a little-endian machine's order
	return m
}

// table returns one with a kernel that has the entry, and the log of its warnings.
func table(t *testing.T, k *kernel) (*Table, *observer.ObservedLogs, *time.Time) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	made, err := newTable(k.dial, zap.New(core))
	require.NoError(t, err)
	now := time.Now()
	made.now = func() time.Time { return now }
	k.asked = 0
	t.Cleanup(func() {
		require.NoError(t, made.Close())
		require.Equal(t, k.dialed, k.closed)
	})
	return made, logs, &now
}

func TestAConnectionIsAskedAboutOnce(t *testing.T) {
	k := &kernel{to: pod}
	x, _, _ := table(t, k)
	for range 3 {
		to, ok := x.Translate(7, client, service)
		require.True(t, ok)
		require.Equal(t, pod, to)
		k.to = netip.AddrPort{} // its entry is gone meanwhile
	}
	require.Equal(t, 1, k.asked)
	_, ok := x.Translate(8, client, service)
	require.False(t, ok, "another connection of the same addresses")
	require.Equal(t, Stats{Asked: 2, Missed: 1}, x.Stats())
}

func TestWhatIsNotTranslatedIsAskedAboutOnceToo(t *testing.T) {
	for name, to := range map[string]netip.AddrPort{"no entry": {}, "no NAT": service} {
		t.Run(name, func(t *testing.T) {
			k := &kernel{to: to}
			x, _, _ := table(t, k)
			for range 3 {
				_, ok := x.Translate(7, client, service)
				require.False(t, ok)
			}
			require.Equal(t, 1, k.asked)
		})
	}
}

func TestQuestionsAreBounded(t *testing.T) {
	k := &kernel{to: pod}
	x, _, now := table(t, k)
	for end := range uint64(10_000) {
		x.Translate(end+1, client, service)
	}
	require.Equal(t, questionsAtOnce, k.asked)
	require.Equal(t, uint64(10_000-questionsAtOnce), x.Stats().Refused)

	*now = now.Add(100 * time.Millisecond)
	to, ok := x.Translate(9_999, client, service)
	require.True(t, ok, "what was refused can be asked again")
	require.Equal(t, pod, to)
}

func TestAnEntryOfTheRepliesTranslatesNothing(t *testing.T) {
	// The node sees only what the pod answers, and takes that for a connection from the pod to the client.
	k := &kernel{from: pod, to: client}
	x, _, _ := table(t, k)
	_, ok := x.Translate(7, client, pod)
	require.False(t, ok)
}

func TestAfterAFailureNothingIsAskedForAWhile(t *testing.T) {
	k := &kernel{to: pod}
	x, logs, now := table(t, k)
	for _, k.err = range []error{os.ErrDeadlineExceeded, unix.ENOBUFS} {
		for range 3 {
			_, ok := x.Translate(7, client, service)
			require.False(t, ok)
		}
		*now = now.Add(pause)
	}
	require.Equal(t, 2, k.asked)
	require.Equal(t, 1, logs.Len(), "one warning")
	require.Equal(t, Stats{Asked: 2, Failed: 2, Refused: 4}, x.Stats())

	k.err = nil
	_, ok := x.Translate(7, client, service)
	require.True(t, ok)
	require.Equal(t, 3, k.dialed, "no answer that came late is taken for another's")
}

func TestOpeningTellsWhatTheKernelRefuses(t *testing.T) {
	k := &kernel{err: unix.EPERM}
	_, err := newTable(k.dial, zap.NewNop())
	require.ErrorIs(t, err, unix.EPERM)
	require.Equal(t, 1, k.closed)

	_, err = newTable(func() (conn, error) { return nil, errors.New("no socket") }, zap.NewNop())
	require.ErrorContains(t, err, "no socket")
}

func TestAddressesOfTwoFamiliesAreNoQuestion(t *testing.T) {
	_, err := request(client, netip.MustParseAddrPort("[fd00::1]:80"))
	require.Error(t, err)
}

func TestAnAnswerThatIsNoEntryIsAnError(t *testing.T) {
	whole := entry(pod).Data
	for n := range whole {
		m := netlink.Message{Data: whole[:n]}
		_, to, err := sources([]netlink.Message{m})
		require.Error(t, err, "%d bytes were taken for %s", n, to)
	}
	_, _, err := sources(nil)
	require.Error(t, err)
}
