/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs count of their own work. */
#ifndef TALLY_H
#define TALLY_H

#include <bpf/bpf_helpers.h>
#include "record.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

/* Where additions go if the map has no entry, which cannot be but for the verifier. */
struct tally tally_nowhere;

static __always_inline struct tally *tally_here(void)
{
	__u32 zero = 0;
	struct tally *tally = bpf_map_lookup_elem(&tallies, &zero);

	return tally ? tally : &tally_nowhere;
}

/* The walk and the changes of state can meet on one CPU, and soft interrupts come in
 * between: an addition must be one instruction.
 */
static __always_inline void tally_add(__u64 *counter, __u64 by)
{
	__sync_fetch_and_add(counter, by);
}

static __always_inline void counters_add(struct counters *sum, const struct counters *delta)
{
	for (int i = 0; i < COUNTERS; i++)
		tally_add(&((__u64 *)sum)[i], ((const __u64 *)delta)[i]);
}

#endif
