/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets that were there before the program: found once, through their files. */
#ifndef OLDER_H
#define OLDER_H

#include "report.h"

/* Set by user space: which of the two passes this is. */
bool seek_listeners;

/* The storage of an MPTCP listener is in a socket that no file leads to: for those the
 * map has the process. It also tells that its accepted sockets did not connect.
 */
static __always_inline void find_listener(struct sock *sk, struct task_struct *task)
{
	struct local_port key = local_port(sk);
	struct process process = {}, *stored;

	if (sk->__sk_common.skc_state != TCP_LISTEN)
		return;
	fill_process(&process, task);
	bpf_map_update_elem(&older_listeners, &key, &process, BPF_ANY);
	if (!name_listeners || sk->sk_protocol != IPPROTO_TCP)
		return;
	stored = bpf_sk_storage_get(&listeners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (stored && !stored->pid)
		*stored = process;
}

/* Notes the present totals: only what comes after them counts. The
 * close handler can run at the same moment; the exchanges of `phase` let exactly
 * one of the two have the connection.
 */
static __always_inline void find_connection(struct sock *sk, struct task_struct *task)
{
	struct connection fresh = { .start = bpf_ktime_get_boot_ns(), .direction = OUTBOUND, .phase = OPEN, .older = 1 };
	struct local_port port = local_port(sk);
	int state = sk->__sk_common.skc_state;
	struct connection *conn;
	struct counters before;
	struct tcp_sock *tp;

	if (state == TCP_CLOSE || state == TCP_LISTEN)
		return;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	fresh.cookie = bpf_get_socket_cookie(sk);
	fill_process(&fresh.process, task);
	for (int i = 0; i < COUNTERS; i++)
		fresh.reported[i] = marked(fresh.start, 0);
	if (find(sk))
		return;	/* by the tracepoint, or through another file */
	forget(sk);	/* of a socket that was here before it */
	if (state == TCP_SYN_SENT) {
		fresh.phase = CONNECTING;
		put(sk, &fresh, BPF_NOEXIST);
		return;
	}
	if (bpf_map_lookup_elem(&older_listeners, &port))
		fresh.direction = INBOUND;
	fill_totals(&before, &fresh, tp, read_bytes(tp, true), state, true);
	fresh.before = before;
	if (!put(sk, &fresh, BPF_NOEXIST))
		return;	/* the tracepoint was here meanwhile */
	conn = find(sk);
	if (!conn)
		return;
	/* Closed before the entry was there: nobody else will end it. */
	if (sk->__sk_common.skc_state == TCP_CLOSE &&
	    __sync_val_compare_and_swap(&conn->phase, OPEN, ENDED) == OPEN) {
		forget(sk);
		return;
	}
	count_found();
}

#endif
