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

/* Set by user space once each older connection has an entry: from then on an established end
 * without one is an end that was missed.
 */
bool older_all_found;

/* Set by user space once destroy_sock is attached: it frees the entries. */
bool frees_on_destroy;

/* True once the mark of a late report found no room. */
bool late_unmarked;

/* The end that set_state reported last on each CPU, if its socket is destroyed next. */
struct closed {
	__u64 sk;
	__u64 cookie;
} __attribute__((aligned(64)));

#define CLOSED_CPUS 512

struct closed closed[CLOSED_CPUS];

static __always_inline volatile struct closed *closed_here(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return cpu < CLOSED_CPUS ? &closed[cpu] : NULL;
}

/* Leaves word for destroy_sock that the close was seen; false if it may not come at once, on this
 * CPU and with nothing between. A process that works off what came while it had the socket's lock
 * can be interrupted.
 */
static __always_inline bool closed_note(const struct sock *sk)
{
	volatile struct closed *here = closed_here();

	if (!here || !(sk->__sk_common.skc_flags & (1UL << SOCK_DEAD)) || !sock_lock_is_known() || sk->sk_lock.owned)
		return false;
	here->sk = (__u64)sk;
	here->cookie = sk->__sk_common.skc_cookie.counter;
	return true;
}

static __always_inline bool closed_was_noted(const struct sock *sk)
{
	volatile struct closed *here = closed_here();

	if (!here || here->sk != (__u64)sk || here->cookie != sk->__sk_common.skc_cookie.counter)
		return false;
	here->sk = 0;
	return true;
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
