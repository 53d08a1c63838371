//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Follows every TCP connection of the host from its opening to its close. */
#include "kernel.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "connection.h"
#include "report.h"
#include "older.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void begin(struct connection *conn, enum direction direction, enum phase phase)
{
	conn->start = bpf_ktime_get_boot_ns();
	for (int i = 0; i < COUNTERS; i++)
		conn->reported[i] = marked(conn->start, 0);
	conn->direction = direction;
	conn->phase = phase;
}

static __always_inline void listening(struct sock *sk)
{
	struct process *process;

	if (!name_listeners)
		return;
	process = bpf_sk_storage_get(&listeners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (process)
		fill_process(process, bpf_get_current_task_btf());
}

static __always_inline void connecting(struct sock *sk)
{
	struct connection fresh = {}, *conn = find(sk);
	struct tcp_sock *tp;

	if (conn && conn->phase == CONNECTING)
		return;	/* set_state was here */
	if (!followed(sk)) {
		if (conn)
			forget(sk);	/* it asked for another address */
		return;
	}
	if (!conn || conn->phase != ASKED) {
		fresh.cookie = bpf_get_socket_cookie(sk);
		put(sk, &fresh, BPF_ANY);
		conn = find(sk);
		if (!conn)
			return;
	}
	fill_process(&conn->process, bpf_get_current_task_btf());
	/* The only counter that a socket keeps when it is disconnected. */
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		conn->before.lost = tp->lost;
	begin(conn, OUTBOUND, CONNECTING);
}

/* The end of a handshake that the other side began. */
static __always_inline bool accepted(struct sock *sk)
{
	struct connection fresh = { .opened = 1 };
	struct process *process;

	if (!followed(sk))
		return false;
	fresh.cookie = bpf_get_socket_cookie(sk);
	if (name_listeners) {
		process = bpf_sk_storage_get(&listeners, sk, NULL, 0);
		if (!process) {
			struct local_port key = local_port(sk);

			process = bpf_map_lookup_elem(&older_listeners, &key);
		}
		if (process)
			fresh.process = *process;
	}
	begin(&fresh, INBOUND, OPEN);
	return put(sk, &fresh, BPF_ANY);
}

static __always_inline void established(struct sock *sk, int oldstate)
{
	struct connection *conn = find(sk);

	if (conn) {
		if (conn->phase != CONNECTING)
			return;	/* set_state was here */
		conn->opened = 1;
		conn->phase = OPEN;
	} else if (oldstate == TCP_SYN_SENT || !accepted(sk)) {
		return;
	}
	count_opened();
}

/* True for a state which only an established end can leave. Of an end that still seems to
 * connect it tells that nobody saw it open: some kernels keep changes from all tracing
 * programs.
 */
static __always_inline bool was_established(int oldstate)
{
	return oldstate != TCP_SYN_SENT && oldstate != TCP_SYN_RECV && oldstate != TCP_CLOSE;
}

static __always_inline void closed(struct sock *sk, int oldstate)
{
	struct connection *conn = find(sk);
	struct tcp_sock *tp;
	enum phase phase;

	if (!conn)
		return;
	phase = __sync_lock_test_and_set(&conn->phase, ENDED);
	if (phase == CONNECTING && was_established(oldstate)) {
		conn->opened = 1;
		count_opened();
		phase = OPEN;
	}
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp && (phase == OPEN || phase == CONNECTING))
		report_end(sk, tp, conn, oldstate, phase == OPEN ? RECORD_CLOSED : RECORD_FAILED);
	/* One that was used in the handshake stays, so that set_state_again does not accept it
	 * anew. The next socket at this address takes its place.
	 */
	if (oldstate != TCP_SYN_RECV)
		forget(sk);
}

/* TCP Fast Open lets the server accept a connection with the SYN's data before the
 * handshake is over: it can read, answer and close without ever being ESTABLISHED.
 */
static __always_inline bool used_in_handshake(struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tp;

	if (oldstate != TCP_SYN_RECV)
		return false;
	if (newstate == TCP_FIN_WAIT1)
		return true;
	tp = bpf_skc_to_tcp_sock(sk);
	return tp && tp->bytes_received;
}

/* Most changes tell us nothing. */
static __always_inline bool matters(int oldstate, int newstate)
{
	return newstate == TCP_CLOSE || newstate == TCP_ESTABLISHED || newstate == TCP_SYN_SENT ||
	       newstate == TCP_LISTEN || (newstate == TCP_FIN_WAIT1 && oldstate == TCP_SYN_RECV);
}

static __always_inline int changed(struct sock *sk, int oldstate, int newstate)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == TCP_ESTABLISHED || used_in_handshake(sk, oldstate, newstate))
		established(sk, oldstate);
	if (newstate == TCP_CLOSE)
		closed(sk, oldstate);
	else if (newstate == TCP_SYN_SENT)
		connecting(sk);
	else if (newstate == TCP_LISTEN)
		listening(sk);
	return 0;
}

/* The change that set_state has or had last on each CPU, a cache line for each. */
struct seen {
	__u64 sk;
	int newstate;
} __attribute__((aligned(64)));

/* On a CPU beyond these both programs do the work: the phase in the entry tells the
 * later one that it is done.
 */
#define SEEN_CPUS 512

struct seen seen[SEEN_CPUS];

static __always_inline volatile struct seen *seen_here(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return cpu < SEEN_CPUS ? &seen[cpu] : NULL;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int oldstate, int newstate)
{
	volatile struct seen *here;

	if (!matters(oldstate, newstate))
		return 0;
	here = seen_here();
	if (here) {
		here->sk = (__u64)sk;
		here->newstate = newstate;
	}
	return changed(sk, oldstate, newstate);
}

/* The kernel runs no tracing program while the same one runs on this CPU: what a soft
 * interrupt changes during set_state, set_state misses. This one, after it, does not.
 * That set_state runs would tell too little: the kernel skips it already before its
 * first instruction, and still after its last. So it leaves which change it saw.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state_again, struct sock *sk, int oldstate, int newstate)
{
	volatile struct seen *here;

	if (!matters(oldstate, newstate))
		return 0;
	here = seen_here();
	if (here && here->sk == (__u64)sk && here->newstate == newstate) {
		here->sk = 0;
		return 0;
	}
	return changed(sk, oldstate, newstate);
}

/* Entries of any phase that the walk has seen. Only one walk runs at a time; user space resets it. */
__u64 entries_walked;

/* Reports the open connection of an entry. Runs beside the close handler: see report_open. */
static __always_inline void walk_entry(__u64 sk, struct connection *conn)
{
	entries_walked++;
	if (conn->phase != OPEN)
		return;
	if (bpf_ksym_exists(bpf_rdonly_cast))
		report_open(bpf_rdonly_cast((void *)sk, bpf_core_type_id_kernel(struct tcp_sock)), conn, true);
	else
		report_open((const struct sock *)sk, conn, false);
}

static long walk_map_entry(struct bpf_map *map, const __u64 *key, struct connection *conn, void *unused)
{
	walk_entry(*key, conn);
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
 * they tell which end opened a connection, then the connections.
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
		find_listener(sk, task);
	else if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	else if (followed(sk))
		find_connection(sk, task);
	return 0;
}

static __always_inline void asked_for(struct bpf_sock_addr *ctx, const struct endpoint *original)
{
	struct connection asked = { .phase = ASKED };
	struct tcp_sock *tp;

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !ctx->sk)
		return;
	tp = bpf_skc_to_tcp_sock(ctx->sk);
	if (!tp)
		return;
	asked.cookie = bpf_get_socket_cookie(ctx);
	asked.original = *original;
	put((struct sock *)tp, &asked, BPF_ANY);
}

/* Both note what connect(2) was asked for, and always allow. */
SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint original = {};

	if (!include_loopback && (bpf_ntohl(ctx->user_ip4) >> 24) == 127)
		return 1;
	mapped(&original, ctx->user_ip4);
	original.port = ctx->user_port;
	asked_for(ctx, &original);
	return 1;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint original = {};

	original.addr[0] = ctx->user_ip6[0];
	original.addr[1] = ctx->user_ip6[1];
	original.addr[2] = ctx->user_ip6[2];
	original.addr[3] = ctx->user_ip6[3];
	original.port = ctx->user_port;
	asked_for(ctx, &original);
	return 1;
}
