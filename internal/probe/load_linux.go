// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package probe

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/kmesh-net/otelcol-kmesh/bpf"
)

// objects are the maps and the programs in the kernel. A program that is nil is missing.
type objects struct {
	core        *ebpf.Collection // set_state and all maps but those below
	connections []*ebpf.Map      // the parts of connection_maps
	spills      *ebpf.Map        // the spill map that is in use

	setState, destroySock        *ebpf.Program
	connect4, connect6           *ebpf.Program
	redirect                     *ebpf.Program
	accepted, handedOver         *ebpf.Program // nil, unless processes are named
	older, scan                  *ebpf.Program
	walk                         *ebpf.Program // run once for each part, or nil
	iterate                      *ebpf.Program // the other variant of the walk, or nil
	iterators                    []*link.Iter  // of iterate, one for each part
	walked, longest              time.Duration // in all parts, and in one, of the last walk
	named                        map[string]*ebpf.Program
	sweepBegan, sweepAll         *ebpf.Variable
	sweepCleans, parts           *ebpf.Variable
	seekListeners, entriesWalked *ebpf.Variable
	allFound, freesOnDestroy     *ebpf.Variable
	listenersRefused             *ebpf.Variable
	socketTable                  *ebpf.Variable
}

func (o *objects) ring(name string) *ebpf.Map { return o.core.Maps[name] }

func (o *objects) close() error {
	var errs []error
	for _, iterator := range o.iterators {
		errs = append(errs, iterator.Close())
	}
	for _, program := range o.named {
		errs = append(errs, program.Close())
	}
	for _, part := range o.connections {
		errs = append(errs, part.Close())
	}
	if o.spills != nil {
		errs = append(errs, o.spills.Close())
	}
	if o.core != nil {
		o.core.Close()
	}
	*o = objects{}
	return errors.Join(errs...)
}

// loader hands the compiled programs to the kernel one by one, so that one that is refused
// does not take the others with it.
type loader struct {
	spec  *ebpf.CollectionSpec
	maps  map[string]*ebpf.Map // shared by all programs
	cache *btf.Cache
}

// core loads what cannot be missing: all maps, and the program on the tracepoint.
func (l *loader) core() (*ebpf.Collection, error) {
	const program = "set_state"
	collection, err := l.load(program)
	if err != nil {
		return nil, refusal(program, err, readFile)
	}
	l.maps = maps.Clone(collection.Maps)
	return collection, nil
}

func (l *loader) load(program string) (*ebpf.Collection, error) {
	spec := l.spec.Copy()
	spec.Programs = map[string]*ebpf.ProgramSpec{program: spec.Programs[program]}
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: l.maps, Cache: l.cache})
}

// alone loads a program that shares nothing with the others but their variables' layout.
func (l *loader) alone(program string) (*ebpf.Collection, error) {
	spec := l.spec.Copy()
	spec.Programs = map[string]*ebpf.ProgramSpec{program: spec.Programs[program]}
	maps.DeleteFunc(spec.Maps, func(name string, _ *ebpf.MapSpec) bool { return name != ".bss" })
	maps.DeleteFunc(spec.Variables, func(_ string, v *ebpf.VariableSpec) bool { return v.SectionName != ".bss" })
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: l.cache})
}

// program loads one more program beside the core.
func (l *loader) program(name string) (*ebpf.Program, error) {
	collection, err := l.load(name)
	if err != nil {
		return nil, refusal(name, err, readFile)
	}
	defer collection.Close()
	return collection.DetachProgram(name), nil
}

// specification reads the compiled programs and sets what is decided before they are loaded.
func specification(options Options, exclude *exclusion) (*ebpf.CollectionSpec, error) {
	spec, err := bpf.LoadTCP()
	if err != nil {
		return nil, fmt.Errorf("read the compiled programs: %w", err)
	}
	if options.EndsBytes != 0 {
		spec.Maps["ends"].MaxEntries = options.EndsBytes
	}
	if options.OpensBytes != 0 {
		spec.Maps["opens"].MaxEntries = options.OpensBytes
	}
	if options.SpillEntries != 0 {
		spec.Maps["spills"].MaxEntries = options.SpillEntries
		spec.Maps["spilling"].InnerMap.MaxEntries = options.SpillEntries
	}
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // it does not fail
	if options.MaxConnections != 0 {
		maps := spec.Maps["connection_maps"]
		maps.InnerMap.MaxEntries = max(1, (options.MaxConnections+maps.MaxEntries-1)/maps.MaxEntries)
	}
	for name, value := range map[string]any{
		// A quarter full wakes the reader, which otherwise comes by a timer.
		"wakeup_ends":      uint64(spec.Maps["ends"].MaxEntries / 4),
		"wakeup_opens":     uint64(spec.Maps["opens"].MaxEntries / 4),
		"include_loopback": options.IncludeLoopback,
		"name_listeners":   options.NameListeners,
		"with_detail":      options.Detail,
		"part_entries":     spec.Maps["connection_maps"].InnerMap.MaxEntries,
		"owner_salt":       binary.NativeEndian.Uint32(salt[:]),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	for name, value := range exclude.variables() {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	if options.amend != nil {
		options.amend(spec)
	}
	return spec, nil
}

// withoutListeners takes the socket storage out of the programs. No instruction that they
// still reach uses it, but each load names a map: another one takes its place.
func withoutListeners(spec *ebpf.CollectionSpec) error {
	spec.Maps["listeners"] = &ebpf.MapSpec{Name: "listeners", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	return spec.Variables["name_listeners"].Set(false)
}

func (p *Probe) load(options Options) error {
	exclude, err := newExclusion(options.Exclude)
	if err != nil {
		return err
	}
	spec, err := specification(options, exclude)
	if err != nil {
		return err
	}
	inherits := options.NameListeners
	if inherits {
		storage, err := ebpf.NewMap(spec.Maps["listeners"])
		if err != nil {
			p.lacks(partListeners, fmt.Errorf("create the socket storage: %w", err))
			inherits = false
		} else if err := storage.Close(); err != nil {
			return err
		}
	}
	if !inherits {
		if err := withoutListeners(spec); err != nil {
			return err
		}
	}

	l := loader{spec: spec, cache: btf.NewCache()}
	if options.Exclusive {
		var unknown noLock
		if p.lock, err = lockNode(&l); errors.As(err, &unknown) {
			p.lacks(partLock, err)
		} else if err != nil {
			return err
		}
	}
	o := &p.objects
	if o.core, err = l.core(); err != nil {
		return err
	}
	o.setState = o.core.Programs["set_state"]
	o.spills = o.core.DetachMap("spills")
	o.sweepBegan, o.sweepAll = o.core.Variables["sweep_began"], o.core.Variables["sweep_all"]
	o.sweepCleans, o.parts = o.core.Variables["sweep_cleans"], o.core.Variables["parts"]
	o.seekListeners, o.entriesWalked = o.core.Variables["seek_listeners"], o.core.Variables["entries_walked"]
	o.allFound, o.freesOnDestroy = o.core.Variables["older_all_found"], o.core.Variables["frees_on_destroy"]
	o.listenersRefused = o.core.Variables["older_listeners_refused"]
	o.socketTable = o.core.Variables["socket_table"]
	p.spill = spec.Maps["spills"].Copy()
	if err := o.createConnections(spec.Maps["connection_maps"]); err != nil {
		return err
	}
	if err := exclude.fill(o.core.Maps); err != nil {
		return err
	}
	p.loadOptional(&l, &options)
	return nil
}

func (o *objects) createConnections(spec *ebpf.MapSpec) error {
	for i := range spec.MaxEntries {
		part, err := ebpf.NewMap(spec.InnerMap)
		if err != nil {
			return fmt.Errorf("create a map of connections: %w", err)
		}
		o.connections = append(o.connections, part)
		if err := o.core.Maps["connection_maps"].Put(i, part); err != nil {
			return fmt.Errorf("put a map of connections in its place: %w", err)
		}
	}
	return nil
}

func (p *Probe) loadOptional(l *loader, options *Options) {
	o := &p.objects
	o.named = make(map[string]*ebpf.Program)
	for _, optional := range []struct {
		part   Part
		place  **ebpf.Program
		wanted bool
	}{
		{partDestroy, &o.destroySock, true},
		{partConnect4, &o.connect4, true},
		{partConnect6, &o.connect6, true},
		{partRedirect, &o.redirect, true},
		{partAccepted, &o.accepted, options.NameListeners},
		{partHandedOver, &o.handedOver, options.NameListeners},
		{partOlder, &o.older, true},
		{partScan, &o.scan, true},
	} {
		if !optional.wanted {
			continue
		}
		program, err := l.program(optional.part.Name)
		if err != nil {
			p.lacks(optional.part, err)
			continue
		}
		*optional.place, o.named[optional.part.Name] = program, program
	}
	if err := p.loadWalk(l, options.Walks); err != nil {
		p.lacks(partWalk, err)
	}
}

// Walk is a variant of the walk over open connections, by the name of its program.
type Walk string

// The variants, the preferred one first.
const (
	// WalkSyscall is run with BPF_PROG_RUN. Linux 6.1 and newer.
	WalkSyscall Walk = "walk_connections"
	// WalkIterator is an iterator over the elements of a map. Some hardened kernels refuse it.
	WalkIterator Walk = "iterate_connections"
)

// loadWalk takes the first variant that loads and runs.
func (p *Probe) loadWalk(l *loader, variants []Walk) error {
	if variants == nil {
		variants = []Walk{WalkSyscall, WalkIterator}
	}
	var errs []string
	for _, variant := range variants {
		program, err := l.program(string(variant))
		if err != nil {
			errs = append(errs, err.Error())
			continue
		}
		if err := p.objects.tryWalk(variant, program); err != nil {
			errs = append(errs, errors.Join(err, program.Close()).Error())
			continue
		}
		p.objects.named[string(variant)] = program
		return nil
	}
	return errors.New(strings.Join(errs, "; and "))
}

func (o *objects) tryWalk(variant Walk, program *ebpf.Program) error {
	if variant == WalkSyscall {
		o.walk = program
		if err := o.runWalk(0); err != nil {
			o.walk = nil
			return err
		}
		return nil
	}
	for _, part := range o.connections {
		iterator, err := link.AttachIter(link.IterOptions{Program: program, Map: part})
		if err != nil {
			err = fmt.Errorf("attach the iterator over connections: %w", err)
			for _, attached := range o.iterators {
				err = errors.Join(err, attached.Close())
			}
			o.iterators = nil
			return err
		}
		o.iterators = append(o.iterators, iterator)
	}
	o.iterate = program
	return nil
}
