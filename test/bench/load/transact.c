/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and responses over one kept connection.
 *
 *	transact ADDRESS PORT SECONDS
 *
 * Prints the transactions, and the ns that they took.
 */
#include "load.h"

int main(int argc, char **argv)
{
	static char buffer[RESPONSE];
	struct sockaddr_in to;
	uint64_t begin, end, now, n = 0;
	int fd;

	if (argc != 4) {
		fprintf(stderr, "usage: transact ADDRESS PORT SECONDS\n");
		return 2;
	}
	to = address(argv[1], atoi(argv[2]));
	fd = tcp_socket();
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	begin = now_ns();
	end = begin + (uint64_t)(atof(argv[3]) * 1e9);
	while ((now = now_ns()) < end) {
		write_all(fd, buffer, REQUEST);
		if (!read_all(fd, buffer, RESPONSE))
			die("no response");
		n++;
	}
	printf("%llu %llu\n", (unsigned long long)n, (unsigned long long)(now - begin));
	return 0;
}
