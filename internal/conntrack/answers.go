package conntrack

import "net/netip"

// answersKept bounds the answers of one generation.
const answersKept = 65_536

// answers keeps what was learned of the connections that were asked about last: at least answersKept of them, and at
// most twice as many.
type answers struct {
	limit         int
	recent, older map[uint64]netip.AddrPort
}

func newAnswers() answers {
	return answers{limit: answersKept, recent: make(map[uint64]netip.AddrPort)}
}

func (a *answers) find(end uint64) (netip.AddrPort, bool) {
	if to, known := a.recent[end]; known {
		return to, true
	}
	to, known := a.older[end]
	if known {
		a.keep(end, to) // it is still asked for
	}
	return to, known
}

func (a *answers) keep(end uint64, to netip.AddrPort) {
	if len(a.recent) >= a.limit {
		a.older, a.recent = a.recent, make(map[uint64]netip.AddrPort)
	}
	a.recent[end] = to
}
