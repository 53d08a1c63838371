/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is kept of a connection end, and what its socket counts. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "kernel.h"
#include "record.h"

enum phase {
	ASKED = 1,	/* connect(2) was called, and nothing sent yet */
	CONNECTING,
	OPEN,
	ENDED,
};

/* What the iterator looks at first comes first: with the head of a map's element before it,
 * it is one cache line.
 */
struct connection {
	enum phase phase;
	__u8 direction;	/* enum direction */
	__u8 opened;	/* 1: it was established while the program watched */
	__u8 older;	/* 1: it was not, and `before` counts */
	__u64 cookie;	/* of the socket: its address has another one after it */
	__u64 reported[COUNTERS];	/* see MARK */
	__u64 told;	/* when a report told of it last; 0: never */
	__u64 start;
	struct counters before;	/* of an older connection: what it had counted when it was found */
	struct process process;
	struct endpoint original;
};

/* By the address of the socket. A socket's own storage would need no key, but costs
 * three times as much to create and to free.
 */
struct connections {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 14);
	__type(key, __u64);
	__type(value, struct connection);
};

/* One map for each part of the sockets, so that a walk over one of them is short: the kernel
 * does not give the CPU away in the middle of a map. User space creates them; their number is
 * a power of two.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 16);
	__type(key, __u32);
	__array(values, struct connections);
} connection_maps SEC(".maps");

const volatile __u32 connection_maps_mask = 15;

/* The map that has, or would have, the entry of the socket. The verifier forbids arithmetic
 * with a pointer, but the lower half of one is a number to it. Written in C, the compiler
 * may take the whole pointer first.
 */
static __always_inline void *connections_of(const struct sock *sk)
{
	register __u64 low asm("r1") = (__u64)sk;
	__u32 part;

	asm volatile("w1 = w1" : "+r"(low));
	part = (__u32)low * 0x9e3779b9 >> 16 & connection_maps_mask;
	return bpf_map_lookup_elem(&connection_maps, &part);
}

/* A word of `reported` is 48 bits of a counter under 16 that tell the connections apart
 * which had the entry's memory one after the other.
 */
#define MARK 48

/* Stands in a word of `reported` once the close has taken the counter out. */
#define TAKEN (~0ULL)

static __always_inline __u64 marked(__u64 start, __u64 counter)
{
	return counter << (64 - MARK) >> (64 - MARK) | start << MARK;
}

/* What a counter has more than a word of `reported`; negative where it has less. */
static __always_inline __u64 difference(__u64 counter, __u64 reported)
{
	return (__s64)((counter - reported) << (64 - MARK)) >> (64 - MARK);
}

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

static __always_inline struct local_port local_port(const struct sock *sk)
{
	struct local_port key = {
		.netns = sk->__sk_common.skc_net.net->ns.inum,
		.port = sk->__sk_common.skc_num,
	};

	return key;
}

/* Has the verifier take any address for a socket's: what is read through it may be anything,
 * and a read that faults gives 0. Linux 6.2 and newer.
 */
extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak;

#ifndef bpf_ksym_exists
#define bpf_ksym_exists(symbol) (!!(symbol))
#endif

/* Reads a field of a socket: directly where the verifier knows it for one, else by a call of a
 * helper, which costs ten times as much.
 */
#define FIELD(known, from, field) ((known) ? (from)->field : BPF_CORE_READ(from, field))

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

const volatile bool include_loopback = false;

static __always_inline bool followed(const struct sock *sk)
{
	return include_loopback || !is_loopback(&sk->__sk_common);
}

/* The socket's entry; NULL where there is none, or only that of a socket which had this
 * address before.
 */
static __always_inline struct connection *find(const struct sock *sk)
{
	__u64 key = (__u64)sk;
	void *connections = connections_of(sk);
	struct connection *conn;

	if (!connections)
		return NULL;
	conn = bpf_map_lookup_elem(connections, &key);
	if (!conn || conn->cookie != sk->__sk_common.skc_cookie.counter)
		return NULL;
	return conn;
}

static __always_inline void forget(const struct sock *sk)
{
	__u64 key = (__u64)sk;
	void *connections = connections_of(sk);

	if (connections)
		bpf_map_delete_elem(connections, &key);
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
					   const struct tcp_sock *tp, bool known)
{
	const struct sock_common *common = (const struct sock_common *)tp;

	if (FIELD(known, common, skc_family) == AF_INET) {
		mapped(local, FIELD(known, common, skc_rcv_saddr));
		mapped(remote, FIELD(known, common, skc_daddr));
	} else {
		bpf_core_read(local->addr, sizeof(local->addr), &common->skc_v6_rcv_saddr);
		bpf_core_read(remote->addr, sizeof(remote->addr), &common->skc_v6_daddr);
	}
	/* skc_num is 0 by the time the tracepoint tells of CLOSE. */
	local->port = FIELD(known, tp, inet_conn.icsk_inet.inet_sport);
	remote->port = FIELD(known, common, skc_dport);
}

/* True once our FIN was acknowledged: bytes_acked has counted it by then. */
static __always_inline bool fin_acked(const struct tcp_sock *tp, int state, bool known)
{
	switch (state) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
	case TCP_TIME_WAIT:
	case TCP_LAST_ACK:
		return FIELD(known, tp, snd_una) == FIELD(known, tp, write_seq);
	}
	return false;
}

/* What a socket has counted, as it counts: SYN and FIN are bytes there. */
struct raw_bytes {
	__u64 acked;
	__u64 received;
};

static __always_inline struct raw_bytes read_bytes(const struct tcp_sock *tp, bool known)
{
	struct raw_bytes bytes = {
		.acked = FIELD(known, tp, bytes_acked),
		.received = FIELD(known, tp, bytes_received),
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
					const struct tcp_sock *tp, struct raw_bytes bytes, int state,
					bool known)
{
	const struct sock_common *common = (const struct sock_common *)tp;
	__u64 syn = conn->direction == OUTBOUND;
	__u64 fin = fin_acked(tp, state, known);

	total->opened = conn->opened;
	total->sent = (bytes.acked > syn + fin ? bytes.acked - syn - fin : 0) - conn->before.sent;
	/* The peer's FIN is counted too, and alone sets SOCK_DONE. */
	if (bytes.received && FIELD(known, common, skc_flags) & (1UL << SOCK_DONE))
		bytes.received--;
	total->received = bytes.received - conn->before.received;
	total->retransmits = FIELD(known, tp, total_retrans) - conn->before.retransmits;
	total->lost = FIELD(known, tp, lost) - conn->before.lost;
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
	for (int i = 0; i < 64; i++) {
		if (!BPF_CORE_READ(sk, sk_lock.slock.rlock.raw_lock.val.counter) && !BPF_CORE_READ(sk, sk_lock.owned))
			return true;
	}
	return false;
}

#endif
