// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/kmesh-net/otelcol-kmesh/internal/identity"
)

// run takes the lookups that found nothing, and looks after what is held, until the context ends.
func (d *demand) run(ctx context.Context) {
	ticker := time.NewTicker(demandTick)
	defer ticker.Stop()
	for {
		for { // what came before asleep was set woke no goroutine
			d.asleep.Store(true)
			if d.take(time.Now()) == 0 {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case now := <-ticker.C:
			d.tick(now)
		}
	}
}

// take has every lookup that waits asked about, and returns how many there were.
func (d *demand) take(now time.Time) int {
	n := 0
	for ; n < maxMisses; n++ { // one after the other may come without an end
		m, found := d.misses.TryDequeue()
		if !found {
			break
		}
		d.mu.Lock()
		d.lookedUp(m, now)
		d.mu.Unlock()
	}
	if n > 0 {
		d.out.send()
	}
	return n
}

// lookedUp asks for an address that a connection has.
func (d *demand) lookedUp(m miss, now time.Time) {
	began := time.Unix(0, m.at)
	if w, held := d.wants.Load(m.address); held {
		if began.Before(w.first) {
			w.first = began
		}
		return
	}
	if d.asked >= d.config.MaxAddresses && !d.makeRoom() {
		d.counts.refused.Add(1)
		return
	}
	w := &want{first: began, againAt: now.Add(answerDue)}
	w.used.Store(now.Unix())
	d.wants.Store(m.address, w)
	d.asked++
	d.counts.requests.Add(1)
	d.out.subscribe(AddressName(d.network, m.address))
}

// makeRoom gives up the address of which it has been known for longest that nobody has it. Otherwise addresses outside
// could take the place of those of pods.
func (d *demand) makeRoom() bool {
	for len(d.spare) > 0 {
		s := d.spare[0]
		d.spare = d.spare[1:]
		s.want.spare = false
		if held, _ := d.wants.Load(s.address); held == s.want && s.want.vacant.Load() != 0 {
			d.release(s.address, s.want, time.Now())
			return true
		}
	}
	return false
}

// tick asks again for what is due, and gives up what has not been in use for the time retain.
func (d *demand) tick(now time.Time) {
	d.seconds.Store(now.Unix())
	d.mu.Lock()
	defer d.mu.Unlock()
	rested := now.Add(-d.retain).Unix()
	d.wants.Range(func(a netip.Addr, w *want) bool {
		switch {
		case w.local:
		case w.used.Load() < rested:
			d.release(a, w, now)
		case !w.againAt.IsZero() && !now.Before(w.againAt):
			d.repeat(a, w, now)
		}
		return true
	})
	for names, at := range d.gone {
		if now.Sub(at) > d.retain+goneFor {
			delete(d.gone, names)
		}
	}
	if missed := d.counts.missed.Load(); missed != d.missed {
		d.missed = missed
		d.answers.Add(1) // the records that wait look it up again
	}
	d.out.send()
}

// repeat asks again. The server answers a name only once for each subscription.
func (d *demand) repeat(a netip.Addr, w *want, now time.Time) {
	w.againAt = now.Add(answerDue)
	d.counts.repeats.Add(1)
	d.out.repeat(AddressName(d.network, a))
}

// release gives an address up, and who has it, unless that is held for another reason.
func (d *demand) release(a netip.Addr, w *want, now time.Time) {
	if !w.local {
		d.asked--
		d.counts.released.Add(1)
		d.out.unsubscribe(AddressName(d.network, a))
		if slices.ContainsFunc(d.at[a], d.owns) {
			w.local = true
			return
		}
	}
	d.wants.Delete(a)
	for _, e := range slices.Clone(d.at[a]) {
		if !d.keeps(e) {
			d.drop(e, identity.Span{Until: now}, now)
			d.out.unsubscribe(e.name)
		}
	}
}
