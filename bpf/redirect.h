/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a client wanted to go before a redirect sent it to a proxy. */
#ifndef REDIRECT_H
#define REDIRECT_H

#include "connection.h"

/* linux/netfilter_ipv4.h; IPv6 has the same number for its own. */
#define SO_ORIGINAL_DST 80

struct ip4_answer {
	__u16 family;
	__be16 port;
	__be32 address;
};

struct ip6_answer {
	__u16 family;
	__be16 port;
	__be32 flowinfo;
	__be32 address[4];
};

/* Keeps what the kernel answered to the process that accepted a connection. The process could have changed
 * it since, as it is in its memory: user space believes only another port of the same address.
 */
static __always_inline void redirect_learn(const struct sock *sk, __u8 family, const void *answer)
{
	struct connection *conn = conn_lookup(sk, true);
	struct endpoint original = {};
	struct ip4_answer ip4;
	struct ip6_answer ip6;

	if (!conn || conn->direction != INBOUND)
		return;
	if (family == AF_INET) {
		if (bpf_probe_read_user(&ip4, sizeof(ip4), answer))
			return;
		endpoint_from_ip4(&original, ip4.address);
		original.port = ip4.port;
	} else {
		if (bpf_probe_read_user(&ip6, sizeof(ip6), answer))
			return;
		for (int i = 0; i < 4; i++)
			original.addr[i] = ip6.address[i];
		original.port = ip6.port;
	}
	conn->original = original;
}

#endif
