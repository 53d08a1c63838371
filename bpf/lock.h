/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who else watches this node. Each exclusive probe has a map of a type that takes privileges to
 * create, whose name is LOCK_PREFIX and the number of its process. The kernel frees it with the
 * process, and has one list of maps for all namespaces.
 */
#ifndef LOCK_H
#define LOCK_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "kernel.h"
#include "record.h"

/* The reader of the list: the number of its process on the host, whatever its own namespace. */
__u32 lock_reader;

static __always_inline bool lock_is_one(const struct bpf_map *map)
{
	return map->map_type == BPF_MAP_TYPE_LPM_TRIE && map->name[0] == 'k' && map->name[1] == 'm' &&
	       map->name[2] == 'e' && map->name[3] == 's' && map->name[4] == 'h' && map->name[5] == '_';
}

static __always_inline void lock_write(struct seq_file *seq, const struct bpf_map *map)
{
	struct lock lock = { .id = map->id };

	for (unsigned int i = 0; i < sizeof(lock.name); i++)
		lock.name[i] = map->name[i];
	bpf_seq_write(seq, &lock, sizeof(lock));
}

#endif
