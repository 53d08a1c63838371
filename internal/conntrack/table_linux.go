// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/elastic/go-freelru"
	"github.com/mdlayher/netlink"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

const (
	// A query takes about 20 µs of the goroutine that reads all records. With these limits that is 4 % of a core, and at
	// most 10 ms at once.
	questionsPerSecond = 2000
	questionsAtOnce    = 500
	// patience is the timeout of an answer. The kernel answers within the call, so only a lost answer takes longer, or a CPU
	// that others have meanwhile: a shorter one would take that for a failure, and then pause.
	patience = 50 * time.Millisecond
	// firstPatience is the timeout of the first answer, without which the start fails: a busy machine may be slow.
	firstPatience = time.Second
	// pause is the time without queries after a failure.
	pause = time.Second
)

// conn is what a Table needs of netlink.Conn.
type conn interface {
	Execute(netlink.Message) ([]netlink.Message, error)
	SetDeadline(time.Time) error
	Close() error
}

// Table queries the connection tracking of one network namespace, once per connection. It is not safe for concurrent use.
type Table struct {
	dial   func() (conn, error)
	conn   conn // nil after a failure
	logger *zap.Logger
	now    func() time.Time
	// namespace is the file of the network namespace; nil: the process's own.
	namespace io.Closer

	answers *freelru.LRU[uint64, netip.AddrPort]
	budget  *rate.Limiter
	resume  time.Time // no query before
	warned  bool
	stats   Stats
}

// Stats are totals.
type Stats struct {
	Asked   uint64 // queries to the kernel
	Missed  uint64 // of these, without an entry
	Failed  uint64 // of these, without an answer
	Refused uint64 // queries past the rate limit; most are repeated later
}

// newTable returns a table after a first query, so that a missing capability or module shows at start.
func newTable(dial func() (conn, error), logger *zap.Logger) (*Table, error) {
	c, err := dial()
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	t := &Table{
		dial: dial, conn: c, logger: logger, now: time.Now,
		answers: newAnswers(maxAnswers), budget: rate.NewLimiter(questionsPerSecond, questionsAtOnce),
	}
	nobody := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if _, err := t.ask(nobody, nobody, firstPatience); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("query a connection: %w", err), c.Close())
	}
	return t, nil
}

// Translate returns where the packets of a connection go, by the addresses of its socket; end is the ID of the connection end.
// False: to the socket's destination, as far as known.
func (t *Table) Translate(end uint64, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	to, known := t.answers.Get(end)
	if !known {
		if to, known = t.learn(source, destination); known {
			t.answers.Add(end, to)
		}
	}
	return to, to.IsValid()
}

// learn queries the kernel. An invalid address is an answer too: the packets go to the socket's destination, or the kernel
// has forgotten the entry.
func (t *Table) learn(source, destination netip.AddrPort) (to netip.AddrPort, known bool) {
	now := t.now()
	if now.Before(t.resume) || !t.budget.AllowN(now, 1) {
		t.stats.Refused++
		return to, false
	}
	t.stats.Asked++
	to, err := t.ask(source, destination, patience)
	switch {
	case errors.Is(err, os.ErrNotExist):
		t.stats.Missed++
		return netip.AddrPort{}, true
	case err != nil:
		t.stats.Failed++
		t.fail(err, now)
		return netip.AddrPort{}, false
	case to == destination:
		return netip.AddrPort{}, true
	}
	return to, true
}

func (t *Table) ask(source, destination netip.AddrPort, patience time.Duration) (netip.AddrPort, error) {
	if t.conn == nil {
		c, err := t.dial()
		if err != nil {
			return netip.AddrPort{}, err
		}
		t.conn = c
	}
	question, err := request(source, destination)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if err := t.conn.SetDeadline(t.now().Add(patience)); err != nil {
		return netip.AddrPort{}, err
	}
	messages, err := t.conn.Execute(question)
	if err != nil {
		return netip.AddrPort{}, err
	}
	original, reply, err := sources(messages)
	if err == nil && original.IsValid() && original != source {
		return destination, nil // the node saw the replies only, and takes the server for the client: nothing is translated
	}
	return reply, err
}

// fail closes the socket, because a late answer would pass for the answer to the next query.
func (t *Table) fail(err error, now time.Time) {
	if t.conn != nil {
		_ = t.conn.Close()
		t.conn = nil
	}
	t.resume = now.Add(pause)
	if !t.warned {
		t.warned = true
		t.logger.Warn("connection tracking does not answer; until it does, connections to a service address do not show the pod",
			zap.Error(err))
	}
}

// Stats returns the present totals.
func (t *Table) Stats() Stats { return t.stats }

// Close frees the socket.
func (t *Table) Close() error {
	var errs []error
	if t.conn != nil {
		errs = append(errs, t.conn.Close())
	}
	if t.namespace != nil {
		errs = append(errs, t.namespace.Close())
	}
	return errors.Join(errs...)
}
