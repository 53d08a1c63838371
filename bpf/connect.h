/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What connect(2) was asked for. */
#ifndef CONNECT_H
#define CONNECT_H

#include "ask.h"
#include "late.h"
#include "open.h"

/* The direction of a restored end: whether somebody listens where it is. */
static __always_inline bool ask_listens(struct bpf_sock_addr *ctx, struct bpf_sock_tuple *tuple, __u32 size)
{
	struct bpf_sock *found = bpf_skc_lookup_tcp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	bool listens;

	if (!found)
		return false;
	listens = found->state == TCP_LISTEN;
	bpf_sk_release(found);
	return listens;
}

static __always_inline void conn_insert_asked(const struct sock *sk, __u64 cookie, const struct endpoint *original,
					      enum direction direction)
{
	struct connection fresh = { .phase = ASKED, .direction = direction };

	fresh.cookie = cookie;
	fresh.original = *original;
	conn_insert_anew(sk, &fresh, true); /* without room, SYN_SENT counts it */
}

/* Notes what connect(2) was asked for, be it loopback: another program may make something else of it. */
static __always_inline void conn_asked(struct bpf_sock_addr *ctx, const struct endpoint *original,
				       enum direction direction)
{
	struct connection *conn;
	struct tcp_sock *tp;
	struct sock *sk;
	__u64 cookie;

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !ctx->sk)
		return;
	tp = bpf_skc_to_tcp_sock(ctx->sk);
	if (!tp)
		return;
	sk = (struct sock *)tp;
	cookie = bpf_get_socket_cookie(ctx);
	if (ask_put(sk, cookie, original, direction))
		return;
	conn = conn_lookup(sk, true);
	if (!conn) {
		conn_insert_asked(sk, cookie, original, direction);
		return;
	}
	conn_close_missed(sk, tp, conn);
	conn->direction = direction;
	conn->original = *original;
	*(volatile enum phase *)&conn->phase = ASKED;
}

static __always_inline bool ask_restores(struct bpf_sock_addr *ctx, struct tcp_sock **tp)
{
	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !ctx->sk)
		return false;
	*tp = bpf_skc_to_tcp_sock(ctx->sk);
	return *tp && tcp_is_restored(*tp);
}

#endif
