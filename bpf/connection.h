/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The entries: what is kept of each connection end while its socket lives. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <bpf/bpf_helpers.h>
#include "share.h"
#include "socket.h"
#include "tally.h"

enum phase {
	ASKED = 1, /* connect(2) was called, and nothing sent yet */
	CONNECTING,
	OPEN,
	ENDED, /* reported; the socket is still there */
};

/* What the walk looks at first comes first: with the head of a map's element before it,
 * it is one cache line.
 */
struct connection {
	enum phase phase;
	__u8 direction; /* enum direction */
	__u8 opened; /* 1: it was established while the program watched */
	__u8 older; /* 1: it was not, and `before` counts */
	__u8 syn; /* 1: bytes_acked counts a SYN of ours */
	__u64 cookie; /* of the socket; 0: it had none when it was found */
	__u64 reported[COUNTERS]; /* see MARK_SHIFT */
	__u64 reported_at; /* when a report was made last; 0: never */
	__u64 start;
	__u64 connect; /* ns from the first SYN to ESTABLISHED; 0: not known */
	__u64 number; /* in the place of a cookie where there is none */
	struct owners owners;
	__u8 late;
	__u8 handed; /* 1: the process is one that was started for it */
	struct counters before; /* of an older connection: what it had counted when it was found */
	struct process process;
	struct endpoint original; /* as in struct record */
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
 * does not give the CPU away in the middle of a map. User space creates them.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, PARTS);
	__type(key, __u32);
	__array(values, struct connections);
} connection_maps SEC(".maps");

static __always_inline __u32 conn_part(const struct sock *sk)
{
	return sock_hash(sk) & (PARTS - 1);
}

static __always_inline void *conn_map(const struct sock *sk)
{
	__u32 part = conn_part(sk);

	return bpf_map_lookup_elem(&connection_maps, &part);
}

/* A word of `reported` is 48 bits of a counter under 16 that tell the connections apart
 * which had the entry's memory one after the other.
 */
#define MARK_SHIFT 48

/* Stands in a word of `reported` once the close has taken the counter out. */
#define TAKEN (~0ULL)

static __always_inline __u64 counter_marked(__u64 start, __u64 counter)
{
	return counter << (64 - MARK_SHIFT) >> (64 - MARK_SHIFT) | start << MARK_SHIFT;
}

/* What a counter has more than a word of `reported`; negative where it has less. */
static __always_inline __u64 counter_difference(__u64 counter, __u64 reported)
{
	return (__s64)((counter - reported) << (64 - MARK_SHIFT)) >> (64 - MARK_SHIFT);
}

static __always_inline void conn_begin(struct connection *conn, enum direction direction, enum phase phase)
{
	conn->start = bpf_ktime_get_boot_ns();
	for (int i = 0; i < COUNTERS; i++)
		conn->reported[i] = counter_marked(conn->start, 0);
	conn->direction = direction;
	conn->syn = direction == OUTBOUND;
	*(volatile enum phase *)&conn->phase = phase;
}

/* The socket's entry; NULL where there is none, or only that of a socket which had this
 * address before.
 */
static __always_inline struct connection *conn_lookup(const struct sock *sk, bool typed)
{
	__u64 key = (__u64)sk;
	void *connections = conn_map(sk);
	struct connection *conn;

	if (!connections)
		return NULL;
	conn = bpf_map_lookup_elem(connections, &key);
	if (!conn || (conn->cookie && conn->cookie != sock_cookie(sk, typed)))
		return NULL;
	return conn;
}

/* Forgets the entry at the socket's address, which has these owners. */
static __always_inline void conn_delete(const struct sock *sk, const struct connection *conn)
{
	__u64 key = (__u64)sk;
	void *connections = conn_map(sk);
	struct owners owners = conn->owners; /* its memory is the next entry's at once */

	if (connections && !bpf_map_delete_elem(connections, &key))
		share_give_back(conn_part(sk), owners);
}

/* Forgets the entry of a socket which had this address before, and whose end nobody saw. */
static __always_inline void conn_evict_stale(const struct sock *sk)
{
	__u64 key = (__u64)sk;
	void *connections = conn_map(sk);
	struct connection *conn;

	if (!connections)
		return;
	conn = bpf_map_lookup_elem(connections, &key);
	if (!conn)
		return;
	if (conn->phase == OPEN || conn->phase == CONNECTING)
		tally_add(&tally_here()->vanished, 1);
	conn_delete(sk, conn);
}

/* Makes the socket's entry, where there is none yet; 0, or a negative error. */
static __always_inline long conn_insert(const struct sock *sk, struct connection *conn, bool typed)
{
	__u64 key = (__u64)sk;
	void *connections = conn_map(sk);
	__u32 part = conn_part(sk);
	long err;

	if (!connections)
		return -1;
	conn->owners = share_owners(sk, typed);
	if (!share_take(part, conn->owners))
		return -1;
	err = bpf_map_update_elem(connections, &key, conn, BPF_NOEXIST);
	if (err)
		share_give_back(part, conn->owners);
	return err;
}

/* As conn_insert, for a socket that has no entry: one that is there is another's. */
static __always_inline bool conn_insert_anew(const struct sock *sk, struct connection *conn, bool typed)
{
	long err = conn_insert(sk, conn, typed);

	if (err != -EEXIST)
		return !err;
	conn_evict_stale(sk);
	return !conn_insert(sk, conn, typed);
}

/* Fills in what the socket counted since it was opened, or since it was found if it
 * is older than the program. `state` is the one before CLOSE for an end that closes,
 * the present one for one that is open; it must be read after the bytes.
 *
 * sent is what the peer acknowledged: data in flight is not counted before it
 * arrives, so that nothing has to be taken back when the connection is reset.
 */
static __always_inline void conn_totals(struct counters *total, const struct connection *conn,
					const struct tcp_sock *tp, struct raw_bytes bytes, int state, bool typed)
{
	__u64 uncounted = conn->syn + tcp_fin_acked(tp, state, typed);

	total->opened = conn->opened;
	total->sent = (bytes.acked > uncounted ? bytes.acked - uncounted : 0) - conn->before.sent;
	/* The peer's FIN is counted too, and alone sets SOCK_DONE. */
	if (bytes.received && sock_flags((const struct sock *)tp, typed) & (1UL << SOCK_DONE))
		bytes.received--;
	total->received = bytes.received - conn->before.received;
	total->retransmits = tcp_total_retrans(tp, typed) - conn->before.retransmits;
	total->lost = tcp_lost(tp, typed) - conn->before.lost;
}

/* A first look, at as little as possible: most connections rest, and their memory is in no
 * cache. A FIN looks like a byte here. A loss shows with its retransmission.
 */
static __always_inline bool conn_moved(const struct tcp_sock *tp, const struct connection *conn,
				       const __u64 reported[COUNTERS], bool typed)
{
	struct raw_bytes bytes = tcp_bytes(tp, typed);
	__u64 retransmits = tcp_total_retrans(tp, typed);

	if (conn->older) {
		bytes.acked -= conn->before.sent;
		bytes.received -= conn->before.received;
		retransmits -= conn->before.retransmits;
	}
	return counter_difference(bytes.acked, reported[COUNTER_SENT]) > conn->syn ||
	       counter_difference(bytes.received, reported[COUNTER_RECEIVED]) ||
	       counter_difference(retransmits, reported[COUNTER_RETRANSMITS]) ||
	       counter_difference(conn->opened, reported[COUNTER_OPENED]);
}

#endif
