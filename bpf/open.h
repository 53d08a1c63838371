/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a connection end begins: it connects, or is accepted. */
#ifndef OPEN_H
#define OPEN_H

#include "ask.h"
#include "filter.h"
#include "late.h"
#include "process.h"

/* A connect that TCP_REPAIR makes sends no SYN: the connection was there before, elsewhere. */
static __always_inline bool tcp_is_restored(const struct tcp_sock *tp)
{
	return BPF_CORE_READ_BITFIELD(tp, repair);
}

/* Who connects. Further subflows of MPTCP are connected by a thread of the kernel, for the process that
 * connected the first. Linux 6.2 and newer.
 */
static __always_inline void process_connecting(struct process *process, const struct tcp_sock *tp)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mptcp_subflow_context *subflow;
	struct mptcp_sock *whole;
	struct connection *first;

	process_from_task(process, task);
	if (!(task->flags & PF_KTHREAD) || !bpf_ksym_exists(bpf_rdonly_cast) ||
	    !bpf_core_type_exists(struct mptcp_subflow_context) || !tp->is_mptcp)
		return;
	subflow = bpf_rdonly_cast(tp->inet_conn.icsk_ulp_data, bpf_core_type_id_kernel(struct mptcp_subflow_context));
	whole = bpf_rdonly_cast(subflow->conn, bpf_core_type_id_kernel(struct mptcp_sock));
	if (!whole->first)
		return;
	first = conn_lookup(whole->first, true);
	if (first)
		*process = first->process;
}

/* The entry of a socket that connects now. */
static __always_inline void conn_fill_connecting(struct connection *conn, const struct tcp_sock *tp,
						 const struct endpoint *original, __u8 direction)
{
	struct counters nothing = {};

	*(volatile enum phase *)&conn->phase = ASKED; /* until all is there */
	conn->opened = 0;
	conn->older = 0;
	conn->late = 0;
	conn->reported_at = 0;
	conn->connect = 0;
	conn->before = nothing;
	conn->original = *original;
	process_connecting(&conn->process, tp);
	/* The only counter that a socket keeps when it is disconnected. */
	conn->before.lost = tp->lost;
	conn_begin(conn, direction, CONNECTING);
	if (tcp_is_restored(tp))
		conn->syn = 0;
}

static __always_inline long conn_insert_connecting(struct sock *sk, const struct tcp_sock *tp,
						   const struct endpoint *original, __u8 direction)
{
	struct connection fresh = {};

	fresh.cookie = bpf_get_socket_cookie(sk);
	conn_fill_connecting(&fresh, tp, original, direction);
	return conn_insert(sk, &fresh, true);
}

/* The socket's entry, if it has one, is of another connect, or has what this one was asked for. */
static __always_inline void conn_connecting_again(struct sock *sk, struct tcp_sock *tp, struct endpoint *original,
						  __u8 direction, bool was_asked)
{
	struct connection *conn = conn_lookup(sk, true);
	struct tally *tally = tally_here();
	enum verdict verdict;

	if (!conn)
		conn_evict_stale(sk);
	else if (conn->phase != ASKED)
		conn_close_missed(sk, tp, conn);
	else if (!was_asked) {
		*original = conn->original;
		direction = conn->direction;
	}
	verdict = filter_sock(tp, direction, true);
	if (verdict == FOLLOWED && conn) {
		conn_fill_connecting(conn, tp, original, direction);
	} else if (verdict == FOLLOWED) {
		if (conn_insert_connecting(sk, tp, original, direction))
			tally_add(&tally->untracked, 1);
	} else {
		if (conn)
			conn_delete(sk, conn);
		if (verdict == EXCLUDED)
			tally_add(&tally->excluded, 1);
	}
}

static __always_inline void conn_connecting(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct endpoint original = {};
	__u8 direction = OUTBOUND;
	bool was_asked;
	long err;

	if (!tp)
		return;
	closed_was_noted(sk); /* it is open again */
	was_asked = ask_take(sk, &original, &direction);
	if (!tcp_is_restored(tp))
		direction = OUTBOUND;
	/* Mostly it is the socket's first connect. */
	if (was_asked && filter_sock(tp, direction, true) == FOLLOWED) {
		err = conn_insert_connecting(sk, tp, &original, direction);
		if (!err)
			return;
		if (err != -EEXIST) {
			tally_add(&tally_here()->untracked, 1);
			return;
		}
	}
	conn_connecting_again(sk, tp, &original, direction, was_asked);
}

/* The end of a handshake that the other side began. */
static __always_inline void conn_accepted(struct sock *sk)
{
	struct connection fresh = { .opened = 1 };
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct tally *tally = tally_here();
	enum verdict verdict;

	if (!tp)
		return;
	verdict = filter_sock(tp, INBOUND, true);
	if (verdict != FOLLOWED) {
		if (verdict == EXCLUDED)
			tally_add(&tally->excluded, 1);
		return;
	}
	fresh.cookie = bpf_get_socket_cookie(sk);
	process_from_listener(&fresh.process, sk);
	conn_begin(&fresh, INBOUND, OPEN);
	if (conn_insert_anew(sk, &fresh, true))
		tally_add(&tally->opened, 1);
	else
		tally_add(&tally->untracked, 1);
}

static __always_inline void conn_established(struct sock *sk, int oldstate)
{
	struct connection *conn;

	/* A socket that connected has had its cookie since then. */
	if (oldstate == TCP_SYN_RECV && !sk->__sk_common.skc_cookie.counter) {
		conn_accepted(sk);
		return;
	}
	conn = conn_lookup(sk, true);
	if (!conn) {
		if (oldstate == TCP_SYN_RECV)
			conn_accepted(sk);
		return;
	}
	if (conn->phase == ASKED)
		conn_begin(conn, conn->direction, CONNECTING);
	else if (conn->phase == CONNECTING && conn->syn)
		conn->connect = bpf_ktime_get_boot_ns() - conn->start;
	if (conn->phase != CONNECTING)
		return;
	conn->opened = 1;
	if (__sync_val_compare_and_swap(&conn->phase, CONNECTING, OPEN) == CONNECTING)
		tally_add(&tally_here()->opened, 1);
}

/* TCP Fast Open lets the server accept a connection with the SYN's data before the
 * handshake is over: it can read, answer and close without ever being ESTABLISHED.
 */
static __always_inline bool tcp_used_in_handshake(struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tp;

	if (oldstate != TCP_SYN_RECV)
		return false;
	if (newstate == TCP_FIN_WAIT1)
		return true;
	tp = bpf_skc_to_tcp_sock(sk);
	return tp && tp->bytes_received;
}

#endif
