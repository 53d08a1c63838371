/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The reports to user space: of ends that are over, and of open ones. */
#ifndef REPORT_H
#define REPORT_H

#include "connection.h"
#include "ring.h"
#include "spill.h"

/* Whether records have their last part. */
const volatile bool with_detail = false;

#define SHORT_RECORD __builtin_offsetof(struct record, detail)

/* Set by user space before it walks, more than once where the ring had not the room:
 * an end that was reported since sweep_began is not reported again.
 */
__u64 sweep_began;
bool sweep_all;

/* True for an end that sent RST though its FIN had been acknowledged: what is known of
 * an end that waited for the peer's FIN, whose socket has no error of it. Without that
 * FIN only the application ends it, and these are the ways in which close(2), or a
 * disconnect, does not leave the rest to TIME_WAIT.
 */
static __always_inline bool tcp_gave_up(const struct sock *sk, const struct tcp_sock *tp, int state)
{
	unsigned long flags = sk->__sk_common.skc_flags;

	if (state != TCP_FIN_WAIT2 || flags & (1UL << SOCK_DONE))
		return false;
	return sk->sk_shutdown != SHUTDOWN_MASK || /* a disconnect */
	       (flags & (1UL << SOCK_LINGER) && !sk->sk_lingertime) ||
	       tp->rcv_nxt != tp->copied_seq || /* unread data */
	       tp->linger2 < 0;
}

/* A cookie is a small number, so that the upper bits can separate one connect of a socket from
 * the next: by when it began, in units of 1,024 ns.
 */
static __always_inline __u64 conn_id(const struct connection *conn)
{
	__u64 number = conn->cookie ? conn->cookie : conn->number | 1ULL << 39;

	return number ^ conn->start >> 10 << 40;
}

static __always_inline void record_isns(struct record *r, const struct tcp_sock *tp, const struct connection *conn,
					bool typed)
{
	struct sequence_numbers isn = tcp_isns(tp, conn->syn, typed);

	if (conn->direction == OUTBOUND) {
		r->client_isn = isn.own;
		r->server_isn = isn.peer;
	} else {
		r->client_isn = isn.peer;
		r->server_isn = isn.own;
	}
}

static __always_inline void record_endpoints(struct record *r, const struct tcp_sock *tp, const struct connection *conn,
					     bool typed)
{
	if (conn->direction == OUTBOUND)
		sock_endpoints(&r->source, &r->destination, tp, typed);
	else
		sock_endpoints(&r->destination, &r->source, tp, typed);
	r->original = conn->original;
}

static __always_inline void record_detail(struct detail *d, const struct tcp_sock *tp, bool typed)
{
	d->snd_cwnd = tcp_snd_cwnd(tp, typed);
	d->snd_ssthresh = tcp_snd_ssthresh(tp, typed);
	d->mss = tcp_mss(tp, typed);
	d->segs_in = tcp_segs_in(tp, typed);
	d->segs_out = tcp_segs_out(tp, typed);
	d->data_segs_in = tcp_data_segs_in(tp, typed);
	d->data_segs_out = tcp_data_segs_out(tp, typed);
	d->delivered = tcp_delivered(tp, typed);
	d->delivered_ce = tcp_delivered_ce(tp, typed);
	d->dsack_dups = tcp_dsack_dups(tp, typed);
	d->reordering = tcp_reordering(tp, typed);
	d->rate_delivered = tcp_rate_delivered(tp, typed);
	d->rate_interval_us = tcp_rate_interval(tp, typed);
	d->icsk_retransmits = tcp_retransmits(tp, typed);
}

static __always_inline void record_fill(struct record *r, const struct tcp_sock *tp, const struct connection *conn,
					int state, enum record_kind kind, bool typed)
{
	const struct sock *sk = (const struct sock *)tp;

	r->id = conn_id(conn);
	r->start = conn->start;
	r->previous = conn->reported_at;
	r->now = bpf_ktime_get_boot_ns();
	r->connect = conn->connect;
	r->cgroup = sock_cgroup(sk, typed);
	r->netns = sock_netns(sk, typed);
	r->nested = sock_netns_nested(sk, typed);
	if (kind != RECORD_FAILED)
		record_isns(r, tp, conn, typed);
	r->srtt_us = tcp_srtt(tp, typed);
	r->min_rtt_us = tcp_min_rtt(tp, typed);
	r->process = conn->process;
	record_endpoints(r, tp, conn, typed);
	r->kind = kind;
	r->direction = conn->direction;
	r->state = state;
	r->late = conn->late;
	/* A Fast Open that waits for data has sent nothing, but has its first number. */
	r->unsent = kind == RECORD_FAILED && !tcp_segs_out(tp, typed) && !tcp_write_seq(tp, typed);
	r->error = sock_error(sk, typed);
}

static __always_inline struct record *record_reserve(void *ring)
{
	struct record *r;

	if (with_detail) {
		r = bpf_ringbuf_reserve(ring, sizeof(*r), 0);
		if (r)
			__builtin_memset(r, 0, sizeof(*r));
		return r;
	}
	r = bpf_ringbuf_reserve(ring, SHORT_RECORD, 0);
	if (r)
		__builtin_memset(r, 0, SHORT_RECORD);
	return r;
}

/* Reports an end that is over. The exchange takes each counter out for good:
 * what the walk reported before is in the old value, and what it may be
 * about to report will find TAKEN and be dropped.
 */
static __always_inline void report_end(struct sock *sk, struct tcp_sock *tp, struct connection *conn, int state,
				       enum record_kind kind)
{
	struct counters total, delta;
	struct tally *tally = tally_here();
	struct record *r;

	tally_add(kind == RECORD_FAILED ? &tally->failed : &tally->closed, 1);
	conn_totals(&total, conn, tp, tcp_bytes(tp, true), state, true);
	for (int i = 0; i < COUNTERS; i++)
		((__u64 *)&delta)[i] =
			counter_difference(((__u64 *)&total)[i], __sync_lock_test_and_set(&conn->reported[i], TAKEN));

	r = record_reserve(&ends);
	if (!r) {
		spill_add(sk, tp, conn, &delta, kind);
		return;
	}
	r->total = total;
	r->delta = delta;
	record_fill(r, tp, conn, state, kind, true);
	/* Known only at the close, where the socket is at hand. */
	if (kind == RECORD_CLOSED && !r->error && tcp_gave_up(sk, tp, state))
		r->error = ECONNABORTED;
	if (with_detail)
		record_detail(&r->detail, tp, true);
	bpf_ringbuf_submit(r, ring_wakeup(&ends, wakeup_ends));
}

/* How long a process has to accept a connection, and to ask where it was going: until then a record
 * would have other names than the later ones. In ns.
 */
const volatile __u64 youth = 50000000;

static __always_inline bool conn_is_young(const struct connection *conn)
{
	return conn->direction == INBOUND && !conn->older && !conn->reported_at && conn->start + youth > sweep_began;
}

static __always_inline bool counters_differ(const struct counters *total, const __u64 reported[COUNTERS])
{
	bool differ = false;

	for (int i = 0; i < COUNTERS; i++)
		differ |= counter_difference(((const __u64 *)total)[i], reported[i]) != 0;
	return differ;
}

/* False once the socket closed, or is another one: the memory of a socket is used again
 * at once, and has the next one's cookie then.
 */
static __always_inline bool conn_still_open(const struct sock *sk, const struct connection *conn, bool typed)
{
	return conn->phase == OPEN && (!conn->cookie || sock_cookie(sk, typed) == conn->cookie) &&
	       sock_state(sk, typed) != TCP_CLOSE;
}

/* Orders the reads before it against those after it: an atomic operation whose result
 * is used is a full barrier, the only one that all our kernels' BPF has.
 */
static __always_inline __u64 conn_fence(struct connection *conn)
{
	return __sync_fetch_and_add(&conn->reported_at, 0);
}

/* Reports an end that is open, without its lock, and without holding the socket: all that
 * is read may be the next connection's already. `reported` is read before the socket's
 * counter, and is replaced only if it still stands: then the end was not closed, what was
 * read is its own, and the difference is this report's alone. If it does not, the close has
 * reported everything.
 *
 * A total may still be one too low or too high for a moment, as the fields are not
 * read at one; the next difference makes up for it, as all add up to the last total.
 */
static __always_inline void report_open(const struct sock *sk, struct connection *conn, bool typed)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)sk;
	__u64 reported[COUNTERS], reported_at, start;
	struct sequence_numbers before, after;
	struct raw_bytes bytes;
	struct counters total;
	bool taken = false;
	struct record *r;
	int state;

	for (int i = 0; i < COUNTERS; i++)
		reported[i] = *(volatile __u64 *)&conn->reported[i];
	conn_fence(conn);
	if (!conn_moved(tp, conn, reported, typed) && (!sweep_all || conn->reported_at >= sweep_began))
		return;
	if (!conn_still_open(sk, conn, typed) || (!sweep_all && conn_is_young(conn)))
		return;

	start = conn->start;
	before = tcp_isns(tp, conn->syn, typed);
	bytes = tcp_bytes(tp, typed);
	reported_at = conn_fence(conn);
	/* A FIN is counted and marked under the lock: once that was free after the bytes were
	 * read, the mark of a FIN that is among them can be read.
	 */
	if (sock_lock_is_known() && (!sock_was_unlocked(sk, 64, typed) || conn_fence(conn) != reported_at))
		return; /* the next round will report it */
	after = tcp_isns(tp, conn->syn, typed);
	if (before.own != after.own || before.peer != after.peer)
		return; /* it moved while it was read */
	state = sock_state(sk, typed);
	conn_totals(&total, conn, tp, bytes, state, typed);
	if (!counters_differ(&total, reported) && (!sweep_all || conn->reported_at >= sweep_began))
		return; /* it was a FIN */

	r = record_reserve(&opens);
	if (!r) {
		tally_add(&tally_here()->postponed, 1);
		return;
	}
	record_fill(r, tp, conn, state, RECORD_OPEN, typed);
	if (conn->direction == OUTBOUND) {
		r->client_isn = after.own;
		r->server_isn = after.peer;
	} else {
		r->client_isn = after.peer;
		r->server_isn = after.own;
	}
	if (with_detail)
		record_detail(&r->detail, tp, typed);
	r->total = total;
	for (int i = 0; i < COUNTERS; i++) {
		__u64 now = counter_marked(start, ((__u64 *)&total)[i]);

		if (now != reported[i] && reported[i] != TAKEN &&
		    __sync_val_compare_and_swap(&conn->reported[i], reported[i], now) == reported[i]) {
			((__u64 *)&r->delta)[i] = counter_difference(now, reported[i]);
			taken = true;
		}
	}
	/* The close was first: whatever there is to report, it reports. */
	if (!taken && (!sweep_all || !conn_still_open(sk, conn, typed))) {
		bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);
		return;
	}
	conn->reported_at = r->now;
	bpf_ringbuf_submit(r, ring_wakeup(&opens, wakeup_opens));
}

#endif
