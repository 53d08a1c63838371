/* SPDX-License-Identifier: Apache-2.0 */
/* Connect, request, response, close, over and over.
 *
 *	connect ADDRESS PORT SECONDS RATE ADDRESSES [FROM SOURCES]
 *
 * RATE is connections per second, each at its moment whether or not the one before it was late (0: as
 * many as can be). Connection n goes to the address that is n % ADDRESSES after ADDRESS, with FROM it
 * comes from the address that is n / ADDRESSES % SOURCES after FROM. Prints
 *
 *	connections, ns, ns of latency: the median, the 99th of a hundred
 *
 * where a latency is from the moment at which the connection was due to the response's end.
 */
#include "load.h"

#define MOST 4000000

static uint32_t latencies[MOST];

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void wait_until(uint64_t at)
{
	struct timespec t = { at / 1000000000ULL, at % 1000000000ULL };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

int main(int argc, char **argv)
{
	static char buffer[RESPONSE];
	uint64_t begin, end, due, step, now;
	struct sockaddr_in first, from = { 0 };
	size_t n = 0;
	int addresses, sources = 0, one = 1;

	if (argc != 6 && argc != 8) {
		fprintf(stderr, "usage: connect ADDRESS PORT SECONDS RATE ADDRESSES [FROM SOURCES]\n");
		return 2;
	}
	first = address(argv[1], atoi(argv[2]));
	addresses = atoi(argv[5]);
	if (argc == 8) {
		from = address(argv[6], 0);
		sources = atoi(argv[7]);
	}
	step = atoi(argv[4]) ? 1000000000ULL / atoi(argv[4]) : 0;
	begin = now_ns();
	end = begin + (uint64_t)(atof(argv[3]) * 1e9);
	for (due = begin; n < MOST; due += step) {
		struct sockaddr_in to = plus(first, n % addresses), source;
		int fd;

		now = now_ns();
		if (!step)
			due = now;
		if (due >= end)
			break;
		if (due > now)
			wait_until(due);
		fd = tcp_socket();
		if (sources) {
			source = plus(from, n / addresses % sources);
			/* The port may be in use towards another address. */
			setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
			if (bind(fd, (struct sockaddr *)&source, sizeof(source)))
				die("bind");
		}
		if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
			die("connect");
		write_all(fd, buffer, REQUEST);
		if (!read_all(fd, buffer, RESPONSE))
			die("no response");
		latencies[n++] = now_ns() - due;
		/* The server closes first, and keeps the TIME_WAIT: no port here waits. */
		if (read(fd, buffer, 1) != 0)
			die("more than a response");
		close(fd);
	}
	now = now_ns();
	qsort(latencies, n, sizeof(latencies[0]), ascending);
	printf("%zu %llu %u %u\n", n, (unsigned long long)(now - begin), latencies[n / 2], latencies[n - 1 - n / 100]);
	return 0;
}
