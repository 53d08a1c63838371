/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The walk over the entries, which reports the open connections. */
#ifndef WALK_H
#define WALK_H

#include "report.h"

/* Entries of any phase that the walk has seen. Only one walk runs at a time; user space resets it. */
__u64 entries_walked;

/* Set by user space for a walk that also forgets entries whose socket is gone. */
bool sweep_cleans;

/* An end that seems to connect, and is established: that was missed. The state that can be read
 * is always one that set_state has seen, if it was run.
 */
static __always_inline void walk_connecting(const struct sock *sk, struct connection *conn, bool typed)
{
	struct tally *tally = tally_here();

	if (!conn->cookie || sock_cookie(sk, typed) != conn->cookie)
		return;
	if (!state_was_established(sock_state(sk, typed)) || sock_cookie(sk, typed) != conn->cookie)
		return;
	conn->opened = 1;
	if (__sync_val_compare_and_swap(&conn->phase, CONNECTING, OPEN) == CONNECTING) {
		tally_add(&tally->opened, 1);
		tally_add(&tally->late, 1);
	}
}

static __always_inline void walk_clean(__u64 address, const struct sock *sk, struct connection *conn, bool typed)
{
	if (sock_references(sk, typed) && (!conn->cookie || sock_cookie(sk, typed) == conn->cookie))
		return;
	if (conn->phase == OPEN || conn->phase == CONNECTING)
		tally_add(&tally_here()->vanished, 1);
	conn_delete((const struct sock *)address, conn);
}

/* Reports the open connection of an entry. Runs beside the close handler: see report_open. */
static __always_inline void walk_socket(__u64 address, const struct sock *sk, struct connection *conn, bool typed)
{
	if (conn->phase == CONNECTING)
		walk_connecting(sk, conn, typed);
	if (conn->phase == OPEN)
		report_open(sk, conn, typed);
	if (sweep_cleans)
		walk_clean(address, sk, conn, typed);
}

static __always_inline void walk_entry(__u64 address, struct connection *conn)
{
	entries_walked++;
	if (bpf_ksym_exists(bpf_rdonly_cast))
		walk_socket(address, bpf_rdonly_cast((void *)address, bpf_core_type_id_kernel(struct tcp_sock)), conn,
			    true);
	else
		walk_socket(address, (const struct sock *)address, conn, false);
}

static long walk_map_entry(struct bpf_map *map, const __u64 *key, struct connection *conn, void *unused)
{
	walk_entry(*key, conn);
	return 0;
}

#endif
