/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs hand to user space. bpf2go makes the Go types from these. */
#ifndef RECORD_H
#define RECORD_H

#include <linux/types.h>
#include "kernel.h"

enum direction {
	OUTBOUND = 1,	/* this end called connect */
	INBOUND = 2,	/* this end was accepted */
};

enum record_kind {
	RECORD_OPEN = 1,	/* a report of a connection that goes on */
	RECORD_CLOSED = 2,
	RECORD_FAILED = 3,	/* a connect that never was established */
};

/* The counters of a connection end. As differences they are signed. */
struct counters {
	__u64 opened;	/* 1: it was established while the program watched */
	__u64 sent;	/* payload bytes */
	__u64 received;	/* payload bytes */
	__u64 retransmits;	/* segments */
	__u64 lost;	/* segments */
};

#define COUNTERS ((int)(sizeof(struct counters) / sizeof(__u64)))

/* An IPv4 address is written as IPv4-mapped IPv6; the order is the wire's. */
struct endpoint {
	__be32 addr[4];
	__be16 port;
};

struct process {
	__u32 pid;	/* the thread group: what ps(1) calls the PID */
	__u8 comm[16];	/* of the thread group's leader; may lack the final NUL */
};

/* One report of one connection end. */
struct record {
	__u64 id;	/* socket cookie; the top byte counts the socket's connects */
	__u64 start;	/* CLOCK_BOOTTIME, ns: SYN sent, or established for INBOUND */
	__u64 previous;	/* when this end was told of before; 0: never */
	__u64 now;	/* CLOCK_BOOTTIME, ns */
	__u64 cgroup;	/* cgroup v2 id */
	struct counters total;	/* since it was opened; if it is older than the program, since that */
	struct counters delta;	/* since the last report of this end */
	__u32 srtt_us;		/* shifted left by 3, as the kernel keeps it */
	__u32 min_rtt_us;	/* ~0 when never measured */
	struct process process;
	struct endpoint source;	/* the side that opened the connection */
	struct endpoint destination;
	struct endpoint original;	/* what connect(2) asked for; port 0: unknown */
	enum record_kind kind;
	enum direction direction;
	enum tcp_state state;	/* the one before CLOSE; the present one while open */
	__u16 error;	/* sk_err; ECONNABORTED also where this end sent RST after its FIN */
	__u16 unsent;	/* 1: a failed connect for which the kernel could make no SYN */
};

/* What the programs counted since they were loaded, per CPU. */
struct tally {
	__u64 opened;
	__u64 closed;
	__u64 failed;
	__u64 found;		/* connections that were older than the program */
	__u64 lost;		/* close records that the ring had no room for */
	__u64 postponed;	/* reports of open ends that had to wait for room */
	__u64 untracked;	/* ends that found the map of connections full */
	/* Totals that found the spill map full, and are nowhere else: */
	struct counters spill_lost;
	__u64 spill_lost_closed;
	__u64 spill_lost_failed;
};

/* What user space hands to walk_connections. */
struct walk {
	__u32 map;	/* which of connection_maps */
};

/* Totals of ends whose record found the ring full, by what names them. */
struct spill_key {
	struct endpoint source;	/* port 0: one entry for all of a client's ends */
	struct endpoint destination;
	struct endpoint original;
	struct process process;
	__u64 cgroup;
	enum direction direction;
	__u32 failed;
};

struct spill {
	__u64 start;	/* of the first end that was added; CLOCK_BOOTTIME, ns */
	__u64 ends;	/* closes, or failures where the key says so */
	struct counters delta;
};

#endif
