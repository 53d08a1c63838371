// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package agent

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kmesh-net/otelcol-kmesh/internal/flow"
	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
	"github.com/kmesh-net/otelcol-kmesh/internal/probe"
)

// decoder turns the probe's records into connections. It keeps names of processes, so that a record costs no allocation.
type decoder struct {
	connection flow.Connection // the one at hand: its reader keeps nothing of it
	names      map[[16]byte]string
	tracer     flow.Tracer // the zero one unless there is a salt
	untraced   bool        // nobody uses the traces
}

// maxNames bounds the kept process names; a host has some hundreds.
const maxNames = 4096

func newDecoder() *decoder {
	return &decoder{names: make(map[[16]byte]string)}
}

// record decodes r; what it returns is valid until the next call.
func (d *decoder) record(r *probe.Record, clock probe.Clock) *flow.Connection {
	c := &d.connection
	*c = flow.Connection{
		ID:          r.Id,
		Direction:   direction(r.Direction),
		Source:      probe.AddrPort(&r.Source),
		Destination: probe.AddrPort(&r.Destination),
		Original:    probe.AddrPort(&r.Original),
		Local:       d.process(&r.Process, r.Cgroup),
		Netns:       identity.Netns{Inode: r.Netns, Nested: r.Nested != 0},
		Start:       clock.Wall(r.Start),
		At:          clock.Wall(r.Now),
		Duration:    time.Duration(r.Now - r.Start),
		Opened:      r.Delta.Opened == 1,
		Total:       totals(&r.Total),
		Delta:       deltas(&r.Delta),
		SRTT:        time.Duration(r.SrttUs) * time.Microsecond / 8,
		State:       flow.StateClose,
		ClientISN:   r.ClientIsn,
		ServerISN:   r.ServerIsn,
		Trace:       d.trace(r),
		Connect:     time.Duration(r.Connect),
		TCPInfo:     tcpInfo(&r.Detail),
	}
	toldToServer(c)
	if r.MinRttUs != ^uint32(0) {
		c.MinRTT = time.Duration(r.MinRttUs) * time.Microsecond
	}
	if r.Previous != 0 {
		c.Previous = clock.Wall(r.Previous)
	}
	switch r.Kind {
	case probe.KindOpen:
		c.Event = flow.EventOpen
		c.State = flow.StateEstablished
	case probe.KindClosed:
		c.Event = flow.EventClosed
		c.Delta[flow.Closed] = 1
		c.Reason = closeReason(r.State, syscall.Errno(r.Error))
	case probe.KindFailed:
		c.Event = flow.EventFailed
		c.Delta[flow.Failed] = 1
		c.ErrorType = errorType(syscall.Errno(r.Error), r.Unsent != 0)
	}
	return c
}

// toldToServer separates what a server was told from what a client asked for: the probe has one place for both.
func toldToServer(c *flow.Connection) {
	if c.Direction == flow.Inbound {
		c.Redirected, c.Original = c.Original, netip.AddrPort{}
	}
}

// trace returns a failed connect's own trace, as there is no other end; its records are one.
func (d *decoder) trace(r *probe.Record) flow.Trace {
	if d.untraced {
		return flow.Trace{}
	}
	if r.ClientIsn == 0 && r.ServerIsn == 0 {
		return flow.RandomTrace(rand.Uint64()) // #nosec G404 -- no secret
	}
	return d.tracer.Trace(r.ClientIsn, r.ServerIsn)
}

func tcpInfo(d *probe.Detail) flow.TCPInfo {
	return flow.TCPInfo{
		SndCwnd: d.SndCwnd, SndSsthresh: d.SndSsthresh, MSS: d.Mss,
		SegsIn: d.SegsIn, SegsOut: d.SegsOut, DataSegsIn: d.DataSegsIn, DataSegsOut: d.DataSegsOut,
		Delivered: d.Delivered, DeliveredCE: d.DeliveredCe, DSACKDups: d.DsackDups,
		Reordering: d.Reordering, RateDelivered: d.RateDelivered, RateIntervalUs: d.RateIntervalUs,
		ICSKRetransmits: d.IcskRetransmits,
	}
}

// spilled decodes the totals of ends whose own records are lost.
func (d *decoder) spilled(s *probe.Spilled, clock probe.Clock, now time.Time) *flow.Connection {
	c := &d.connection
	*c = flow.Connection{
		Event:       flow.EventRecovered,
		Direction:   direction(s.Key.Direction),
		Source:      probe.AddrPort(&s.Key.Source),
		Destination: probe.AddrPort(&s.Key.Destination),
		Original:    probe.AddrPort(&s.Key.Original),
		Local:       d.process(&s.Key.Process, s.Key.Cgroup),
		Netns:       identity.Netns{Inode: s.Key.Netns, Nested: s.Key.Nested != 0},
		Start:       clock.Wall(s.Totals.Start),
		At:          now,
		Delta:       deltas(&s.Totals.Delta),
		State:       flow.StateClose,
	}
	toldToServer(c)
	if s.Key.Failed != 0 {
		c.Delta[flow.Failed] = int64(s.Totals.Ends)
	} else {
		c.Delta[flow.Closed] = int64(s.Totals.Ends)
	}
	return c
}

func (d *decoder) process(p *probe.Process, cgroup uint64) identity.Process {
	name, known := d.names[p.Comm]
	if !known {
		if len(d.names) >= maxNames {
			clear(d.names)
		}
		name = unix.ByteSliceToString(p.Comm[:])
		d.names[p.Comm] = name
	}
	return identity.Process{PID: p.Pid, Name: name, Cgroup: cgroup}
}

func direction(d probe.Direction) flow.Direction {
	if d == probe.Inbound {
		return flow.Inbound
	}
	return flow.Outbound
}

// kernelCounters are the counters of a record, in flow's order.
type kernelCounters [flow.KernelCounters]uint64

// This does not compile when flow has another number of them than the kernel.
var _ [unsafe.Sizeof(kernelCounters{})]byte = [unsafe.Sizeof(probe.Counters{})]byte{}

func valuesOf(c *probe.Counters) *kernelCounters { return (*kernelCounters)(unsafe.Pointer(c)) }

// deltas converts differences, which are signed though the kernel's type is not.
func deltas(c *probe.Counters) (all flow.Counters) {
	for i, n := range valuesOf(c) {
		all[i] = int64(n)
	}
	return all
}

// totals converts totals. One that a signed integer cannot hold (9.2 EB) stays at its maximum.
func totals(c *probe.Counters) (all flow.Counters) {
	for i, n := range valuesOf(c) {
		all[i] = int64(min(n, math.MaxInt64))
	}
	return all
}

// closeReason derives how a connection ended from the state that it left and from the socket's error, which only the kernel sets.
func closeReason(left probe.State, err syscall.Errno) flow.CloseReason {
	switch err {
	case 0:
	case unix.ETIMEDOUT, unix.EHOSTUNREACH, unix.ENETUNREACH: // the latter two from ICMP
		return flow.ReasonTimeout
	case unix.ECONNABORTED: // ss --kill, or RST after our own FIN
		return flow.ReasonAbort
	default:
		return flow.ReasonReset
	}
	switch left {
	case probe.FinWait2, probe.TimeWait, probe.Closing, probe.LastACK:
		return flow.ReasonFIN // our FIN was sent, and acknowledged or crossed by theirs
	default:
		return flow.ReasonAbort
	}
}

// errorType derives why a connect failed. Without an error the application gave up, or the kernel could not send the SYN,
// mostly for want of a free local port.
func errorType(err syscall.Errno, unsent bool) string {
	switch err {
	case 0:
		if unsent {
			return unix.ErrnoName(unix.EADDRNOTAVAIL)
		}
		return flow.ErrorCancelled
	case unix.ECONNREFUSED:
		return flow.ErrorConnectionRefused
	case unix.ETIMEDOUT:
		return flow.ErrorTimedOut
	case unix.EHOSTUNREACH:
		return flow.ErrorHostUnreachable
	case unix.ENETUNREACH:
		return flow.ErrorNetworkUnreachable
	case unix.ECONNRESET:
		return flow.ErrorReset
	}
	if name := unix.ErrnoName(err); name != "" {
		return name
	}
	return "errno " + strconv.Itoa(int(err))
}
