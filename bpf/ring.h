/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rings that carry records to user space. */
#ifndef RING_H
#define RING_H

#include <bpf/bpf_helpers.h>
#include "record.h"

/* The closes. User space reads on a timer; it is woken only when the ring
 * fills, because a wake-up costs more than the rest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct record);
} ends SEC(".maps");

/* The reports of open connections: a burst of these must not displace a close. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
	__type(value, struct record);
} opens SEC(".maps");

/* Unread bytes in a ring that wake the reader. */
const volatile __u64 wakeup_ends = 1 << 20;
const volatile __u64 wakeup_opens = 512 << 10;

/* Wakes the reader when the ring passes the level, and not for each record above it. Two CPUs
 * may pass it together: some records' room is left for that, and the timer is never far.
 */
static __always_inline __u64 ring_wakeup(void *ring, __u64 level)
{
	__u64 above = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) - level;

	return above < 8 * sizeof(struct record) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

#endif
