/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets that were there before the program: found once, through their files. */
#ifndef OLDER_H
#define OLDER_H

#include "report.h"

/* Set by user space: which of the two passes this is. */
bool seek_listeners;

/* A listener's storage is what its accepted sockets inherit. That of an MPTCP
 * listener is in a socket that no file leads to: for those the map has the process.
 */
static __always_inline void find_listener(struct sock *sk, struct task_struct *task)
{
	struct local_port key = local_port(sk);
	struct process process = {};
	struct connection *conn;

	if (sk->__sk_common.skc_state != TCP_LISTEN)
		return;
	fill_process(&process, task);
	bpf_map_update_elem(&listeners, &key, &process, BPF_ANY);
	if (sk->sk_protocol != IPPROTO_TCP)
		return;
	conn = bpf_sk_storage_get(&connections, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn || conn->phase != IDLE)
		return;
	conn->process = process;
	conn->phase = LISTENING;
}

/* Notes the present totals: only what comes after them counts. The
 * close handler can run at the same moment; the exchanges of `phase` let exactly
 * one of the two have the connection.
 */
static __always_inline void find_connection(struct sock *sk, struct task_struct *task)
{
	struct local_port key = local_port(sk);
	int state = sk->__sk_common.skc_state;
	struct counters before;
	struct connection *conn;
	struct tcp_sock *tp;

	if (state == TCP_CLOSE || state == TCP_LISTEN)
		return;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	conn = bpf_sk_storage_get(&connections, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		count_untracked();
		return;
	}
	if (conn->phase != IDLE)
		return;
	fill_process(&conn->process, task);
	conn->start = bpf_ktime_get_boot_ns();
	conn->uses = 1;
	conn->direction = OUTBOUND;
	if (state == TCP_SYN_SENT) {
		__sync_val_compare_and_swap(&conn->phase, IDLE, CONNECTING);
		return;
	}
	if (bpf_map_lookup_elem(&listeners, &key))
		conn->direction = INBOUND;
	fill_totals(&before, conn, sk, tp, read_bytes(tp), state);
	conn->before = before;
	if (__sync_val_compare_and_swap(&conn->phase, IDLE, OPEN) != IDLE)
		return;
	/* Closed before the storage was there: nobody else will end it. */
	if (sk->__sk_common.skc_state == TCP_CLOSE &&
	    __sync_val_compare_and_swap(&conn->phase, OPEN, ENDED) == OPEN)
		return;
	count_found();
}

#endif
