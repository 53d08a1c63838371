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

const volatile bool include_loopback = false;

/* Has the end's storage, made if there is none; NULL where we don't follow it. */
static __always_inline struct connection *follow(struct sock *sk)
{
	struct connection *conn;

	if (!include_loopback && is_loopback(&sk->__sk_common))
		return NULL;
	conn = bpf_sk_storage_get(&connections, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn)
		count_untracked();
	return conn;
}

static __always_inline void begin(struct connection *conn, enum direction direction, enum phase phase)
{
	conn->start = bpf_ktime_get_boot_ns();
	conn->opened = 0;
	conn->told = 0;
	__builtin_memset(&conn->before, 0, sizeof(conn->before));
	__builtin_memset(&conn->reported, 0, sizeof(conn->reported));
	conn->direction = direction;
	conn->uses++;
	conn->phase = phase;
}

static __always_inline void listening(struct sock *sk)
{
	struct connection *conn;

	/* The address says nothing of who will connect: follow them all. */
	conn = bpf_sk_storage_get(&connections, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn)
		return;
	fill_process(&conn->process, bpf_get_current_task_btf());
	conn->phase = LISTENING;
}

static __always_inline void connecting(struct sock *sk)
{
	struct connection *conn = follow(sk);
	struct tcp_sock *tp;

	if (!conn || conn->phase == CONNECTING)
		return;
	fill_process(&conn->process, bpf_get_current_task_btf());
	begin(conn, OUTBOUND, CONNECTING);
	/* The only counter that a socket keeps when it is disconnected. */
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		conn->before.lost = tp->lost;
}

/* For what is accepted by a listener whose storage could not be made. */
static __always_inline void inherit(struct connection *conn, const struct sock *sk)
{
	struct local_port key = local_port(sk);
	struct process *process = bpf_map_lookup_elem(&listeners, &key);

	if (process)
		conn->process = *process;
}

static __always_inline void established(struct sock *sk, int oldstate)
{
	struct connection *conn;

	if (oldstate == TCP_SYN_SENT) {
		conn = bpf_sk_storage_get(&connections, sk, NULL, 0);
		if (!conn || conn->phase != CONNECTING)
			return;
		conn->phase = OPEN;
	} else {
		conn = follow(sk);
		if (!conn)
			return;
		if (conn->phase == CONNECTING) {	/* simultaneous open */
			conn->phase = OPEN;
		} else if (conn->phase == OPEN || conn->phase == ENDED) {
			return;	/* set_state was here */
		} else {
			/* The original destination is not the listener's, and a
			 * socket that connected before it listened may have one.
			 */
			conn->original.port = 0;
			if (conn->phase != LISTENING)
				inherit(conn, sk);
			begin(conn, INBOUND, OPEN);
		}
	}
	conn->opened = 1;
	count_opened();
}

/* True for an end that has left a state which only an established one can be in, though
 * nobody saw it become so: some kernels keep changes from all tracing programs.
 */
static __always_inline bool opened_unseen(struct sock *sk, struct connection *conn, enum phase phase,
					  int oldstate)
{
	if (oldstate == TCP_SYN_SENT || oldstate == TCP_SYN_RECV || oldstate == TCP_LISTEN ||
	    oldstate == TCP_CLOSE)
		return false;
	if (phase == LISTENING) {
		if (!include_loopback && is_loopback(&sk->__sk_common))
			return false;
		conn->original.port = 0;
		begin(conn, INBOUND, ENDED);
	} else if (phase != CONNECTING) {
		return false;
	}
	conn->opened = 1;
	count_opened();
	return true;
}

static __always_inline void closed(struct sock *sk, int oldstate)
{
	struct connection *conn;
	struct tcp_sock *tp;
	enum phase phase;

	conn = bpf_sk_storage_get(&connections, sk, NULL, 0);
	if (!conn)
		return;
	phase = __sync_lock_test_and_set(&conn->phase, ENDED);
	if (phase != OPEN && opened_unseen(sk, conn, phase, oldstate))
		phase = OPEN;
	if (phase != OPEN && phase != CONNECTING)
		return;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	report_end(sk, tp, conn, oldstate, phase == OPEN ? RECORD_CLOSED : RECORD_FAILED);
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

/* On a CPU beyond these both programs do the work: the phase in the storage tells the
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

/* Tells of the open connections whose counters moved since they were last told
 * of, or of all of them. Runs beside the close handler: see report_open.
 */
SEC("iter/bpf_sk_storage_map")
int open_connections(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct connection *conn = ctx->value;
	struct sock *sk = ctx->sk;
	struct tcp_sock *tp;

	if (!sk || !conn)
		return 0;
	if (conn->phase != OPEN)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	report_open(sk, tp, conn);
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
	else if (include_loopback || !is_loopback(&sk->__sk_common))
		find_connection(sk, task);
	return 0;
}

static __always_inline void asked_for(struct bpf_sock_addr *ctx, const struct endpoint *original)
{
	struct connection *conn;

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !ctx->sk)
		return;
	conn = bpf_sk_storage_get(&connections, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (conn)
		conn->original = *original;
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
