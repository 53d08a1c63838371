/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way of a report to user space: the rings, the spill map, the tally. */
#ifndef REPORT_H
#define REPORT_H

#include "connection.h"

/* The closes. User space reads on a timer; it is woken only when the ring
 * fills, because a wake-up costs more than the rest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct record);
} ends SEC(".maps");

/* The reports of open connections: a burst of these must not displace a close. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
	__type(value, struct record);
} opens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

/* User space puts an empty map in the place of the full one and then owns the
 * full one alone: the kernel ends the update only when no program uses it.
 */
struct spills {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct spill_key);
	__type(value, struct spill);
} spills SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct spills);
} spilling SEC(".maps") = {
	.values = { &spills },
};

/* Unread bytes in a ring that wake the reader. */
const volatile __u64 wakeup_ends = 1 << 20;
const volatile __u64 wakeup_opens = 512 << 10;

/* Set by user space before it runs the iterator, more than once where the ring had
 * not the room: an end that was told of since sweep_began is not told of again.
 */
__u64 sweep_began;
bool sweep_all;

static __always_inline struct tally *tally(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tallies, &zero);
}

/* The iterator and the transitions can meet on one CPU, and soft interrupts
 * come in between: an addition must be one instruction.
 */
static __always_inline void bump(__u64 *counter, __u64 by)
{
	__sync_fetch_and_add(counter, by);
}

static __always_inline void add(struct counters *sum, const struct counters *delta)
{
	for (int i = 0; i < COUNTERS; i++)
		bump((__u64 *)sum + i, ((const __u64 *)delta)[i]);
}

static __always_inline void count_opened(void)
{
	struct tally *t = tally();

	if (t)
		bump(&t->opened, 1);
}

static __always_inline void count_found(void)
{
	struct tally *t = tally();

	if (t)
		bump(&t->found, 1);
}

static __always_inline void count_untracked(void)
{
	struct tally *t = tally();

	if (t)
		bump(&t->untracked, 1);
}

/* Makes the socket's entry; false, and counted, where there is no room for one. */
static __always_inline bool put(const struct sock *sk, const struct connection *conn, __u64 flags)
{
	__u64 key = (__u64)sk;
	void *connections = connections_of(sk);

	if (connections && !bpf_map_update_elem(connections, &key, conn, flags))
		return true;
	if (flags != BPF_NOEXIST)
		count_untracked();
	return false;
}

/* Wakes the reader when the ring passes the level, and not for each record above it. Two CPUs
 * may pass it together: some records' room is left for that, and the timer is never far.
 */
static __always_inline __u64 wakeup(void *ring, __u64 level)
{
	__u64 above = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) - level;

	return above < 8 * sizeof(struct record) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline void fill_addresses(struct endpoint *source, struct endpoint *destination,
					   struct endpoint *original, const struct tcp_sock *tp,
					   const struct connection *conn, bool known)
{
	if (conn->direction == OUTBOUND)
		fill_endpoints(source, destination, tp, known);
	else
		fill_endpoints(destination, source, tp, known);
	*original = conn->original;
}

/* True for an end that sent RST though its FIN had been acknowledged: what can be told of
 * an end that waited for the peer's FIN, whose socket has no error of it. Without that
 * FIN only the application ends it, and these are the ways in which close(2), or a
 * disconnect, does not leave the rest to TIME_WAIT.
 */
static __always_inline bool gave_up(const struct sock *sk, const struct tcp_sock *tp, int state)
{
	unsigned long flags = sk->__sk_common.skc_flags;

	if (state != TCP_FIN_WAIT2 || flags & (1UL << SOCK_DONE))
		return false;
	return sk->sk_shutdown != SHUTDOWN_MASK ||	/* a disconnect */
	       (flags & (1UL << SOCK_LINGER) && !sk->sk_lingertime) ||
	       tp->rcv_nxt != tp->copied_seq ||	/* unread data */
	       tp->linger2 < 0;
}

/* The cookie is a small number, so that its upper bits can tell one connect of a socket from
 * the next: by the microsecond at which it began.
 */
static __always_inline __u64 identity(const struct connection *conn)
{
	return conn->cookie ^ conn->start >> 10 << 40;
}

static __always_inline void fill_record(struct record *r, const struct tcp_sock *tp, const struct connection *conn,
					int state, enum record_kind kind, bool known)
{
	const struct sock *sk = (const struct sock *)tp;

	r->id = identity(conn);
	r->start = conn->start;
	r->previous = conn->told;
	r->now = bpf_ktime_get_boot_ns();
	r->cgroup = known ? sk->sk_cgrp_data.cgroup->kn->id : BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	r->srtt_us = FIELD(known, tp, srtt_us);
	r->min_rtt_us = FIELD(known, tp, rtt_min.s[0].v);
	r->process = conn->process;
	fill_addresses(&r->source, &r->destination, &r->original, tp, conn, known);
	r->kind = kind;
	r->direction = conn->direction;
	r->state = state;
	/* A Fast Open that waits for data has sent nothing, but has its first number. */
	r->unsent = kind == RECORD_FAILED && !FIELD(known, tp, segs_out) && !FIELD(known, tp, write_seq);
	r->error = FIELD(known, sk, sk_err);
	/* Only the close can tell, and it knows the socket. */
	if (known && kind == RECORD_CLOSED && !r->error && gave_up(sk, tp, state))
		r->error = ECONNABORTED;
}

static __always_inline void spill(const struct sock *sk, const struct tcp_sock *tp,
				  const struct connection *conn,
				  const struct counters *delta, enum record_kind kind)
{
	struct spill_key key = {};
	struct spill fresh = {}, *s;
	struct tally *t = tally();
	__u32 zero = 0;
	void *map;

	fill_addresses(&key.source, &key.destination, &key.original, tp, conn, true);
	key.source.port = 0;
	key.process = conn->process;
	key.cgroup = sk->sk_cgrp_data.cgroup->kn->id;
	key.direction = conn->direction;
	key.failed = kind == RECORD_FAILED;

	if (t)
		bump(&t->lost, 1);
	map = bpf_map_lookup_elem(&spilling, &zero);
	if (!map)
		return;
	s = bpf_map_lookup_elem(map, &key);
	if (!s) {
		fresh.start = conn->start;
		/* EEXIST: another CPU was first, which is as good. */
		bpf_map_update_elem(map, &key, &fresh, BPF_NOEXIST);
		s = bpf_map_lookup_elem(map, &key);
	}
	if (s) {
		bump(&s->ends, 1);
		add(&s->delta, delta);
	} else if (t) {
		add(&t->spill_lost, delta);
		bump(key.failed ? &t->spill_lost_failed : &t->spill_lost_closed, 1);
	}
}

/* Reports an end that is over. The exchange takes each counter out for good:
 * what the iterator reported before is in the old value, and what it may be
 * about to report will find TAKEN and be dropped.
 */
static __always_inline void report_end(struct sock *sk, struct tcp_sock *tp, struct connection *conn,
				       int state, enum record_kind kind)
{
	struct counters total, delta;
	struct tally *t = tally();
	struct record *r;

	if (t)
		bump(kind == RECORD_FAILED ? &t->failed : &t->closed, 1);
	fill_totals(&total, conn, tp, read_bytes(tp, true), state, true);
	for (int i = 0; i < COUNTERS; i++)
		((__u64 *)&delta)[i] = difference(((__u64 *)&total)[i],
						  __sync_lock_test_and_set(&conn->reported[i], TAKEN));

	r = bpf_ringbuf_reserve(&ends, sizeof(*r), 0);
	if (!r) {
		spill(sk, tp, conn, &delta, kind);
		return;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->total = total;
	r->delta = delta;
	fill_record(r, tp, conn, state, kind, true);
	bpf_ringbuf_submit(r, wakeup(&ends, wakeup_ends));
}

static __always_inline bool differ(const struct counters *total, const __u64 reported[COUNTERS])
{
	bool differ = false;

	for (int i = 0; i < COUNTERS; i++)
		differ |= difference(((const __u64 *)total)[i], reported[i]) != 0;
	return differ;
}

/* A first look, at as little as possible: most connections rest, and their memory is in no
 * cache. A FIN looks like a byte here. A loss shows with its retransmission.
 */
static __always_inline bool moved(const struct tcp_sock *tp, const struct connection *conn,
				  const __u64 reported[COUNTERS], bool known)
{
	struct raw_bytes bytes = read_bytes(tp, known);
	__u64 syn = conn->direction == OUTBOUND, retransmits = FIELD(known, tp, total_retrans);

	if (conn->older) {
		bytes.acked -= conn->before.sent;
		bytes.received -= conn->before.received;
		retransmits -= conn->before.retransmits;
	}
	return difference(bytes.acked, reported[1]) > syn || difference(bytes.received, reported[2]) ||
	       difference(retransmits, reported[3]) || difference(conn->opened, reported[0]);
}

/* False once the socket closed, or is another one: the memory of a socket is used again
 * at once, and has the next one's cookie then.
 */
static __always_inline bool still_open(const struct sock *sk, const struct connection *conn, bool known)
{
	return conn->phase == OPEN && FIELD(known, sk, __sk_common.skc_cookie.counter) == conn->cookie &&
	       FIELD(known, sk, __sk_common.skc_state) != TCP_CLOSE;
}

/* Reports an end that is open, without its lock, and without holding the socket: all that
 * is read may be the next connection's already. `reported` is read before the socket's
 * counter, and is replaced only if it still stands: then the end was not closed, what was
 * read is its own, and the difference is this report's alone. If it does not, the close has
 * told of everything.
 *
 * A total may still be one too low or too high for a moment, as the fields are not
 * read at one; the next difference makes up for it, as all add up to the last total.
 */
static __always_inline void report_open(const struct sock *sk, struct connection *conn, bool known)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)sk;
	__u64 reported[COUNTERS], told, start;
	struct raw_bytes bytes;
	struct counters total;
	bool taken = false;
	struct record *r;
	int state;

	for (int i = 0; i < COUNTERS; i++)
		reported[i] = *(volatile __u64 *)&conn->reported[i];
	fence(conn);
	if (!moved(tp, conn, reported, known) && (!sweep_all || conn->told >= sweep_began))
		return;
	if (!still_open(sk, conn, known))
		return;

	start = conn->start;
	bytes = read_bytes(tp, known);
	told = fence(conn);
	if (!was_unlocked(sk) || fence(conn) != told)
		return;	/* the next round will tell */
	state = FIELD(known, sk, __sk_common.skc_state);
	fill_totals(&total, conn, tp, bytes, state, known);
	if (!differ(&total, reported) && (!sweep_all || conn->told >= sweep_began))
		return;	/* it was a FIN */

	r = bpf_ringbuf_reserve(&opens, sizeof(*r), 0);
	if (!r) {
		struct tally *t = tally();

		if (t)
			bump(&t->postponed, 1);
		return;
	}
	__builtin_memset(r, 0, sizeof(*r));
	fill_record(r, tp, conn, state, RECORD_OPEN, known);
	r->total = total;
	for (int i = 0; i < COUNTERS; i++) {
		__u64 now = marked(start, ((__u64 *)&total)[i]);

		if (now != reported[i] && reported[i] != TAKEN &&
		    __sync_val_compare_and_swap(&conn->reported[i], reported[i], now) == reported[i]) {
			((__u64 *)&r->delta)[i] = difference(now, reported[i]);
			taken = true;
		}
	}
	/* The close was first: whatever there is to tell, it tells. */
	if (!taken && (!sweep_all || !still_open(sk, conn, known))) {
		bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);
		return;
	}
	conn->told = r->now;
	bpf_ringbuf_submit(r, wakeup(&opens, wakeup_opens));
}

#endif
