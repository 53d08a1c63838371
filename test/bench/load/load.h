/* SPDX-License-Identifier: Apache-2.0 */
/* What the load generators have in common: addresses, time, and the end on any error. */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST 128	/* bytes, of the client's message */
#define RESPONSE 1024	/* bytes, of the server's */

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static inline struct sockaddr_in address(const char *ip, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1) {
		fprintf(stderr, "not an IPv4 address: %s\n", ip);
		exit(2);
	}
	return a;
}

/* The address that is `n` after another. */
static inline struct sockaddr_in plus(struct sockaddr_in a, uint32_t n)
{
	a.sin_addr.s_addr = htonl(ntohl(a.sin_addr.s_addr) + n);
	return a;
}

static inline int tcp_socket(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static inline int listener(struct sockaddr_in at)
{
	int one = 1, fd = tcp_socket();

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 4096))
		die("listen");
	return fd;
}

/* Reads n bytes; false where the peer closed before the first of them. */
static inline bool read_all(int fd, char *buffer, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t some = read(fd, buffer + got, n - got);

		if (some == 0 && got == 0)
			return false;
		if (some <= 0)
			die("read");
		got += some;
	}
	return true;
}

static inline void write_all(int fd, const char *buffer, size_t n)
{
	if (write(fd, buffer, n) != (ssize_t)n)
		die("write");
}

#endif
