// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// apply takes a response in. opening is the first one of a stream: what it leaves out of what is held has not changed.
func (d *demand) apply(c *change, opening bool, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.out.send()
	if c.first {
		d.began = now
	}
	touched := make(map[netip.Addr]bool) // whether the server said that nobody has it
	for _, name := range c.remove {
		if network, a, ok := ParseAddressName(name); ok && network == d.network {
			touched[a] = true
		}
	}
	d.end(c, touched, now)
	// Losses come first: an address that passes on has one holder only.
	for name, e := range c.put {
		if old := d.entries[name]; old != nil {
			d.lose(old, e, c, touched, now)
		}
	}
	for name, e := range c.put {
		e.name = name
		d.put(e, c, touched, now)
	}
	if opening {
		d.wants.Range(func(a netip.Addr, _ *want) bool {
			if _, said := touched[a]; !said && len(d.at[a]) > 0 {
				touched[a] = false
			}
			return true
		})
	}
	for a, vacant := range touched {
		d.answered(a, vacant, now)
	}
	if network := d.own(); network != d.network {
		d.rename(network, now)
	}
}

// end ends what the server no longer has.
func (d *demand) end(c *change, touched map[netip.Addr]bool, now time.Time) {
	gone := make(map[string]*entry)
	for _, name := range c.remove {
		if e := d.entries[name]; e != nil && c.put[name] == nil {
			gone[name] = e
		}
	}
	if c.whole {
		for name, e := range d.entries {
			if c.put[name] == nil && !c.kept[name] {
				gone[name] = e
			}
		}
	}
	for _, e := range gone {
		for _, a := range e.within(d.network) {
			d.leave(a, touched, now)
		}
		if e.workload != nil {
			d.gone[e.workload.Names] = now
		}
		_, left := c.spans(now)
		d.drop(e, left, now)
		d.out.unsubscribe(e.name) // the server keeps the names of what it has no more
	}
}

// lose ends the tenure of addresses that a workload or service has no more.
func (d *demand) lose(old, e *entry, c *change, touched map[netip.Addr]bool, now time.Time) {
	kept := old.within(d.network)
	lost := slices.DeleteFunc(slices.Clone(kept), func(a netip.Addr) bool { return e.has(d.network, a) })
	if len(lost) == 0 {
		return
	}
	for _, a := range lost {
		d.leave(a, touched, now)
	}
	if old.workload != nil {
		w := *old.workload
		w.Addresses = slices.DeleteFunc(kept, func(a netip.Addr) bool { return slices.Contains(lost, a) })
		w.Elsewhere = d.isElsewhere(old)
		_, left := c.spans(now)
		d.index.Replace(&w, identity.Since(now, now), left, now)
	}
}

// leave notes that the holder of an address left it.
func (d *demand) leave(a netip.Addr, touched map[netip.Addr]bool, now time.Time) {
	if _, said := touched[a]; !said {
		touched[a] = false
	}
	if w, held := d.wants.Load(a); held {
		w.first = now // who has it next did not have it before
	}
}

// put holds what the server sent if there is a use for it, else has the server forget it.
func (d *demand) put(e *entry, c *change, touched map[netip.Addr]bool, now time.Time) {
	old := d.entries[e.name]
	if old != nil && !d.keeps(e) {
		d.drop(old, identity.Span{Until: now}, now)
	}
	if !d.keeps(e) {
		d.out.unsubscribe(e.name) // e.g. of a service's address, istiod sends all pods behind it
		return
	}
	got := d.span(e, old, c, now)
	if old != nil {
		d.unlist(old)
	}
	d.entries[e.name] = e
	for _, a := range e.within(d.network) {
		d.at[a] = append(d.at[a], e)
		touched[a] = false
		if d.owns(e) {
			d.pin(a, now)
		}
	}
	if d.isLocal(e) {
		d.index.Placed()
	}
	if d.pods != nil && e.from.Pod != (identity.PodUID{}) {
		d.pods.named.Store(true)
	}
	d.publish(e, got, now)
	d.refer(e, old, now)
}

// span is when a workload got its addresses.
func (d *demand) span(e, old *entry, c *change, now time.Time) identity.Span {
	here := e.within(d.network)
	got := identity.Span{From: e.from.From, Sure: e.from.Sure, Reported: e.from.Reported}
	switch {
	case !got.From.IsZero():
	case c.first || now.Sub(d.began) < startUp:
		// It was there before us: see startUp.
	case !c.lost.IsZero():
		got = identity.Span{From: c.lost, Sure: now}
	default:
		got = identity.Span{From: d.firstAsked(here, now), Reported: true}
	}
	for _, a := range here {
		if !e.from.From.IsZero() || old != nil && old.has(d.network, a) {
			continue
		}
		if vacated := d.index.Vacated(a); vacated.After(got.From) {
			got.From = vacated
		}
	}
	if got.From.After(now) {
		got.From = now // the clocks differ
	}
	return got
}

// firstAsked is when the oldest connection began that asked for one of the addresses.
func (d *demand) firstAsked(addresses []netip.Addr, now time.Time) time.Time {
	first := now
	for _, a := range addresses {
		if w, held := d.wants.Load(a); held && !w.local && w.first.Before(first) {
			first = w.first
		}
	}
	if earliest := now.Add(-longestLag); first.Before(earliest) {
		return earliest
	}
	return first
}

// pin holds the address of a pod on this node.
func (d *demand) pin(a netip.Addr, now time.Time) {
	w, held := d.wants.Load(a)
	switch {
	case held && w.local:
		return
	case held: // it was asked for before
		d.asked--
		d.out.unsubscribe(AddressName(d.network, a))
		w.local, w.againAt = true, time.Time{}
		return
	}
	w = &want{local: true, first: now}
	w.used.Store(now.Unix())
	w.replied.Store(true)
	d.wants.Store(a, w)
}

// answered notes what is known of an address now; vacant: the server said that nobody has it.
func (d *demand) answered(a netip.Addr, vacant bool, now time.Time) {
	w, held := d.wants.Load(a)
	if !held {
		return
	}
	switch {
	case len(d.at[a]) > 0:
		w.replied.Store(true)
		w.vacant.Store(0)
		w.times, w.againAt = 0, time.Time{}
		if !w.local {
			return
		}
		if !slices.ContainsFunc(d.at[a], d.owns) {
			d.release(a, w, now)
		}
	case w.local:
		d.release(a, w, now) // it is asked for when it is met
	case vacant:
		w.vacant.Store(now.UnixNano())
		w.replied.Store(true)
		w.againAt = now.Add(repeats[min(w.times, len(repeats)-1)])
		w.times++
		if !w.spare && w.times > 2 {
			w.spare = true
			d.spare = append(d.spare, spare{a, w})
		}
		d.answers.Add(1)
	default: // its holder left it, and who has it now is not known
		w.replied.Store(false)
		w.vacant.Store(0)
		w.times = 0
		d.repeat(a, w, now)
	}
}
