/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a connection end is over. */
#ifndef CLOSE_H
#define CLOSE_H

#include "late.h"
#include "report.h"

static __always_inline void conn_closed(struct sock *sk, int oldstate)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct connection *conn;
	enum phase phase;

	if (!tp || oldstate == TCP_LISTEN)
		return;
	conn = conn_lookup(sk, true);
	if (!conn) {
		if (oldstate == TCP_SYN_RECV || oldstate == TCP_CLOSE)
			return; /* it never was established */
		if (report_late(sk, tp, oldstate, LATE_SET_STATE) && !closed_note(sk))
			late_mark(sk);
		return;
	}
	phase = __sync_lock_test_and_set(&conn->phase, ENDED);
	if (phase == ASKED)
		conn_begin(conn, conn->direction, ENDED);
	/* Some kernels keep changes from all tracing programs. */
	if (phase != OPEN && phase != ENDED && state_was_established(oldstate)) {
		conn->opened = 1;
		tally_add(&tally_here()->opened, 1);
		tally_add(&tally_here()->late, 1);
		phase = OPEN;
	}
	if (phase != ENDED)
		report_end(sk, tp, conn, oldstate, phase == OPEN ? RECORD_CLOSED : RECORD_FAILED);
	if (closed_note(sk) || !frees_on_destroy)
		conn_delete(sk, conn);
}

#endif
