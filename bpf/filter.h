/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which connections are followed. */
#ifndef FILTER_H
#define FILTER_H

#include <bpf/bpf_helpers.h>
#include "socket.h"

const volatile bool include_loopback = false;

/* Rules that leave connections out, a bit for each. A rule applies where its addresses, its ports
 * and its direction all do.
 */
const volatile __u64 exclude_rules = 0;
const volatile __u64 exclude_any_address = 0; /* rules without addresses */
const volatile __u64 exclude_any_port = 0;
const volatile __u64 exclude_outbound = 0;
const volatile __u64 exclude_inbound = 0;

/* The lengths of the rules' prefixes, as bits of an address as an endpoint has it: 96 more than
 * those of IPv4. A trie would find the longest by itself, but programs that may sleep cannot use one.
 */
#define EXCLUDE_LENGTHS 32
const volatile __u8 exclude_lengths[EXCLUDE_LENGTHS] = {};
const volatile __u32 exclude_lengths_used = 0;

struct prefix {
	__be32 addr[4]; /* the bits after the prefix are 0 */
	__u32 length;
};

/* The rules that name a prefix. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct prefix);
	__type(value, __u64);
} exclude_addresses SEC(".maps");

/* By the port in the wire's order. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u16);
	__type(value, __u64);
} exclude_ports SEC(".maps");

/* The bits of a word of an address that are in a prefix. */
static __always_inline __be32 prefix_mask(__u32 length, int word)
{
	__s32 bits = (__s32)length - 32 * word;

	if (bits <= 0)
		return 0;
	return bits >= 32 ? ~0U : bpf_htonl(~0U << (32 - bits));
}

static __always_inline __u64 rules_of_address(const struct endpoint *endpoint)
{
	__u64 all = 0;

	for (__u32 i = 0; i < EXCLUDE_LENGTHS; i++) {
		struct prefix prefix;
		__u64 *rules;

		if (i >= exclude_lengths_used)
			break;
		prefix.length = exclude_lengths[i];
		for (int word = 0; word < 4; word++)
			prefix.addr[word] = endpoint->addr[word] & prefix_mask(prefix.length, word);
		rules = bpf_map_lookup_elem(&exclude_addresses, &prefix);
		if (rules)
			all |= *rules;
	}
	return all;
}

static __always_inline __u64 rules_of_port(__be16 port)
{
	__u16 key = port;
	__u64 *rules = bpf_map_lookup_elem(&exclude_ports, &key);

	return rules ? *rules : 0;
}

enum verdict {
	FOLLOWED,
	LOOPBACK,
	EXCLUDED,
};

static __always_inline enum verdict filter_endpoints(const struct endpoint *local, const struct endpoint *remote,
						     enum direction direction)
{
	__u64 rules;

	/* One loopback address alone is what a redirect inside a network namespace leaves. */
	if (!include_loopback && endpoint_is_loopback(local) && endpoint_is_loopback(remote))
		return LOOPBACK;
	if (!exclude_rules)
		return FOLLOWED;
	rules = exclude_rules & (direction == OUTBOUND ? exclude_outbound : exclude_inbound);
	rules &= exclude_any_port | rules_of_port(direction == OUTBOUND ? remote->port : local->port);
	if (rules & ~exclude_any_address)
		rules &= exclude_any_address | rules_of_address(local) | rules_of_address(remote);
	return rules ? EXCLUDED : FOLLOWED;
}

/* Both ends of a connection see the same two addresses, and come to the same verdict. */
static __always_inline enum verdict filter_sock(const struct tcp_sock *tp, enum direction direction, bool typed)
{
	const struct sock *sk = (const struct sock *)tp;
	struct endpoint local, remote;

	if (!exclude_rules) {
		if (include_loopback)
			return FOLLOWED;
		if (sock_family(sk, typed) == AF_INET)
			return ip4_is_loopback(sock_local_ip4(sk, typed)) && ip4_is_loopback(sock_remote_ip4(sk, typed))
				       ? LOOPBACK
				       : FOLLOWED;
	}
	sock_endpoints(&local, &remote, tp, typed);
	return filter_endpoints(&local, &remote, direction);
}

#endif
