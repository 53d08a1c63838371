/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's types that the programs read, with no more than the fields that
 * they read: CO-RE finds each field by name in the running kernel's BTF.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/types.h>

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct ns_common {
	unsigned int inum;
};

struct hlist_nulls_node {
	struct hlist_nulls_node *next;
};

struct hlist_nulls_head {
	struct hlist_nulls_node *first;
};

struct inet_ehash_bucket {
	struct hlist_nulls_head chain;
};

struct inet_hashinfo {
	struct inet_ehash_bucket *ehash;
	unsigned int ehash_mask;
};

struct inet_timewait_death_row {
	struct inet_hashinfo *hashinfo;
};

struct netns_ipv4 {
	struct inet_timewait_death_row tcp_death_row;
};

struct user_namespace {
	int level;
};

struct net {
	struct ns_common ns;
	struct user_namespace *user_ns;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__u64 counter;
} atomic64_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct sock_common {
	possible_net_t skc_net;
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	short unsigned int skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
	struct hlist_nulls_node skc_nulls_node;
	refcount_t skc_refcnt;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct qspinlock {
	atomic_t val;
};

struct raw_spinlock {
	struct qspinlock raw_lock;
};

typedef struct spinlock {
	struct raw_spinlock rlock;
} spinlock_t;

typedef struct {
	spinlock_t slock;
	int owned;
} socket_lock_t;

typedef struct {
	__u32 val;
} kuid_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	int sk_err;
	__u16 sk_protocol;
	__u8 sk_shutdown;
	kuid_t sk_uid;
	unsigned long sk_lingertime;
	struct sock_cgroup_data sk_cgrp_data;
};

struct minmax_sample {
	__u32 t;
	__u32 v;
};

struct minmax {
	struct minmax_sample s[3];
};

struct inet_sock {
	__be16 inet_sport;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u8 icsk_retransmits;
	void *icsk_ulp_data;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;

	/* All that only counts up, whether it is read or not: a new counter then needs no change here.
	 * Linux 5.15 has these:
	 */
	__u64 bytes_acked;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u32 segs_in;
	__u32 segs_out;
	__u32 data_segs_in;
	__u32 data_segs_out;
	__u32 delivered;
	__u32 delivered_ce;
	__u32 total_retrans;
	__u32 lost;
	__u32 dsack_dups;
	__u32 reord_seen;
	__u32 rcv_ooopack; /* segments */
	__u32 chrono_stat[3]; /* jiffies: busy, limited by the peer's window, by the send buffer */
	__u16 timeout_rehash;
	/* These are newer: ask bpf_core_field_exists first. */
	__u32 plb_rehash; /* 6.2 */
	__u16 total_rto; /* 6.7, as the next two */
	__u16 total_rto_recoveries;
	__u32 total_rto_time; /* ms */
	__u32 received_ce; /* 6.18, as the next two */
	__u32 received_ecn_bytes[3];
	__u32 delivered_ecn_bytes[3];

	__u64 tcp_mstamp; /* when it sent or received last; CLOCK_MONOTONIC, us */
	__u32 copied_seq;
	__u32 rcv_nxt;
	int linger2;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
	__u32 srtt_us;
	__u32 snd_cwnd;
	__u32 snd_ssthresh;
	__u32 mss_cache;
	__u32 reordering;
	__u32 rate_delivered;
	__u32 rate_interval_us;
	struct minmax rtt_min;
	struct {
		__u32 space;
	} rcvq_space;
	__u8 repair : 1;
	bool is_mptcp;
};

struct mptcp_sock {
	struct sock *first; /* its subflow that was there first */
};

struct mptcp_subflow_context {
	struct sock *conn;
};

struct socket {
	struct sock *sk;
};

struct proto_accept_arg {
	int flags;
};

struct inode {
	unsigned short i_mode;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	int tgid;
	unsigned int flags;
	struct task_struct *group_leader;
	struct files_struct *files;
	char comm[16];
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 seq_num;
};

struct bpf_map {
	enum bpf_map_type map_type;
	__u32 id;
	char name[16];
};

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* Numbers from include/net/tcp_states.h; the kernel cannot change them. */
enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
};

/* include/net/sock.h: bits of sk_flags. */
enum sock_flags {
	SOCK_DONE = 1, /* only a received FIN sets it */
	SOCK_LINGER = 4, /* SO_LINGER is on */
};

/* include/net/sock.h: both ways are shut, as close(2) does first of all. */
#define SHUTDOWN_MASK 3

/* include/linux/sched.h */
#define PF_KTHREAD 0x00200000

#define EEXIST 17
#define ECONNABORTED 103

#endif
