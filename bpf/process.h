/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose socket it is. */
#ifndef PROCESS_H
#define PROCESS_H

#include <bpf/bpf_helpers.h>
#include "kernel.h"
#include "record.h"

/* Whether it matters who listens: only then an accepted socket inherits its process. */
const volatile bool name_listeners = false;

/* Who listens. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct process);
} listeners SEC(".maps");

/* Who listened where before the program was there. */
struct local_port {
	__u32 netns;
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct local_port);
	__type(value, struct process);
} older_listeners SEC(".maps");

/* Listeners that found it full. */
__u64 older_listeners_refused;

static __always_inline struct local_port sock_local_port(const struct sock *sk)
{
	struct local_port key = {
		.netns = sock_netns(sk, true),
		.port = sk->__sk_common.skc_num,
	};

	return key;
}

static __always_inline void process_from_task(struct process *process, struct task_struct *task)
{
	const __u64 *name = (const __u64 *)task->group_leader->comm;

	process->pid = task->tgid;
	__builtin_memcpy(process->comm, &(__u64[]){ name[0], name[1] }, sizeof(process->comm));
}

/* The process of an accepted socket: its listener's. */
static __always_inline void process_from_listener(struct process *process, struct sock *sk)
{
	struct local_port key;
	struct process *listener;

	if (!name_listeners)
		return;
	listener = bpf_sk_storage_get(&listeners, sk, NULL, 0);
	if (!listener) {
		key = sock_local_port(sk);
		listener = bpf_map_lookup_elem(&older_listeners, &key);
	}
	if (listener)
		*process = *listener;
}

static __always_inline void listener_opened(struct sock *sk)
{
	struct process *process;

	if (!name_listeners)
		return;
	process = bpf_sk_storage_get(&listeners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (process)
		process_from_task(process, bpf_get_current_task_btf());
}

#endif
