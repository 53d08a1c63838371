/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a socket shows of its connection. */
#ifndef SOCKET_H
#define SOCKET_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "kernel.h"
#include "record.h"

/* Lets the verifier take any address for a socket's: what is read through it may be anything,
 * and a read that faults gives 0. Linux 6.2 and newer.
 */
extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak;

#ifndef bpf_ksym_exists
#define bpf_ksym_exists(symbol) (!!(symbol))
#endif

/* Spreads sockets by their addresses. The verifier forbids arithmetic with a pointer, but the lower
 * half of one is a number to it. Written in C, the compiler may take the whole pointer first.
 */
static __always_inline __u32 sock_hash(const struct sock *sk)
{
	register __u64 low asm("r1") = (__u64)sk;

	asm volatile("w1 = w1" : "+r"(low));
	return (__u32)low * 0x9e3779b9 >> 16;
}

/* Reads a field of a socket: directly where the verifier knows the type, else by a call of a helper,
 * which costs ten times as much and is not there under lockdown=confidentiality. `typed` is a
 * constant wherever it is used.
 */
#define READ(from, field, typed) ((typed) ? (from)->field : BPF_CORE_READ(from, field))

/* Each defines a function that reads one field. */
#define DEFINE_READ(function, structure, type, field)                                                                  \
	static __always_inline type function(const struct structure *from, bool typed)                                 \
	{                                                                                                              \
		return (type)READ(from, field, typed);                                                                 \
	}

DEFINE_READ(sock_family, sock, __u16, __sk_common.skc_family)
DEFINE_READ(sock_state, sock, int, __sk_common.skc_state)
DEFINE_READ(sock_flags, sock, unsigned long, __sk_common.skc_flags)
DEFINE_READ(sock_cookie, sock, __u64, __sk_common.skc_cookie.counter)
DEFINE_READ(sock_references, sock, int, __sk_common.skc_refcnt.refs.counter)
DEFINE_READ(sock_remote_ip4, sock, __be32, __sk_common.skc_daddr)
DEFINE_READ(sock_local_ip4, sock, __be32, __sk_common.skc_rcv_saddr)
DEFINE_READ(sock_remote_port, sock, __be16, __sk_common.skc_dport)
DEFINE_READ(sock_protocol, sock, __u16, sk_protocol)
DEFINE_READ(sock_error, sock, int, sk_err)
DEFINE_READ(sock_uid, sock, __u32, sk_uid.val)
DEFINE_READ(sock_lock_owned, sock, int, sk_lock.owned)
DEFINE_READ(sock_lock_held, sock, int, sk_lock.slock.rlock.raw_lock.val.counter)
/* skc_num is 0 by the time a program sees the close. */
DEFINE_READ(tcp_local_port, tcp_sock, __be16, inet_conn.icsk_inet.inet_sport)
DEFINE_READ(tcp_bytes_acked, tcp_sock, __u64, bytes_acked)
DEFINE_READ(tcp_bytes_received, tcp_sock, __u64, bytes_received)
DEFINE_READ(tcp_bytes_sent, tcp_sock, __u64, bytes_sent)
DEFINE_READ(tcp_bytes_retrans, tcp_sock, __u64, bytes_retrans)
DEFINE_READ(tcp_snd_una, tcp_sock, __u32, snd_una)
DEFINE_READ(tcp_snd_nxt, tcp_sock, __u32, snd_nxt)
DEFINE_READ(tcp_write_seq, tcp_sock, __u32, write_seq)
DEFINE_READ(tcp_rcv_nxt, tcp_sock, __u32, rcv_nxt)
DEFINE_READ(tcp_total_retrans, tcp_sock, __u32, total_retrans)
DEFINE_READ(tcp_lost, tcp_sock, __u32, lost)
DEFINE_READ(tcp_srtt, tcp_sock, __u32, srtt_us)
DEFINE_READ(tcp_min_rtt, tcp_sock, __u32, rtt_min.s[0].v)
DEFINE_READ(tcp_segs_in, tcp_sock, __u32, segs_in)
DEFINE_READ(tcp_segs_out, tcp_sock, __u32, segs_out)
DEFINE_READ(tcp_data_segs_in, tcp_sock, __u32, data_segs_in)
DEFINE_READ(tcp_data_segs_out, tcp_sock, __u32, data_segs_out)
DEFINE_READ(tcp_snd_cwnd, tcp_sock, __u32, snd_cwnd)
DEFINE_READ(tcp_snd_ssthresh, tcp_sock, __u32, snd_ssthresh)
DEFINE_READ(tcp_mss, tcp_sock, __u32, mss_cache)
DEFINE_READ(tcp_delivered, tcp_sock, __u32, delivered)
DEFINE_READ(tcp_delivered_ce, tcp_sock, __u32, delivered_ce)
DEFINE_READ(tcp_dsack_dups, tcp_sock, __u32, dsack_dups)
DEFINE_READ(tcp_reordering, tcp_sock, __u32, reordering)
DEFINE_READ(tcp_rate_delivered, tcp_sock, __u32, rate_delivered)
DEFINE_READ(tcp_rate_interval, tcp_sock, __u32, rate_interval_us)
DEFINE_READ(tcp_retransmits, tcp_sock, __u8, inet_conn.icsk_retransmits)

static __always_inline __u64 sock_cgroup(const struct sock *sk, bool typed)
{
	return typed ? sk->sk_cgrp_data.cgroup->kn->id : BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
}

/* 0: the root of the hierarchy. */
static __always_inline int sock_cgroup_level(const struct sock *sk, bool typed)
{
	return typed ? sk->sk_cgrp_data.cgroup->level : BPF_CORE_READ(sk, sk_cgrp_data.cgroup, level);
}

/* The inode number that /proc/PID/ns/net shows. A later namespace may have it again. */
static __always_inline __u32 sock_netns(const struct sock *sk, bool typed)
{
	return typed ? sk->__sk_common.skc_net.net->ns.inum : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* True for a network namespace that a process without privileges may have made: with any
 * address, and any route.
 */
static __always_inline bool sock_netns_nested(const struct sock *sk, bool typed)
{
	return typed ? sk->__sk_common.skc_net.net->user_ns->level > 0
		     : BPF_CORE_READ(sk, __sk_common.skc_net.net, user_ns, level) > 0;
}

static __always_inline void endpoint_from_ip4(struct endpoint *endpoint, __be32 ip4)
{
	endpoint->addr[0] = 0;
	endpoint->addr[1] = 0;
	endpoint->addr[2] = bpf_htonl(0xffff);
	endpoint->addr[3] = ip4;
}

static __always_inline void endpoint_from_ip6(struct endpoint *endpoint, const struct in6_addr *ip6, bool typed)
{
	if (typed) {
		for (int i = 0; i < 4; i++)
			endpoint->addr[i] = ip6->in6_u.u6_addr32[i];
	} else {
		bpf_core_read(endpoint->addr, sizeof(endpoint->addr), ip6);
	}
}

static __always_inline void sock_endpoints(struct endpoint *local, struct endpoint *remote, const struct tcp_sock *tp,
					   bool typed)
{
	const struct sock *sk = (const struct sock *)tp;

	if (sock_family(sk, typed) == AF_INET) {
		endpoint_from_ip4(local, sock_local_ip4(sk, typed));
		endpoint_from_ip4(remote, sock_remote_ip4(sk, typed));
	} else {
		endpoint_from_ip6(local, &sk->__sk_common.skc_v6_rcv_saddr, typed);
		endpoint_from_ip6(remote, &sk->__sk_common.skc_v6_daddr, typed);
	}
	local->port = tcp_local_port(tp, typed);
	remote->port = sock_remote_port(sk, typed);
}

static __always_inline bool ip4_is_loopback(__be32 ip4)
{
	return (bpf_ntohl(ip4) >> 24) == 127;
}

static __always_inline bool endpoint_is_loopback(const struct endpoint *endpoint)
{
	if (endpoint->addr[0] || endpoint->addr[1])
		return false;
	if (endpoint->addr[2] == bpf_htonl(0xffff))
		return ip4_is_loopback(endpoint->addr[3]);
	return !endpoint->addr[2] && endpoint->addr[3] == bpf_htonl(1);
}

/* True for a state that only an established end can leave. */
static __always_inline bool state_was_established(int state)
{
	return state != TCP_SYN_SENT && state != TCP_SYN_RECV && state != TCP_CLOSE && state != TCP_LISTEN;
}

/* True for a state in which our FIN was queued. */
static __always_inline bool state_has_fin(int state)
{
	switch (state) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
	case TCP_TIME_WAIT:
	case TCP_LAST_ACK:
		return true;
	}
	return false;
}

/* True once our FIN was acknowledged: bytes_acked has counted it by then. */
static __always_inline bool tcp_fin_acked(const struct tcp_sock *tp, int state, bool typed)
{
	return state_has_fin(state) && tcp_snd_una(tp, typed) == tcp_write_seq(tp, typed);
}

/* True for an end that was established at some time, whatever it is now. */
static __always_inline bool tcp_ever_established(const struct tcp_sock *tp)
{
	return tp->rcvq_space.space != 0;
}

/* What the socket counts in bytes_acked beside the payload and a FIN that was sent: 1 for the SYN
 * of an end that connected, 0 on an accepted one. Any other value shows that the counters do
 * not fit together, as after a local error in a retransmission.
 */
static __always_inline __u64 tcp_syn_counted(const struct tcp_sock *tp, int state, bool typed)
{
	__u32 una = tcp_snd_una(tp, typed), nxt = tcp_snd_nxt(tp, typed);
	__u64 fin = state_has_fin(state) && nxt == tcp_write_seq(tp, typed);

	return tcp_bytes_acked(tp, typed) + (nxt - una) - fin -
	       (tcp_bytes_sent(tp, typed) - tcp_bytes_retrans(tp, typed));
}

/* The state that a socket left whose last changes no program saw: as far as it matters, which is
 * whether our FIN was acknowledged and who closed first.
 */
static __always_inline int tcp_left_state(const struct tcp_sock *tp, __u64 syn)
{
	bool done = ((const struct sock *)tp)->__sk_common.skc_flags & (1UL << SOCK_DONE);

	if (tp->bytes_acked > syn + tp->bytes_sent - tp->bytes_retrans)
		return done ? TCP_LAST_ACK : TCP_FIN_WAIT2;
	return done ? TCP_CLOSE_WAIT : TCP_ESTABLISHED;
}

/* What a socket has counted, as it counts: SYN and FIN are bytes there. */
struct raw_bytes {
	__u64 acked;
	__u64 received;
};

static __always_inline struct raw_bytes tcp_bytes(const struct tcp_sock *tp, bool typed)
{
	struct raw_bytes bytes = {
		.acked = tcp_bytes_acked(tp, typed),
		.received = tcp_bytes_received(tp, typed),
	};

	return bytes;
}

/* Both numbers stay the same from ESTABLISHED on, and through every translation of addresses. */
struct sequence_numbers {
	__u32 own;
	__u32 peer;
};

static __always_inline struct sequence_numbers tcp_isns(const struct tcp_sock *tp, __u64 syn, bool typed)
{
	struct sequence_numbers isn = {
		.own = tcp_snd_una(tp, typed) - (__u32)tcp_bytes_acked(tp, typed) - 1 + (__u32)syn,
		.peer = tcp_rcv_nxt(tp, typed) - (__u32)tcp_bytes_received(tp, typed) - 1,
	};

	return isn;
}

/* Waits a little for a moment at which nobody holds the socket's lock; false if there was
 * none. What is done under the lock is done as a whole for whoever saw it free afterwards.
 */
static __always_inline bool sock_was_unlocked(const struct sock *sk, int tries, bool typed)
{
	for (int i = 0; i < tries; i++) {
		if (!sock_lock_held(sk, typed) && !sock_lock_owned(sk, typed))
			return true;
	}
	return false;
}

/* With PREEMPT_RT the lock is of another kind, which cannot be watched. */
static __always_inline bool sock_lock_is_known(void)
{
	return bpf_core_field_exists(((struct sock *)0)->sk_lock.slock.rlock.raw_lock.val.counter);
}

#endif
