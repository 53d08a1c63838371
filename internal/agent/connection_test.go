// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

func comm(name string) (c [16]uint8) {
	copy(c[:], name)
	return c
}

func TestARecordIsDecodedInTheContractsUnits(t *testing.T) {
	d := newDecoder()
	c := d.record(&probe.Record{
		Id: 7, Start: 1e9, Previous: 2e9, Now: 3_500_000_000, Cgroup: 9,
		Total:  probe.Counters{Opened: 1, Sent: 5 << 30, Received: 10, Retransmits: 3, Lost: 2},
		Delta:  probe.Counters{Opened: 1, Sent: 5 << 30, Received: ^uint64(0), Retransmits: 3, Lost: 2},
		SrttUs: 8 * 40515, MinRttUs: 33, Kind: probe.KindClosed, Direction: probe.Inbound, State: probe.LastACK,
		Process:   probe.Process{Pid: 42, Comm: comm("sixteen-letters!")},
		ClientIsn: 51, ServerIsn: 52, Connect: 53,
		Detail: probe.Detail{
			SndCwnd: 61, SndSsthresh: 62, Mss: 63, SegsIn: 64, SegsOut: 65, DataSegsIn: 66, DataSegsOut: 67,
			Delivered: 68, DeliveredCe: 69, DsackDups: 70, Reordering: 71, RateDelivered: 72, RateIntervalUs: 73, IcskRetransmits: 74,
		},
	}, probe.Clock{})
	assert.Equal(t, [2]uint32{51, 52}, [2]uint32{c.ClientISN, c.ServerISN})
	assert.Equal(t, 53*time.Nanosecond, c.Connect)
	assert.Equal(t, flow.NewTrace(51, 52), c.Trace)
	assert.Equal(t, flow.TCPInfo{
		SndCwnd: 61, SndSsthresh: 62, MSS: 63, SegsIn: 64, SegsOut: 65, DataSegsIn: 66, DataSegsOut: 67, Delivered: 68,
		DeliveredCE: 69, DSACKDups: 70, Reordering: 71, RateDelivered: 72, RateIntervalUs: 73, ICSKRetransmits: 74,
	}, c.TCPInfo)
	assert.Equal(t, flow.EventClosed, c.Event)
	assert.Equal(t, flow.Inbound, c.Direction)
	assert.Equal(t, int64(5<<30), c.Total[flow.Sent])
	assert.Equal(t, flow.Counters{flow.Opened: 1, flow.Closed: 1, flow.Sent: 5 << 30, flow.Received: -1, flow.Retransmits: 3, flow.Lost: 2}, c.Delta)
	assert.Equal(t, 2500*time.Millisecond, c.Duration)
	assert.Equal(t, time.Second, c.At.Sub(c.Previous)-500*time.Millisecond)
	assert.Equal(t, 40515*time.Microsecond, c.SRTT, "the kernel keeps it shifted left by 3")
	assert.Equal(t, 33*time.Microsecond, c.MinRTT)
	assert.Equal(t, "sixteen-letters!", c.Local.Name, "no NUL at the end")
	assert.Equal(t, uint32(42), c.Local.PID)
	assert.Equal(t, uint64(9), c.Local.Cgroup)
	assert.True(t, c.Opened)
	assert.Equal(t, flow.StateClose, c.State)
	assert.Equal(t, flow.ReasonFIN, c.Reason)

	c = d.record(&probe.Record{Kind: probe.KindOpen, Direction: probe.Outbound, MinRttUs: ^uint32(0)}, probe.Clock{})
	assert.Equal(t, flow.EventOpen, c.Event)
	assert.Equal(t, flow.StateEstablished, c.State)
	assert.Zero(t, c.MinRTT, "never measured")
	assert.True(t, c.Previous.IsZero())
	assert.Zero(t, c.Delta)
}

// The kernel's struct is read as an array: its fields must have the names and the order of flow's counters.
func TestCountersAreInTheKernelsOrder(t *testing.T) {
	fields := slices.DeleteFunc(reflect.VisibleFields(reflect.TypeFor[probe.Counters]()), func(f reflect.StructField) bool {
		return f.Type.Size() == 0 // bpf2go's mark of the layout
	})
	require.Len(t, fields, flow.KernelCounters)
	for i, field := range fields {
		assert.Equal(t, flow.Counter(i).String(), strings.ToLower(field.Name))
		assert.Equal(t, reflect.Uint64, field.Type.Kind())
	}
}

func TestATotalThatNoSignedIntegerHoldsStaysAtItsMaximum(t *testing.T) {
	total := totals(&probe.Counters{Sent: 5 << 32, Received: 1 << 63})
	assert.Equal(t, flow.Counters{flow.Sent: 5 << 32, flow.Received: 1<<63 - 1}, total)
}

func TestTotalsThatCameByTheSpillMapCountTheirEnds(t *testing.T) {
	d := newDecoder()
	now := time.Now()
	spilled := &probe.Spilled{}
	spilled.Key.Direction = probe.Outbound
	spilled.Totals.Ends = 12
	spilled.Totals.Delta = probe.Counters{Opened: 11, Sent: 100, Received: 200}
	c := d.spilled(spilled, probe.Clock{}, now)
	assert.Equal(t, flow.EventRecovered, c.Event)
	assert.Zero(t, c.ID)
	assert.Equal(t, flow.Counters{flow.Opened: 11, flow.Closed: 12, flow.Sent: 100, flow.Received: 200}, c.Delta)

	spilled.Key.Failed = 1
	spilled.Totals.Delta = probe.Counters{}
	assert.Equal(t, flow.Counters{flow.Failed: 12}, d.spilled(spilled, probe.Clock{}, now).Delta)
}

// The probe has one place for what connect(2) was asked for and for what a server was told of a redirect.
func TestWhatAServerWasToldIsNotWhatAClientAskedFor(t *testing.T) {
	asked := netip.MustParseAddrPort("10.244.0.11:80")
	d := newDecoder()
	for _, direction := range []probe.Direction{probe.Outbound, probe.Inbound} {
		r := &probe.Record{Direction: direction, Kind: probe.KindClosed, Original: endpoint(asked.String())}
		s := &probe.Spilled{}
		s.Key.Direction, s.Key.Original = direction, r.Original
		want := [2]netip.AddrPort{asked, {}}
		if direction == probe.Inbound {
			want = [2]netip.AddrPort{{}, asked}
		}
		c := d.record(r, probe.Clock{})
		assert.Equal(t, want, [2]netip.AddrPort{c.Original, c.Redirected})
		c = d.spilled(s, probe.Clock{}, time.Now())
		assert.Equal(t, want, [2]netip.AddrPort{c.Original, c.Redirected})
	}
}

func TestWhyAConnectionClosed(t *testing.T) {
	const established, finWait1, closeWait = 1, 4, 8
	for _, test := range []struct {
		left probe.State
		err  syscall.Errno
		want flow.CloseReason
	}{
		{probe.FinWait2, 0, flow.ReasonFIN},
		{probe.LastACK, 0, flow.ReasonFIN},
		{probe.Closing, 0, flow.ReasonFIN},
		{probe.TimeWait, 0, flow.ReasonFIN},
		{established, 0, flow.ReasonAbort},
		{closeWait, 0, flow.ReasonAbort},
		{finWait1, 0, flow.ReasonAbort},
		{established, unix.ECONNABORTED, flow.ReasonAbort},
		{probe.FinWait2, unix.ECONNABORTED, flow.ReasonAbort},
		{established, unix.ECONNRESET, flow.ReasonReset},
		{closeWait, unix.EPIPE, flow.ReasonReset},
		{probe.LastACK, unix.ECONNRESET, flow.ReasonReset},
		{established, unix.ETIMEDOUT, flow.ReasonTimeout},
		{finWait1, unix.EHOSTUNREACH, flow.ReasonTimeout},
	} {
		assert.Equal(t, test.want, closeReason(test.left, test.err), "%+v", test)
	}
}

func TestWhyAConnectFailed(t *testing.T) {
	for err, want := range map[syscall.Errno]string{
		unix.ECONNREFUSED: "connection_refused",
		unix.ETIMEDOUT:    "timed_out",
		unix.EHOSTUNREACH: "host_unreachable",
		unix.ENETUNREACH:  "network_unreachable",
		unix.ECONNRESET:   "reset",
		0:                 "cancelled",
		unix.EACCES:       "EACCES",
		unix.EPROTO:       "EPROTO",
		9999:              "errno 9999",
	} {
		assert.Equal(t, want, errorType(err, false))
	}
	assert.Equal(t, "EADDRNOTAVAIL", errorType(0, true))
}

func TestProcessNamesAreKeptWithinABound(t *testing.T) {
	d := newDecoder()
	for i := range 2 * maxNames {
		var r probe.Record
		r.Process.Comm[0], r.Process.Comm[1] = uint8(i), uint8(i>>8)
		d.record(&r, probe.Clock{})
	}
	assert.LessOrEqual(t, len(d.names), maxNames)
}

func TestTracesAreComputedWhereASinkNeedsThem(t *testing.T) {
	d := newDecoder()
	r := &probe.Record{ClientIsn: 1, ServerIsn: 2}
	assert.Equal(t, flow.NewTrace(1, 2), d.record(r, probe.Clock{}).Trace)
	d.untraced = true
	assert.Zero(t, d.record(r, probe.Clock{}).Trace)
}

func TestARecordIsReadAfterItWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, began := &Agent{}, time.Now()
		assert.Equal(t, began, r.observed(&flow.Connection{At: began.Add(-time.Second)}))
		time.Sleep(time.Millisecond)
		assert.Equal(t, began, r.observed(&flow.Connection{At: began}), "it was there when the clock was read")
		written := began.Add(time.Millisecond)
		assert.Equal(t, written, r.observed(&flow.Connection{At: written}))
	})
}

func TestDecodingAllocatesNothing(t *testing.T) {
	d := newDecoder()
	r := &probe.Record{Kind: probe.KindClosed, Process: probe.Process{Comm: comm("curl")}}
	d.record(r, probe.Clock{})
	assert.Zero(t, testing.AllocsPerRun(100, func() { d.record(r, probe.Clock{}) }))
}

func BenchmarkDecodeRecord(b *testing.B) {
	d := newDecoder()
	r := &probe.Record{Kind: probe.KindClosed, Process: probe.Process{Comm: comm("curl")}}
	b.ReportAllocs()
	for b.Loop() {
		d.record(r, probe.Clock{})
	}
}
