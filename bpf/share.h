/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who may take how much of the maps of connections. One cgroup, or one user, may hold eight
 * times as many entries as are free: alone that is 8/9 of the map, and whoever comes next
 * always finds room. The root cgroup and root are under no limit of their own.
 */
#ifndef SHARE_H
#define SHARE_H

#include <bpf/bpf_helpers.h>
#include "socket.h"

#define PARTS 16 /* a power of two */
#define SHARE_OF_FREE 8

/* Places of the counts; two owners of one place share it. */
#define OWNER_PLACES 4096 /* a power of two */

struct owners {
	__u16 cgroup; /* 0: the hierarchy's root */
	__u16 user; /* 0: root */
};

/* Set by user space: how many entries each part has room for, and what nobody can guess. */
const volatile __u32 part_entries = 1 << 14;
const volatile __u32 owner_salt = 0;

struct part {
	__u32 entries;
} __attribute__((aligned(64)));

struct part parts[PARTS];
__u32 owned_by_cgroup[OWNER_PLACES];
__u32 owned_by_user[OWNER_PLACES];

static __always_inline __u16 owner_place(__u64 owner)
{
	__u32 hash = ((__u32)owner ^ (__u32)(owner >> 32) ^ owner_salt) * 0x9e3779b1;

	return 1 + (hash >> 16) % (OWNER_PLACES - 1);
}

static __always_inline struct owners share_owners(const struct sock *sk, bool typed)
{
	__u32 uid = sock_uid(sk, typed);
	struct owners owners = {};

	if (sock_cgroup_level(sk, typed))
		owners.cgroup = owner_place(sock_cgroup(sk, typed));
	/* The users of a user namespace are one: they are mostly 65,536 in a row. */
	if (uid)
		owners.user = owner_place(uid < 65536 ? uid : 65536 + (uid >> 16));
	return owners;
}

/* The count of an owner. The compiler knows that the place is in the array; the verifier must
 * see it.
 */
static __always_inline __u32 *share_owned(__u32 *owned, __u16 place)
{
	__u32 at = place;

	barrier_var(at);
	return &owned[at & (OWNER_PLACES - 1)];
}

static __always_inline bool share_has_room(__u32 *owned, __u16 place, __u64 free)
{
	return !place || *(volatile __u32 *)share_owned(owned, place) < SHARE_OF_FREE * free;
}

static __always_inline void share_count(struct owners owners, __s32 by)
{
	if (owners.cgroup)
		__sync_fetch_and_add(share_owned(owned_by_cgroup, owners.cgroup), by);
	if (owners.user)
		__sync_fetch_and_add(share_owned(owned_by_user, owners.user), by);
}

/* Takes room for one entry in a part, if there is any for these owners. */
static __always_inline bool share_take(__u32 part, struct owners owners)
{
	__u32 *entries = &parts[part % PARTS].entries;
	__u32 held = *(volatile __u32 *)entries;
	__u64 free;

	if (held >= part_entries)
		return false;
	free = (__u64)(part_entries - held) * PARTS;
	if (!share_has_room(owned_by_cgroup, owners.cgroup, free) || !share_has_room(owned_by_user, owners.user, free))
		return false;
	__sync_fetch_and_add(entries, 1);
	share_count(owners, 1);
	return true;
}

static __always_inline void share_give_back(__u32 part, struct owners owners)
{
	__sync_fetch_and_add(&parts[part % PARTS].entries, -1);
	share_count(owners, -1);
}

#endif
