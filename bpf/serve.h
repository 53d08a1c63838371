/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which process serves a connection, where that is not the one that listens. */
#ifndef SERVE_H
#define SERVE_H

#include "connection.h"
#include "process.h"

/* stat(2) */
#define S_IFMT 0170000
#define S_IFSOCK 0140000

static __always_inline void serve_accepted(const struct sock *sk)
{
	struct connection *conn = conn_lookup(sk, true);

	if (conn && conn->direction == INBOUND)
		process_from_task(&conn->process, bpf_get_current_task_btf());
}

/* Only the first program that a process was started for has it: what a shell starts in its turn does not. */
static __always_inline void serve_handed(struct task_struct *task, const struct sock *sk, bool typed)
{
	struct connection *conn;

	if (sock_protocol(sk, typed) != IPPROTO_TCP)
		return;
	conn = conn_lookup(sk, typed);
	if (!conn || conn->direction != INBOUND || (conn->handed && conn->process.pid != (__u32)task->tgid))
		return;
	conn->handed = 1;
	process_from_task(&conn->process, task);
}

static __always_inline __u64 serve_socket(__u64 place, bool typed)
{
	struct file *file;
	struct socket *socket;

	if (typed) {
		/* Any pointer to a pointer. */
		file = (struct file *)((struct hlist_nulls_node *)bpf_rdonly_cast(
					       (void *)place, bpf_core_type_id_kernel(struct hlist_nulls_node)))
			       ->next;
		if (!file)
			return 0;
		file = bpf_rdonly_cast(file, bpf_core_type_id_kernel(struct file));
		if ((file->f_inode->i_mode & S_IFMT) != S_IFSOCK || !file->private_data)
			return 0;
		socket = bpf_rdonly_cast(file->private_data, bpf_core_type_id_kernel(struct socket));
		return (__u64)socket->sk;
	}
	if (bpf_probe_read_kernel(&file, sizeof(file), (void *)place) || !file)
		return 0;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return socket ? (__u64)BPF_CORE_READ(socket, sk) : 0;
}

static __always_inline void serve_descriptor(struct task_struct *task, __u64 place, bool typed)
{
	__u64 sk = serve_socket(place, typed);

	if (sk && typed)
		serve_handed(task, bpf_rdonly_cast((void *)sk, bpf_core_type_id_kernel(struct tcp_sock)), true);
	else if (sk)
		serve_handed(task, (const struct sock *)sk, false);
}

/* A program that is started for one connection has it as standard input (inetd), or as the first descriptor
 * after standard error (systemd). The table is the process's own by now, and has room for more than these.
 */
static __always_inline void serve_executed(struct task_struct *task)
{
	__u64 table = (__u64)task->files->fdt->fd;

	for (int i = 0; i <= 3; i += 3) {
		if (bpf_ksym_exists(bpf_rdonly_cast))
			serve_descriptor(task, table + i * sizeof(void *), true);
		else
			serve_descriptor(task, table + i * sizeof(void *), false);
	}
}

#endif
