/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is kept of a connection end in its socket, and what the socket counts. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "kernel.h"
#include "record.h"

enum phase {
	IDLE,
	LISTENING,
	CONNECTING,
	OPEN,
	ENDED,
};

/* Stands in `reported` once the close has taken the counter out. */
#define TAKEN (~0ULL)

struct connection {
	__u64 start;
	__u64 opened;	/* 1: it was established while the program watched */
	struct counters before;	/* of an older connection: what it had counted when it was found */
	struct counters reported;
	__u64 told;	/* when a report told of it last; 0: never */
	struct process process;
	struct endpoint original;
	enum phase phase;
	enum direction direction;
	__u32 uses;	/* connects of this socket */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	/* CLONE: an accepted socket starts with what its listener has. */
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

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
} listeners SEC(".maps");

static __always_inline struct local_port local_port(const struct sock *sk)
{
	struct local_port key = {
		.netns = sk->__sk_common.skc_net.net->ns.inum,
		.port = sk->__sk_common.skc_num,
	};

	return key;
}

static __always_inline bool is_loopback(const struct sock_common *common)
{
	__u16 family = common->skc_family;

	if (family == AF_INET)
		return (bpf_ntohl(common->skc_daddr) >> 24) == 127;
	if (common->skc_v6_daddr.in6_u.u6_addr32[0] || common->skc_v6_daddr.in6_u.u6_addr32[1])
		return false;
	if (common->skc_v6_daddr.in6_u.u6_addr32[2] == bpf_htonl(0xffff))
		return (bpf_ntohl(common->skc_v6_daddr.in6_u.u6_addr32[3]) >> 24) == 127;
	return !common->skc_v6_daddr.in6_u.u6_addr32[2] &&
	       common->skc_v6_daddr.in6_u.u6_addr32[3] == bpf_htonl(1);
}

static __always_inline void fill_process(struct process *process, struct task_struct *task)
{
	process->pid = task->tgid;
	bpf_core_read(&process->comm, sizeof(process->comm), &task->group_leader->comm);
}

static __always_inline void mapped(struct endpoint *endpoint, __be32 ip4)
{
	endpoint->addr[0] = 0;
	endpoint->addr[1] = 0;
	endpoint->addr[2] = bpf_htonl(0xffff);
	endpoint->addr[3] = ip4;
}

static __always_inline void fill_endpoints(struct endpoint *local, struct endpoint *remote,
					   const struct tcp_sock *tp)
{
	const struct sock_common *common = (const struct sock_common *)tp;

	if (common->skc_family == AF_INET) {
		mapped(local, common->skc_rcv_saddr);
		mapped(remote, common->skc_daddr);
	} else {
		bpf_core_read(local->addr, sizeof(local->addr), &common->skc_v6_rcv_saddr);
		bpf_core_read(remote->addr, sizeof(remote->addr), &common->skc_v6_daddr);
	}
	/* skc_num is 0 by the time the tracepoint tells of CLOSE. */
	local->port = tp->inet_conn.icsk_inet.inet_sport;
	remote->port = common->skc_dport;
}

/* True once our FIN was acknowledged: bytes_acked has counted it by then. */
static __always_inline bool fin_acked(const struct tcp_sock *tp, int state)
{
	switch (state) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
	case TCP_TIME_WAIT:
	case TCP_LAST_ACK:
		return tp->snd_una == tp->write_seq;
	}
	return false;
}

/* What a socket has counted, as it counts: SYN and FIN are bytes there. */
struct raw_bytes {
	__u64 acked;
	__u64 received;
};

static __always_inline struct raw_bytes read_bytes(const struct tcp_sock *tp)
{
	struct raw_bytes bytes = {
		.acked = *(volatile __u64 *)&tp->bytes_acked,
		.received = *(volatile __u64 *)&tp->bytes_received,
	};

	return bytes;
}

/* Fills in what the socket counted since it was opened, or since it was found if it
 * is older than the program. `state` is the one before CLOSE for an end that closes,
 * the present one for one that is open; it must be read after the bytes.
 *
 * sent is what the peer acknowledged: data in flight is not counted before it
 * arrives, so that nothing has to be taken back when the connection is reset.
 */
static __always_inline void fill_totals(struct counters *total, const struct connection *conn,
					const struct sock *sk, const struct tcp_sock *tp,
					struct raw_bytes bytes, int state)
{
	__u64 syn = conn->direction == OUTBOUND;
	__u64 fin = fin_acked(tp, state);

	total->opened = conn->opened;
	total->sent = (bytes.acked > syn + fin ? bytes.acked - syn - fin : 0) - conn->before.sent;
	/* The peer's FIN is counted too, and alone sets SOCK_DONE. */
	if (bytes.received && sk->__sk_common.skc_flags & (1UL << SOCK_DONE))
		bytes.received--;
	total->received = bytes.received - conn->before.received;
	total->retransmits = tp->total_retrans - conn->before.retransmits;
	total->lost = tp->lost - conn->before.lost;
}

/* Orders the reads before it against those after it: an atomic operation whose result
 * is used is a full barrier, the only one that all our kernels' BPF has.
 */
static __always_inline __u64 fence(struct connection *conn)
{
	return __sync_fetch_and_add(&conn->told, 0);
}

/* Waits a little for a moment at which nobody holds the socket's lock; false if there
 * was none. A FIN is counted and marked under the lock: once the lock was free after
 * the bytes were read, the mark of a FIN that is among them can be read.
 */
static __always_inline bool was_unlocked(const struct sock *sk)
{
	/* With PREEMPT_RT it is another kind of lock: do without. */
	if (!bpf_core_field_exists(sk->sk_lock.slock.rlock.raw_lock.val.counter))
		return true;
	for (int i = 0; i < 512; i++) {
		const volatile int *spin = &sk->sk_lock.slock.rlock.raw_lock.val.counter;

		if (!*spin && !*(const volatile int *)&sk->sk_lock.owned)
			return true;
	}
	return false;
}

#endif
