/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs share with user space. bpf2go makes the Go types from these. */
#ifndef RECORD_H
#define RECORD_H

#include <linux/types.h>
#include "kernel.h"

enum direction {
	OUTBOUND = 1, /* this end called connect */
	INBOUND = 2, /* this end was accepted */
};

enum record_kind {
	RECORD_OPEN = 1, /* a report of a connection that goes on */
	RECORD_CLOSED = 2,
	RECORD_FAILED = 3, /* a connect that never was established */
};

/* The counters of a connection end. As differences they are signed. */
struct counters {
	__u64 opened; /* 1: it was established while the program watched */
	__u64 sent; /* payload bytes */
	__u64 received; /* payload bytes */
	__u64 retransmits; /* segments */
	__u64 lost; /* segments */
};

/* The place of each in struct counters. */
enum counter {
	COUNTER_OPENED,
	COUNTER_SENT,
	COUNTER_RECEIVED,
	COUNTER_RETRANSMITS,
	COUNTER_LOST,
	COUNTERS,
};

/* Has the compiler write types down for bpf2go that no map has. */
const enum counter *unused_counter __attribute__((unused));
const struct lock *unused_lock __attribute__((unused));

_Static_assert(sizeof(struct counters) == COUNTERS * sizeof(__u64), "a counter without a place");
_Static_assert(__builtin_offsetof(struct counters, lost) == COUNTER_LOST * sizeof(__u64), "the order differs");

/* An IPv4 address is written as IPv4-mapped IPv6; the order is the wire's. */
struct endpoint {
	__be32 addr[4];
	__be16 port;
};

struct process {
	__u32 pid; /* the thread group: what ps(1) calls the PID */
	__u8 comm[16]; /* of the thread group's leader; may lack the final NUL */
};

/* The rest of what struct bpf_tcp_sock has, as at the report. */
struct detail {
	__u32 snd_cwnd;
	__u32 snd_ssthresh;
	__u32 mss;
	__u32 segs_in;
	__u32 segs_out;
	__u32 data_segs_in;
	__u32 data_segs_out;
	__u32 delivered;
	__u32 delivered_ce;
	__u32 dsack_dups;
	__u32 reordering;
	__u32 rate_delivered;
	__u32 rate_interval_us;
	__u32 icsk_retransmits;
};

/* One report of one connection end. */
struct record {
	__u64 id; /* socket cookie; the upper 24 bits are the start in units of 1,024 ns */
	__u64 start; /* CLOCK_BOOTTIME, ns: SYN sent, or established for INBOUND */
	__u64 previous; /* when this end was reported before; 0: never */
	__u64 now; /* CLOCK_BOOTTIME, ns */
	__u64 connect; /* ns from the first SYN to ESTABLISHED on an OUTBOUND end; 0: not known */
	__u64 cgroup; /* cgroup v2 id */
	struct counters total; /* since it was opened; if it is older than the program, since that */
	struct counters delta; /* since the last report of this end */
	__u32 client_isn; /* of the end that opened the connection, whichever this is */
	__u32 server_isn; /* of the other; both are 0 on a failed connect */
	__u32 srtt_us; /* shifted left by 3, as the kernel keeps it */
	__u32 min_rtt_us; /* ~0 when never measured */
	__u32 netns; /* inode number of the socket's network namespace */
	struct process process;
	struct endpoint source; /* the side that opened the connection */
	struct endpoint destination;
	struct endpoint original; /* what connect(2) asked for, or SO_ORIGINAL_DST told the server; port 0: unknown */
	enum record_kind kind;
	enum direction direction;
	enum tcp_state state; /* the one before CLOSE; the present one while open */
	__u16 error; /* sk_err; ECONNABORTED also where this end sent RST after its FIN */
	__u8 unsent; /* 1: a failed connect for which the kernel could make no SYN */
	__u8 late; /* 1: nobody saw it open, and start is when it was noticed */
	__u8 nested; /* 1: the network namespace's owner is not the first user namespace: anybody can make one */
	struct detail detail; /* only where user space asked for it: else the record ends before it */
};

/* What the programs counted since they were loaded, per CPU. */
struct tally {
	__u64 opened;
	__u64 closed;
	__u64 failed;
	__u64 found; /* connections that were older than the program */
	__u64 lost; /* close records that the ring had no room for */
	__u64 postponed; /* reports of open ends that had to wait for room */
	__u64 untracked; /* ends that found no room in the map of connections when they opened */
	__u64 late; /* ends that were noticed when they had been open for a while, or closed */
	__u64 unseen; /* ends of which nobody knows whether they are older than the program */
	__u64 vanished; /* ends whose close the kernel showed to no program */
	__u64 excluded; /* ends that a rule leaves out */
	/* Totals that found the spill map full, and are nowhere else: */
	struct counters spill_lost;
	__u64 spill_lost_closed;
	__u64 spill_lost_failed;
};

/* What user space hands to walk_connections. */
struct walk {
	__u32 map; /* which of connection_maps */
};

/* What user space hands to scan_sockets. */
struct scan {
	__u32 from; /* bucket of the kernel's table of sockets */
	__u32 count;
	__u32 older; /* 1: what is found is older than the program; 0: its opening was missed */
	__u32 buckets; /* out: how many there are */
	__u32 busy; /* out: sockets that could not be read: scan again */
};

/* What list_locks writes. */
struct lock {
	__u32 id; /* of the map: the lower one was first */
	__u8 name[16];
};

/* Totals of ends whose record found the ring full, by what names them. */
struct spill_key {
	struct endpoint source; /* port 0: one entry for all of a client's ends */
	struct endpoint destination;
	struct endpoint original;
	struct process process;
	__u64 cgroup;
	enum direction direction;
	__u32 failed;
	__u32 netns;
	__u32 nested;
};

struct spill {
	__u64 start; /* of the first end that was added; CLOCK_BOOTTIME, ns */
	__u64 ends; /* closes, or failures where the key says so */
	struct counters delta;
};

#endif
