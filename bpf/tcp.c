//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Follows every TCP connection of the host from its opening to its close. */
#include "kernel.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "close.h"
#include "connect.h"
#include "lock.h"
#include "older.h"
#include "open.h"
#include "redirect.h"
#include "serve.h"
#include "walk.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Most changes are of no interest. */
static __always_inline bool change_matters(int oldstate, int newstate)
{
	return newstate == TCP_CLOSE || newstate == TCP_ESTABLISHED || newstate == TCP_SYN_SENT ||
	       newstate == TCP_LISTEN || (newstate == TCP_FIN_WAIT1 && oldstate == TCP_SYN_RECV);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int oldstate, int newstate)
{
	if (!change_matters(oldstate, newstate) || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == TCP_ESTABLISHED || tcp_used_in_handshake(sk, oldstate, newstate))
		conn_established(sk, oldstate);
	if (newstate == TCP_CLOSE) {
		conn_closed(sk, oldstate);
	} else if (newstate == TCP_SYN_SENT) {
		conn_connecting(sk);
	} else if (newstate == TCP_LISTEN) {
		listener_opened(sk);
		scan_learn_table(sk);
	}
	return 0;
}

/* Runs once for each socket, after its last change of state and before its memory is freed.
 * It forgets the entry, and reports what set_state missed.
 */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(destroy_sock, struct sock *sk)
{
	struct connection *conn;
	struct tcp_sock *tp;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	ask_forget(sk);
	if (closed_was_noted(sk))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	conn = conn_lookup(sk, true);
	if (conn) {
		conn_close_missed(sk, tp, conn);
		conn_delete(sk, conn);
		return 0;
	}
	/* It may also have closed before the program was there, and been kept by its process. */
	if (!tcp_ever_established(tp) || tp->tcp_mstamp < older_all_found ||
	    (late_unmarked && sk->__sk_common.skc_cookie.counter))
		return 0;
	report_late(sk, tp, tcp_left_state(tp, 0), LATE_DESTROY_SOCK);
	return 0;
}

/* Two variants of one job: the walk over one map of connections. User space runs the first with
 * BPF_PROG_RUN, once for each map. Before Linux 6.1 a program that may sleep cannot use maps that
 * are not preallocated; there, and only there, the second is loaded.
 */
SEC("syscall")
int walk_connections(struct walk *ctx)
{
	__u32 part = ctx->map;
	void *connections = bpf_map_lookup_elem(&connection_maps, &part);

	if (connections)
		bpf_for_each_map_elem(connections, walk_map_entry, NULL, 0);
	return 0;
}

SEC("iter/bpf_map_elem")
int iterate_connections(struct bpf_iter__bpf_map_elem *ctx)
{
	struct connection *conn = ctx->value;
	__u64 *key = ctx->key;

	if (key && conn)
		walk_entry(*key, conn);
	return 0;
}

/* Finds the sockets that are older than the program; first the listeners, because
 * they name the process of what they accept, then the connections.
 */
SEC("iter/task_file")
int older_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || (sk->sk_protocol != IPPROTO_TCP && sk->sk_protocol != IPPROTO_MPTCP))
		return 0;
	if (seek_listeners)
		older_listener(sk, task);
	else if (sk->sk_protocol == IPPROTO_TCP)
		older_connection(sk, task);
	return 0;
}

/* Finds the sockets that no file leads to: of processes that cannot be seen from here, on their way
 * between two processes, in rings of io_uring, not accepted yet, of MPTCP, or without a process.
 * User space runs it for some buckets of the kernel's table of sockets at a time.
 */
SEC("syscall")
int scan_sockets(struct scan *ctx)
{
	struct scan_state state = { .scan = *ctx };
	struct inet_hashinfo *table = (struct inet_hashinfo *)socket_table;

	if (!socket_table)
		return 1;
	if (bpf_ksym_exists(bpf_rdonly_cast)) {
		table = bpf_rdonly_cast(table, bpf_core_type_id_kernel(struct inet_hashinfo));
		ctx->buckets = table->ehash_mask + 1;
		scan_pointer = (__u64)table->ehash;
	} else {
		ctx->buckets = BPF_CORE_READ(table, ehash_mask) + 1;
		scan_pointer = (__u64)BPF_CORE_READ(table, ehash);
	}
	state.buckets = scan_pointer;
	if (state.scan.from >= ctx->buckets)
		return 0;
	if (state.scan.count > ctx->buckets - state.scan.from)
		state.scan.count = ctx->buckets - state.scan.from;
	bpf_loop(state.scan.count, scan_bucket, &state, 0);
	ctx->busy = state.scan.busy;
	return 0;
}

SEC("iter/bpf_map")
int list_locks(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;

	lock_reader = bpf_get_current_pid_tgid() >> 32;
	if (map && lock_is_one(map))
		lock_write(ctx->meta->seq, map);
	return 0;
}

/* A proxy asks for the address that a redirect has replaced. Nothing else comes by here often. */
SEC("fexit/nf_getsockopt")
int BPF_PROG(original_destination, struct sock *sk, __u8 family, int option, const void *answer, const int *length,
	     int error)
{
	if (option == SO_ORIGINAL_DST && !error && sk->sk_protocol == IPPROTO_TCP)
		redirect_learn(sk, family, answer);
	return 0;
}

/* What a function returns is behind its arguments. Written in C, the compiler may calculate with the
 * pointer, which the verifier forbids.
 */
#define RETURNED(values, arguments)                                                                                    \
	({                                                                                                             \
		__u64 returned;                                                                                        \
		asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(returned) : "r"(values), "i"((arguments) * 8));           \
		returned;                                                                                              \
	})

/* Loaded only where it matters whose socket it is, as the next one. Since Linux 6.10 there are two arguments
 * less.
 */
SEC("fexit/inet_csk_accept")
int accepted(const __u64 *values)
{
	struct sock *sk;

	if (bpf_core_type_exists(struct proto_accept_arg))
		sk = (struct sock *)RETURNED(values, 2);
	else
		sk = (struct sock *)RETURNED(values, 4);
	if (sk && sk->sk_protocol == IPPROTO_TCP)
		serve_accepted(sk);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(handed_over, struct task_struct *task)
{
	serve_executed(task);
	return 0;
}

/* Both always allow. */
SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint original = {};
	struct bpf_sock_tuple tuple = {};
	struct tcp_sock *tp;
	enum direction direction = OUTBOUND;

	if (ask_restores(ctx, &tp)) {
		tuple.ipv4.saddr = ctx->user_ip4;
		tuple.ipv4.sport = ctx->user_port;
		tuple.ipv4.daddr = sock_local_ip4((struct sock *)tp, true);
		tuple.ipv4.dport = tcp_local_port(tp, true);
		if (ask_listens(ctx, &tuple, sizeof(tuple.ipv4)))
			direction = INBOUND;
	}
	endpoint_from_ip4(&original, ctx->user_ip4);
	original.port = ctx->user_port;
	conn_asked(ctx, &original, direction);
	return 1;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint original = {}, local = {};
	struct bpf_sock_tuple tuple = {};
	struct tcp_sock *tp;
	enum direction direction = OUTBOUND;

	original.addr[0] = ctx->user_ip6[0];
	original.addr[1] = ctx->user_ip6[1];
	original.addr[2] = ctx->user_ip6[2];
	original.addr[3] = ctx->user_ip6[3];
	original.port = ctx->user_port;
	if (ask_restores(ctx, &tp)) {
		endpoint_from_ip6(&local, &((struct sock *)tp)->__sk_common.skc_v6_rcv_saddr, true);
		for (int i = 0; i < 4; i++) {
			tuple.ipv6.saddr[i] = original.addr[i];
			tuple.ipv6.daddr[i] = local.addr[i];
		}
		tuple.ipv6.sport = original.port;
		tuple.ipv6.dport = tcp_local_port(tp, true);
		if (ask_listens(ctx, &tuple, sizeof(tuple.ipv6)))
			direction = INBOUND;
	}
	conn_asked(ctx, &original, direction);
	return 1;
}
