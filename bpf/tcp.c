//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Follows every TCP connection of the host from its opening to its close. */
#include "kernel.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "ask.h"
#include "connection.h"
#include "filter.h"
#include "late.h"
#include "lock.h"
#include "older.h"
#include "process.h"
#include "report.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* A connect that TCP_REPAIR makes sends no SYN: the connection was there before, elsewhere. */
static __always_inline bool tcp_is_restored(const struct tcp_sock *tp)
{
	return BPF_CORE_READ_BITFIELD(tp, repair);
}

/* The entry of a socket that connects now. */
static __always_inline void conn_fill_connecting(struct connection *conn, const struct tcp_sock *tp,
						 const struct endpoint *original, __u8 direction)
{
	struct counters nothing = {};

	*(volatile enum phase *)&conn->phase = ASKED; /* until all is there */
	conn->opened = 0;
	conn->older = 0;
	conn->late = 0;
	conn->reported_at = 0;
	conn->connect = 0;
	conn->before = nothing;
	conn->original = *original;
	process_from_task(&conn->process, bpf_get_current_task_btf());
	/* The only counter that a socket keeps when it is disconnected. */
	conn->before.lost = tp->lost;
	conn_begin(conn, direction, CONNECTING);
	if (tcp_is_restored(tp))
		conn->syn = 0;
}

static __always_inline long conn_insert_connecting(struct sock *sk, const struct tcp_sock *tp,
						   const struct endpoint *original, __u8 direction)
{
	struct connection fresh = {};

	fresh.cookie = bpf_get_socket_cookie(sk);
	conn_fill_connecting(&fresh, tp, original, direction);
	return conn_insert(sk, &fresh, true);
}

/* The socket's entry, if it has one, is of another connect, or has what this one was asked for. */
static __always_inline void conn_connecting_again(struct sock *sk, struct tcp_sock *tp, struct endpoint *original,
						  __u8 direction, bool was_asked)
{
	struct connection *conn = conn_lookup(sk, true);
	struct tally *tally = tally_here();
	enum verdict verdict;

	if (!conn)
		conn_evict_stale(sk);
	else if (conn->phase != ASKED)
		conn_close_missed(sk, tp, conn);
	else if (!was_asked) {
		*original = conn->original;
		direction = conn->direction;
	}
	verdict = filter_sock(tp, direction, true);
	if (verdict == FOLLOWED && conn) {
		conn_fill_connecting(conn, tp, original, direction);
	} else if (verdict == FOLLOWED) {
		if (conn_insert_connecting(sk, tp, original, direction))
			tally_add(&tally->untracked, 1);
	} else {
		if (conn)
			conn_delete(sk, conn);
		if (verdict == EXCLUDED)
			tally_add(&tally->excluded, 1);
	}
}

static __always_inline void conn_connecting(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct endpoint original = {};
	__u8 direction = OUTBOUND;
	bool was_asked;
	long err;

	if (!tp)
		return;
	closed_was_noted(sk); /* it is open again */
	was_asked = ask_take(sk, &original, &direction);
	if (!tcp_is_restored(tp))
		direction = OUTBOUND;
	/* Mostly it is the socket's first connect. */
	if (was_asked && filter_sock(tp, direction, true) == FOLLOWED) {
		err = conn_insert_connecting(sk, tp, &original, direction);
		if (!err)
			return;
		if (err != -EEXIST) {
			tally_add(&tally_here()->untracked, 1);
			return;
		}
	}
	conn_connecting_again(sk, tp, &original, direction, was_asked);
}

/* The end of a handshake that the other side began. */
static __always_inline void conn_accepted(struct sock *sk)
{
	struct connection fresh = { .opened = 1 };
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct tally *tally = tally_here();
	enum verdict verdict;

	if (!tp)
		return;
	verdict = filter_sock(tp, INBOUND, true);
	if (verdict != FOLLOWED) {
		if (verdict == EXCLUDED)
			tally_add(&tally->excluded, 1);
		return;
	}
	fresh.cookie = bpf_get_socket_cookie(sk);
	process_from_listener(&fresh.process, sk);
	conn_begin(&fresh, INBOUND, OPEN);
	if (conn_insert_anew(sk, &fresh, true))
		tally_add(&tally->opened, 1);
	else
		tally_add(&tally->untracked, 1);
}

static __always_inline void conn_established(struct sock *sk, int oldstate)
{
	struct connection *conn;

	/* A socket that connected has had its cookie since then. */
	if (oldstate == TCP_SYN_RECV && !sk->__sk_common.skc_cookie.counter) {
		conn_accepted(sk);
		return;
	}
	conn = conn_lookup(sk, true);
	if (!conn) {
		if (oldstate == TCP_SYN_RECV)
			conn_accepted(sk);
		return;
	}
	if (conn->phase == ASKED)
		conn_begin(conn, conn->direction, CONNECTING);
	else if (conn->phase == CONNECTING && conn->syn)
		conn->connect = bpf_ktime_get_boot_ns() - conn->start;
	if (conn->phase != CONNECTING)
		return;
	conn->opened = 1;
	if (__sync_val_compare_and_swap(&conn->phase, CONNECTING, OPEN) == CONNECTING)
		tally_add(&tally_here()->opened, 1);
}

static __always_inline void conn_closed(struct sock *sk, int oldstate)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct connection *conn;
	enum phase phase;

	if (!tp || oldstate == TCP_LISTEN)
		return;
	conn = conn_lookup(sk, true);
	if (!conn) {
		if (oldstate == TCP_SYN_RECV || oldstate == TCP_CLOSE)
			return; /* it never was established */
		if (report_late(sk, tp, oldstate, LATE_SET_STATE) && !closed_note(sk))
			late_mark(sk);
		return;
	}
	phase = __sync_lock_test_and_set(&conn->phase, ENDED);
	if (phase == ASKED)
		conn_begin(conn, conn->direction, ENDED);
	/* Some kernels keep changes from all tracing programs. */
	if (phase != OPEN && phase != ENDED && state_was_established(oldstate)) {
		conn->opened = 1;
		tally_add(&tally_here()->opened, 1);
		tally_add(&tally_here()->late, 1);
		phase = OPEN;
	}
	if (phase != ENDED)
		report_end(sk, tp, conn, oldstate, phase == OPEN ? RECORD_CLOSED : RECORD_FAILED);
	if (closed_note(sk) || !frees_on_destroy)
		conn_delete(sk, conn);
}

/* TCP Fast Open lets the server accept a connection with the SYN's data before the
 * handshake is over: it can read, answer and close without ever being ESTABLISHED.
 */
static __always_inline bool tcp_used_in_handshake(struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tp;

	if (oldstate != TCP_SYN_RECV)
		return false;
	if (newstate == TCP_FIN_WAIT1)
		return true;
	tp = bpf_skc_to_tcp_sock(sk);
	return tp && tp->bytes_received;
}

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

/* Entries of any phase that the walk has seen. Only one walk runs at a time; user space resets it. */
__u64 entries_walked;

/* Set by user space for a walk that also forgets entries whose socket is gone. */
bool sweep_cleans;

/* An end that seems to connect, and is established: that was missed. The state that can be read
 * is always one that set_state has seen, if it was run.
 */
static __always_inline void walk_connecting(const struct sock *sk, struct connection *conn, bool typed)
{
	struct tally *tally = tally_here();

	if (!conn->cookie || sock_cookie(sk, typed) != conn->cookie)
		return;
	if (!state_was_established(sock_state(sk, typed)) || sock_cookie(sk, typed) != conn->cookie)
		return;
	conn->opened = 1;
	if (__sync_val_compare_and_swap(&conn->phase, CONNECTING, OPEN) == CONNECTING) {
		tally_add(&tally->opened, 1);
		tally_add(&tally->late, 1);
	}
}

static __always_inline void walk_clean(__u64 address, const struct sock *sk, struct connection *conn, bool typed)
{
	if (sock_references(sk, typed) && (!conn->cookie || sock_cookie(sk, typed) == conn->cookie))
		return;
	if (conn->phase == OPEN || conn->phase == CONNECTING)
		tally_add(&tally_here()->vanished, 1);
	conn_delete((const struct sock *)address, conn);
}

/* Reports the open connection of an entry. Runs beside the close handler: see report_open. */
static __always_inline void walk_socket(__u64 address, const struct sock *sk, struct connection *conn, bool typed)
{
	if (conn->phase == CONNECTING)
		walk_connecting(sk, conn, typed);
	if (conn->phase == OPEN)
		report_open(sk, conn, typed);
	if (sweep_cleans)
		walk_clean(address, sk, conn, typed);
}

static __always_inline void walk_entry(__u64 address, struct connection *conn)
{
	entries_walked++;
	if (bpf_ksym_exists(bpf_rdonly_cast))
		walk_socket(address, bpf_rdonly_cast((void *)address, bpf_core_type_id_kernel(struct tcp_sock)), conn,
			    true);
	else
		walk_socket(address, (const struct sock *)address, conn, false);
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

/* The direction of a restored end: whether somebody listens where it is. */
static __always_inline bool ask_listens(struct bpf_sock_addr *ctx, struct bpf_sock_tuple *tuple, __u32 size)
{
	struct bpf_sock *found = bpf_skc_lookup_tcp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	bool listens;

	if (!found)
		return false;
	listens = found->state == TCP_LISTEN;
	bpf_sk_release(found);
	return listens;
}

static __always_inline void conn_insert_asked(const struct sock *sk, __u64 cookie, const struct endpoint *original,
					      enum direction direction)
{
	struct connection fresh = { .phase = ASKED, .direction = direction };

	fresh.cookie = cookie;
	fresh.original = *original;
	conn_insert_anew(sk, &fresh, true); /* without room, SYN_SENT counts it */
}

/* Notes what connect(2) was asked for, be it loopback: another program may make something else of it. */
static __always_inline void conn_asked(struct bpf_sock_addr *ctx, const struct endpoint *original,
				       enum direction direction)
{
	struct connection *conn;
	struct tcp_sock *tp;
	struct sock *sk;
	__u64 cookie;

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !ctx->sk)
		return;
	tp = bpf_skc_to_tcp_sock(ctx->sk);
	if (!tp)
		return;
	sk = (struct sock *)tp;
	cookie = bpf_get_socket_cookie(ctx);
	if (ask_put(sk, cookie, original, direction))
		return;
	conn = conn_lookup(sk, true);
	if (!conn) {
		conn_insert_asked(sk, cookie, original, direction);
		return;
	}
	conn_close_missed(sk, tp, conn);
	conn->direction = direction;
	conn->original = *original;
	*(volatile enum phase *)&conn->phase = ASKED;
}

static __always_inline bool ask_restores(struct bpf_sock_addr *ctx, struct tcp_sock **tp)
{
	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !ctx->sk)
		return false;
	*tp = bpf_skc_to_tcp_sock(ctx->sk);
	return *tp && tcp_is_restored(*tp);
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
