/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets that were there before the program, and those whose opening it missed. The files of
 * all processes lead to most of them and to their owners; the kernel's own table has the rest.
 */
#ifndef OLDER_H
#define OLDER_H

#include "late.h"

/* Set by user space: which of the two passes over files this is. */
bool seek_listeners;

/* The address of the kernel's table of sockets; 0: not known. */
__u64 socket_table;

/* Any socket leads to the table. User space opens one to have its address. Linux 5.19 to 6.0 keep
 * it elsewhere.
 */
static __always_inline void scan_learn_table(const struct sock *sk)
{
	if (!socket_table && bpf_core_field_exists(((struct net *)0)->ipv4.tcp_death_row.hashinfo))
		socket_table = (__u64)sk->__sk_common.skc_net.net->ipv4.tcp_death_row.hashinfo;
}

/* Numbers the entries of sockets that have no cookie. */
__u64 numbered;

/* The storage of an MPTCP listener is in a socket that no file leads to: for those the
 * map has the process. It also shows that its accepted sockets did not connect.
 */
static __always_inline void older_listener(struct sock *sk, struct task_struct *task)
{
	struct local_port key = sock_local_port(sk);
	struct process process = {}, *stored;

	if (sk->__sk_common.skc_state != TCP_LISTEN)
		return;
	process_from_task(&process, task);
	if (bpf_map_update_elem(&older_listeners, &key, &process, BPF_ANY))
		__sync_fetch_and_add(&older_listeners_refused, 1);
	if (!name_listeners || sk->sk_protocol != IPPROTO_TCP)
		return;
	stored = bpf_sk_storage_get(&listeners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (stored && !stored->pid)
		*stored = process;
}

static __always_inline bool older_port_listens(const struct sock *sk, bool typed)
{
	struct local_port key;

	if (typed) {
		key = sock_local_port(sk);
	} else {
		key.netns = sock_netns(sk, typed);
		key.port = BPF_CORE_READ(sk, __sk_common.skc_num);
	}
	return bpf_map_lookup_elem(&older_listeners, &key);
}

/* Which end of its connection a socket is: its own counters show it. Where they do not fit
 * together, a listener at the local port decides.
 */
static __always_inline enum direction older_direction(const struct tcp_sock *tp, int state, __u64 syn, bool typed)
{
	if (syn == 1)
		return OUTBOUND;
	if (!syn)
		return INBOUND;
	return older_port_listens((const struct sock *)tp, typed) ? INBOUND : OUTBOUND;
}

enum found {
	FOUND_NOTHING, /* it has an entry, or is not followed */
	FOUND_BUSY, /* it changes at this moment */
	FOUND_FULL,
	FOUND_CONNECTION,
};

/* Makes the entry of a socket that has none, though it is not locked. An older one counts
 * from now on. The close handler can run at the same moment: the exchanges of `phase`
 * let exactly one of the two have the connection. Before its entry is looked for, the state
 * may be the one that a close is about to leave, and the entry already be forgotten: that the
 * lock was free afterwards shows that no close had begun.
 */
static __always_inline enum found conn_find(const struct sock *sk, __u64 cookie, const struct process *process,
					    bool older, int tries, bool typed)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)sk;
	struct connection fresh = { .older = older, .opened = !older, .late = !older };
	struct tally *tally = tally_here();
	struct connection *conn;
	struct raw_bytes bytes;
	enum direction direction;
	__u64 syn;
	int state;
	long err;

	if (conn_lookup(sk, typed))
		return FOUND_NOTHING;
	if (sock_lock_is_known() && !sock_was_unlocked(sk, tries, typed))
		return FOUND_BUSY;
	state = sock_state(sk, typed);
	if (state == TCP_SYN_SENT && older) {
		direction = OUTBOUND;
		syn = 1;
	} else {
		if (!state_was_established(state) || state == TCP_TIME_WAIT)
			return FOUND_NOTHING;
		syn = tcp_syn_counted(tp, state, typed);
		bytes = tcp_bytes(tp, typed);
		if (tcp_syn_counted(tp, state, typed) != syn)
			return FOUND_BUSY;
		direction = older_direction(tp, state, syn, typed);
	}
	if (filter_sock(tp, direction, typed) != FOLLOWED)
		return FOUND_NOTHING;
	fresh.cookie = cookie;
	if (!cookie)
		fresh.number = __sync_fetch_and_add(&numbered, 1) + 1;
	if (process)
		fresh.process = *process;
	conn_begin(&fresh, direction, state == TCP_SYN_SENT ? CONNECTING : OPEN);
	if (syn <= 1)
		fresh.syn = syn;
	if (state == TCP_SYN_SENT) {
		fresh.before.lost = tcp_lost(tp, typed);
	} else if (older) {
		struct counters before;

		conn_totals(&before, &fresh, tp, bytes, state, typed);
		fresh.before = before;
	}
	err = conn_insert(sk, &fresh, typed);
	if (err == -EEXIST) {
		if (conn_lookup(sk, typed))
			return FOUND_NOTHING; /* the tracepoint was here meanwhile */
		conn_evict_stale(sk);
		err = conn_insert(sk, &fresh, typed);
	}
	if (err) {
		tally_add(&tally->untracked, 1);
		return FOUND_FULL;
	}
	if (state == TCP_SYN_SENT)
		return FOUND_NOTHING;
	conn = conn_lookup(sk, typed);
	if (!conn)
		return FOUND_NOTHING;
	/* Closed before the entry was there: nobody else will end it. */
	if (((sock_lock_is_known() && !sock_was_unlocked(sk, tries, typed)) || sock_state(sk, typed) == TCP_CLOSE) &&
	    __sync_val_compare_and_swap(&conn->phase, OPEN, ENDED) == OPEN) {
		conn_delete(sk, conn);
		return FOUND_BUSY;
	}
	if (older) {
		tally_add(&tally->found, 1);
	} else {
		tally_add(&tally->opened, 1);
		tally_add(&tally->late, 1);
	}
	return FOUND_CONNECTION;
}

static __always_inline void older_connection(struct sock *sk, struct task_struct *task)
{
	struct process process = {};
	struct tcp_sock *tp;

	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	process_from_task(&process, task);
	conn_find((struct sock *)tp, bpf_get_socket_cookie(sk), &process, true, 64, true);
}

static __always_inline void scan_socket(__u64 address, struct scan *scan, bool typed)
{
	const struct sock *sk = (const struct sock *)address;
	int state, family;
	enum found found;

	if (typed)
		sk = bpf_rdonly_cast((void *)address, bpf_core_type_id_kernel(struct tcp_sock));
	/* The table also has sockets that are no more than a tuple, which end before the fields that
	 * others have.
	 */
	state = sock_state(sk, typed);
	if (state == TCP_TIME_WAIT || state < TCP_ESTABLISHED || state > TCP_CLOSING)
		return;
	family = sock_family(sk, typed);
	if ((family != AF_INET && family != AF_INET6) || sock_protocol(sk, typed) != IPPROTO_TCP)
		return;
	found = conn_find(sk, sock_cookie(sk, typed), NULL, scan->older, 4, typed);
	if (found == FOUND_BUSY)
		scan->busy++;
}

/* Longer chains are cut, and count as busy. */
#define SCAN_CHAIN 64

struct scan_state {
	struct scan scan;
	__u64 buckets; /* address of the first */
	__u64 node; /* the one at hand */
};

/* Makes numbers of pointers. Only one scan runs at a time. */
volatile __u64 scan_pointer;

static __always_inline __u64 scan_next(__u64 node, bool typed)
{
	struct hlist_nulls_node *at = (struct hlist_nulls_node *)node;

	if (typed) {
		at = bpf_rdonly_cast(at, bpf_core_type_id_kernel(struct hlist_nulls_node));
		scan_pointer = (__u64)at->next;
	} else {
		scan_pointer = (__u64)BPF_CORE_READ(at, next);
	}
	return scan_pointer;
}

static __always_inline long scan_node_as(struct scan_state *s, bool typed)
{
	if (!s->node || s->node & 1) /* a number in the place of a pointer ends a chain */
		return 1;
	scan_socket(s->node - bpf_core_field_offset(struct sock, __sk_common.skc_nulls_node), &s->scan, typed);
	s->node = scan_next(s->node, typed);
	return 0;
}

static long scan_node(__u32 i, struct scan_state *s)
{
	if (bpf_ksym_exists(bpf_rdonly_cast))
		return scan_node_as(s, true);
	return scan_node_as(s, false);
}

/* The head of a bucket is a pointer to the first node, as each node's is to the next. */
_Static_assert(__builtin_offsetof(struct inet_ehash_bucket, chain.first) == 0, "a bucket is more than its chain");

static long scan_bucket(__u32 i, struct scan_state *s)
{
	__u64 bucket = s->buckets + (__u64)(s->scan.from + i) * bpf_core_type_size(struct inet_ehash_bucket);

	if (bpf_ksym_exists(bpf_rdonly_cast))
		s->node = scan_next(bucket, true);
	else
		s->node = scan_next(bucket, false);
	if (bpf_loop(SCAN_CHAIN, scan_node, s, 0) == SCAN_CHAIN)
		s->scan.busy++;
	return 0;
}

#endif
