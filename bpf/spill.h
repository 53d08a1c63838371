/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where totals go that find the ring full. */
#ifndef SPILL_H
#define SPILL_H

#include "connection.h"

/* User space puts an empty map in the place of the full one and then owns the
 * full one alone: the kernel ends the update only when no program uses it.
 */
struct spills {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct spill_key);
	__type(value, struct spill);
} spills SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct spills);
} spilling SEC(".maps") = {
	.values = { &spills },
};

/* What a new entry of the map is. */
const struct spill spill_fresh = {};

static __always_inline void spill_add(const struct sock *sk, const struct tcp_sock *tp, const struct connection *conn,
				      const struct counters *delta, enum record_kind kind)
{
	struct spill_key key = {};
	struct spill *spill = NULL;
	struct tally *tally = tally_here();
	__u32 zero = 0;
	void *map;

	if (conn->direction == OUTBOUND)
		sock_endpoints(&key.source, &key.destination, tp, true);
	else
		sock_endpoints(&key.destination, &key.source, tp, true);
	key.source.port = 0;
	key.original = conn->original;
	key.process = conn->process;
	key.cgroup = sock_cgroup(sk, true);
	key.direction = conn->direction;
	key.failed = kind == RECORD_FAILED;
	key.netns = sock_netns(sk, true);
	key.nested = sock_netns_nested(sk, true);

	tally_add(&tally->lost, 1);
	map = bpf_map_lookup_elem(&spilling, &zero);
	if (map) {
		spill = bpf_map_lookup_elem(map, &key);
		if (!spill) {
			/* EEXIST: another CPU was first, which is as good. */
			bpf_map_update_elem(map, &key, &spill_fresh, BPF_NOEXIST);
			spill = bpf_map_lookup_elem(map, &key);
			if (spill)
				__sync_val_compare_and_swap(&spill->start, 0, conn->start);
		}
	}
	if (spill) {
		tally_add(&spill->ends, 1);
		counters_add(&spill->delta, delta);
		return;
	}
	counters_add(&tally->spill_lost, delta);
	tally_add(key.failed ? &tally->spill_lost_failed : &tally->spill_lost_closed, 1);
}

#endif
