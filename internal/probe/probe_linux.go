// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Options say where and what to watch. The zero value watches all but loopback.
type Options struct {
	// CgroupPath is the cgroup v2 folder whose processes' connects are watched for
	// the original destination; empty: the mount that is there.
	CgroupPath string
	// IncludeLoopback follows connections to 127.0.0.0/8 and ::1 too.
	IncludeLoopback bool
	// NameListeners reports of an accepted end the process that serves it: the one that listens, the one that accepts, or
	// the one that was started for it, the last that is known. It makes every accepted connection dearer, so ask for it
	// only where a process is who the end is.
	NameListeners bool
	// Exclusive refuses to open beside another exclusive Probe on the same node: two would report
	// everything twice.
	Exclusive bool
	// EndsBytes and OpensBytes are the sizes of the rings of closed ends and of
	// reports of open ones; a power of two and whole pages. 0: as compiled.
	EndsBytes, OpensBytes uint32
	// MaxConnections is how many connection ends are followed at once, rounded up to as many in each
	// map; 0: as compiled.
	MaxConnections uint32
	// Exclude are rules; a connection end that one of them matches is not followed.
	Exclude []Rule
	// Detail adds Record.Detail.
	Detail bool
	// SpillEntries bounds the map beside the ring; 0: as compiled.
	SpillEntries uint32
	// Walks are the variants of the walk over open connections, of which the first that the
	// kernel takes is used; nil: all, in their order.
	Walks []Walk

	// amend changes the programs before they are loaded: a test makes the kernel refuse some.
	amend func(*ebpf.CollectionSpec)
}

// Probe holds the loaded programs. One goroutine uses it; nothing it attached
// outlives it, nor the process.
type Probe struct {
	objects objects
	missing []Missing
	links   []link.Link
	ends    *ringbuf.Reader
	opens   *ringbuf.Reader
	buffer  ringbuf.Record
	spare   *ebpf.Map // takes the place of the spill map that is drained
	spill   *ebpf.MapSpec
	clock   Clock
	counts  Counts
	late    bool // a connect hook runs after programs that may rewrite the destination
	lock    *nodeLock
	// noCgroup says why there is no cgroup v2 folder to attach to; nil: there is one.
	noCgroup error
	// Entries of the spill map at the last Drain, of all connection maps at the last Sweep,
	// and of older listeners.
	drained, walked, listeners uint64
	scannable                  bool   // the kernel's table of sockets can be read
	missed                     uint64 // changes of state that set_state had missed at the last scan
	sweeps                     uint64
	detail                     bool
	decoded                    Record // of the record that is handed over
}

// Stats are the numbers of a probe and of its programs.
type Stats struct {
	Tally    Tally
	Counts   Counts
	Maps     []MapUse
	Programs []ProgramUse
}

// Counts are what Probe itself counted since it was opened.
type Counts struct {
	Read      uint64 // records of both rings
	Malformed uint64 // records that were skipped because nothing could be made of them
	Spilled   uint64 // ends whose totals came by the spill map
	// Unfinished are sweeps that ended while open ends still found no room for their reports.
	Unfinished uint64
	// ListenersRefused are older listeners that no process could be kept of.
	ListenersRefused uint64
	// Walk is how long the last walk over the maps of connections took, LongestWalk how long it
	// was in one of them: so long it may have kept a CPU of a kernel without preemption.
	Walk, LongestWalk time.Duration
}

// Open loads and attaches the programs and finds the connections that are older
// than they are. Its error names all that is missing and the remedy; what can be
// done without is in Missing.
func Open(options Options) (*Probe, error) {
	if err := checkRequirements(); err != nil {
		return nil, err
	}
	cgroup, err := cgroupRoot(options.CgroupPath)
	if err != nil && options.CgroupPath != "" {
		return nil, err // the user's own choice
	}
	return openAt(options, cgroup, err)
}

// openAt is Open with the cgroup v2 folder, or with the error of the search for one.
func openAt(options Options, cgroup string, noCgroup error) (*Probe, error) {
	p := &Probe{clock: Clock{}.next(systemTime), detail: options.Detail, noCgroup: noCgroup}
	if err := p.start(options, cgroup); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Probe) start(options Options, cgroup string) error {
	if err := p.load(options); err != nil {
		return err
	}
	var err error
	if p.ends, err = ringbuf.NewReader(p.objects.ring("ends")); err != nil {
		return fmt.Errorf("map the ring of closed connections: %w", err)
	}
	if p.opens, err = ringbuf.NewReader(p.objects.ring("opens")); err != nil {
		return fmt.Errorf("map the ring of open connections: %w", err)
	}
	if p.spare, err = ebpf.NewMap(p.spill); err != nil {
		return fmt.Errorf("create the second spill map: %w", err)
	}
	return p.attach(cgroup)
}

// attach takes the hooks in the order that loses nothing: transitions before the
// search for older connections, so that every connection is seen by one of them.
func (p *Probe) attach(cgroup string) error {
	state, err := link.AttachTracing(link.TracingOptions{Program: p.objects.setState})
	if err != nil {
		return fmt.Errorf("attach to the tracepoint inet_sock_set_state: %w", err)
	}
	p.links = append(p.links, state)
	if p.objects.destroySock != nil {
		destroy, err := link.AttachTracing(link.TracingOptions{Program: p.objects.destroySock})
		if err == nil {
			p.links = append(p.links, destroy)
			err = p.objects.freesOnDestroy.Set(true)
		}
		if err != nil {
			p.lacks(partDestroy, fmt.Errorf("attach to the tracepoint tcp_destroy_sock: %w", err))
		}
	}
	p.attachServers()
	p.attachConnect(cgroup)
	if p.noCgroup != nil {
		// the connect hooks say so
	} else if below, err := belowRoot(cgroup); err != nil {
		p.lacks(partRoot, err)
	} else if below {
		p.lacks(partRoot, fmt.Errorf("%s is not the root of the cgroup v2 hierarchy: mount the host's and name it in cgroup_path", cgroup))
	}
	if p.objects.older != nil {
		if err := p.findOlder(); err != nil {
			p.lacks(partOlder, err)
		}
	}
	if p.objects.scan != nil {
		if err := p.scanOlder(); err != nil {
			p.lacks(partScan, err)
		}
	}
	return nil
}

// attachServers takes the hooks that know more of an accepted end than its socket.
func (p *Probe) attachServers() {
	for _, hook := range []struct {
		part    Part
		to      string
		program *ebpf.Program
	}{
		{partRedirect, "the return of nf_getsockopt", p.objects.redirect},
		{partAccepted, "the return of inet_csk_accept", p.objects.accepted},
		{partHandedOver, "the tracepoint sched_process_exec", p.objects.handedOver},
	} {
		if hook.program == nil {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: hook.program})
		if err != nil {
			p.lacks(hook.part, fmt.Errorf("attach to %s: %w", hook.to, err))
			continue
		}
		p.links = append(p.links, l)
	}
}

func (p *Probe) attachConnect(cgroup string) {
	err := p.noCgroup
	var folder *os.File
	if err == nil {
		if folder, err = os.Open(cgroup); err == nil { // #nosec G304 -- the user's own choice
			defer func() { _ = folder.Close() }()
		} else {
			err = fmt.Errorf("open the cgroup v2 folder: %w; set cgroup_path", err)
		}
	}
	for _, hook := range []struct {
		part    Part
		attach  ebpf.AttachType
		program *ebpf.Program
	}{
		{partConnect4, ebpf.AttachCGroupInet4Connect, p.objects.connect4},
		{partConnect6, ebpf.AttachCGroupInet6Connect, p.objects.connect6},
	} {
		if hook.program == nil {
			continue
		}
		if err != nil {
			p.lacks(hook.part, err)
			continue
		}
		l, first, err := attachFirst(int(folder.Fd()), hook.attach, hook.program)
		if err != nil {
			p.lacks(hook.part, fmt.Errorf("attach to %s of %s: %w", hook.attach, cgroup, err))
			continue
		}
		p.late = p.late || !first
		p.links = append(p.links, l)
	}
}

// attachFirst attaches so as to run before programs that rewrite the destination,
// on kernels that let it (first), beside them elsewhere. The kernel gives either
// link up with the process.
func attachFirst(cgroup int, attach ebpf.AttachType, program *ebpf.Program) (l link.Link, first bool, err error) {
	const preorder = 1 << 6 // BPF_F_PREORDER of linux/bpf.h
	options := link.RawLinkOptions{Target: cgroup, Program: program, Attach: attach, Flags: preorder}
	if raw, err := link.AttachRawLink(options); err == nil {
		return raw, true, nil
	}
	options.Flags = 0
	raw, err := link.AttachRawLink(options)
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: another program is attached there that admits no others (without BPF_F_ALLOW_MULTI): "+
			"bpftool cgroup tree shows it", err)
	}
	if err != nil {
		return nil, false, err
	}
	return raw, false, nil
}

// FirstAtConnect reports whether the connect hooks that are there run before programs that
// rewrite the destination. If not, the original destination may be what such a program made of it.
func (p *Probe) FirstAtConnect() bool { return !p.late }

// Close detaches and frees everything. It is safe on a Probe that was opened in part.
func (p *Probe) Close() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	p.links = nil
	for _, reader := range []*ringbuf.Reader{p.ends, p.opens} {
		if reader != nil {
			errs = append(errs, reader.Close())
		}
	}
	if p.spare != nil {
		errs = append(errs, p.spare.Close())
	}
	errs = append(errs, p.objects.close(), p.lock.Close())
	p.lock = nil
	return errors.Join(errs...)
}
