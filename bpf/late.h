/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ends whose changes of state no program saw. The kernel runs no tracing program while the same
 * one runs on that CPU: what a soft interrupt changes meanwhile is missed. What was missed
 * shows later, in the socket.
 */
#ifndef LATE_H
#define LATE_H

#include "filter.h"
#include "process.h"
#include "report.h"

/* Set by user space once each older connection has an entry, to the time of that moment,
 * CLOCK_MONOTONIC in microseconds: from then on an established end without an entry is one that was
 * missed. 0: not all of them have one.
 */
__u64 older_all_found;

/* Set by user space once destroy_sock is attached: it frees the entries. */
bool frees_on_destroy;

/* True once the mark of a late report found no room. */
bool late_unmarked;

/* Ends that set_state has seen close, and whose sockets are still there, by the socket's address: for
 * them destroy_sock has nothing to do. Where another socket has the place, the entry stays
 * until then and says so.
 */
#define CLOSED_PLACES 4096 /* a power of two */

struct closed {
	__u64 sk; /* 0: the place is free */
	__u64 cookie;
};

struct closed closed[CLOSED_PLACES];

static __always_inline struct closed *closed_place(const struct sock *sk)
{
	__u32 place = sock_hash(sk);

	barrier_var(place);
	return &closed[place & (CLOSED_PLACES - 1)];
}

/* Leaves word for destroy_sock; false where that is not to be had. */
static __always_inline bool closed_note(const struct sock *sk)
{
	struct closed *place = closed_place(sk);
	__u64 before;

	if (!frees_on_destroy)
		return false;
	before = __sync_val_compare_and_swap(&place->sk, 0, (__u64)sk);
	if (before && before != (__u64)sk)
		return false;
	place->cookie = sk->__sk_common.skc_cookie.counter;
	return true;
}

/* Frees the place too. Another socket that had this address had another cookie. */
static __always_inline bool closed_was_noted(const struct sock *sk)
{
	struct closed *place = closed_place(sk);
	bool noted;

	if (place->sk != (__u64)sk)
		return false;
	noted = place->cookie == sk->__sk_common.skc_cookie.counter;
	*(volatile __u64 *)&place->sk = 0;
	return noted;
}

/* Reports an entry whose socket has closed unseen. */
static __always_inline void conn_close_missed(struct sock *sk, struct tcp_sock *tp, struct connection *conn)
{
	enum phase phase = __sync_lock_test_and_set(&conn->phase, ENDED);
	struct tally *tally = tally_here();

	if (phase != OPEN && phase != CONNECTING)
		return;
	tally_add(&tally->late, 1);
	if (phase == CONNECTING && !tp->bytes_acked) {
		report_end(sk, tp, conn, TCP_SYN_SENT, RECORD_FAILED);
		return;
	}
	if (phase == CONNECTING) {
		conn->opened = 1;
		tally_add(&tally->opened, 1);
	}
	report_end(sk, tp, conn, tcp_left_state(tp, conn->syn), RECORD_CLOSED);
}

/* Where an entry is made that no map gets: the stack has no room for it. One for each program. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct connection);
} late_connections SEC(".maps");

enum late_place {
	LATE_SET_STATE,
	LATE_DESTROY_SOCK,
};

/* Reports an end that has no entry and is over, or counts it; false if it is none of ours. `state`
 * is the one that it left.
 */
static __always_inline bool report_late(struct sock *sk, struct tcp_sock *tp, int state, enum late_place place)
{
	bool failed = state == TCP_SYN_SENT;
	struct tally *tally = tally_here();
	__u32 key = place;
	struct connection *conn;
	enum direction direction;
	__u64 syn;

	syn = failed ? 1 : tcp_syn_counted(tp, state, true);
	direction = syn == 1 ? OUTBOUND : INBOUND;
	if (filter_sock(tp, direction, true) != FOLLOWED)
		return false;
	if (!older_all_found) {
		tally_add(&tally->unseen, 1);
		return true;
	}
	conn = bpf_map_lookup_elem(&late_connections, &key);
	if (!conn)
		return false;
	__builtin_memset(conn, 0, sizeof(*conn));
	conn->late = 1;
	conn->cookie = bpf_get_socket_cookie(sk);
	conn->opened = !failed;
	if (direction == INBOUND)
		process_from_listener(&conn->process, sk);
	conn_begin(conn, direction, ENDED);
	tally_add(&tally->late, 1);
	if (!failed)
		tally_add(&tally->opened, 1);
	report_end(sk, tp, conn, state, failed ? RECORD_FAILED : RECORD_CLOSED);
	return true;
}

/* Has destroy_sock know that the end of a socket without an entry was reported. */
static __always_inline void late_mark(struct sock *sk)
{
	struct connection ended = { .phase = ENDED };

	if (!frees_on_destroy)
		return;
	ended.cookie = bpf_get_socket_cookie(sk);
	if (!conn_insert_anew(sk, &ended, true))
		late_unmarked = true;
}

#endif
