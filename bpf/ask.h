/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What connect(2) was asked for, from the connect hooks to SYN_SENT. It waits in a table of places by
 * the socket's address, because making an entry for it would cost more than all else. Where
 * another socket has the place, it waits in an entry.
 */
#ifndef ASK_H
#define ASK_H

#include <bpf/bpf_helpers.h>
#include "socket.h"

#define ASK_PLACES 1024 /* a power of two */

struct asked {
	__u64 sk; /* 0: the place is free */
	__u64 cookie;
	struct endpoint original;
	__u8 direction; /* enum direction */
} __attribute__((aligned(64)));

struct asked asked[ASK_PLACES];

static __always_inline struct asked *ask_place(const struct sock *sk)
{
	__u32 place = sock_hash(sk);

	barrier_var(place);
	return &asked[place & (ASK_PLACES - 1)];
}

/* False where another socket has the place. The socket is locked. */
static __always_inline bool ask_put(const struct sock *sk, __u64 cookie, const struct endpoint *original,
				    enum direction direction)
{
	struct asked *place = ask_place(sk);
	__u64 before = __sync_val_compare_and_swap(&place->sk, 0, (__u64)sk);

	if (before && before != (__u64)sk)
		return false;
	place->cookie = cookie;
	place->original = *original;
	place->direction = direction;
	return true;
}

/* Takes what was asked for; false, and nothing is changed, if nothing is there. */
static __always_inline bool ask_take(const struct sock *sk, struct endpoint *original, __u8 *direction)
{
	struct asked *place = ask_place(sk);
	bool own;

	if (place->sk != (__u64)sk)
		return false;
	own = place->cookie == sk->__sk_common.skc_cookie.counter;
	if (own) {
		*original = place->original;
		*direction = place->direction;
	}
	*(volatile __u64 *)&place->sk = 0;
	return own;
}

/* Frees the place of a socket whose connect came to nothing. */
static __always_inline void ask_forget(const struct sock *sk)
{
	struct asked *place = ask_place(sk);

	if (place->sk == (__u64)sk)
		*(volatile __u64 *)&place->sk = 0;
}

#endif
