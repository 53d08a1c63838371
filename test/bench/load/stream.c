/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes over one connection, as fast as it takes them.
 *
 *	stream ADDRESS PORT SECONDS
 *
 * Prints the bytes, and the ns that they took.
 */
#include "load.h"

int main(int argc, char **argv)
{
	static char buffer[1 << 16];
	struct sockaddr_in to;
	uint64_t begin, end, now, bytes = 0;
	int fd;

	if (argc != 4) {
		fprintf(stderr, "usage: stream ADDRESS PORT SECONDS\n");
		return 2;
	}
	to = address(argv[1], atoi(argv[2]));
	fd = tcp_socket();
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	begin = now_ns();
	end = begin + (uint64_t)(atof(argv[3]) * 1e9);
	while ((now = now_ns()) < end) {
		ssize_t some = write(fd, buffer, sizeof(buffer));

		if (some <= 0)
			die("write");
		bytes += some;
	}
	printf("%llu %llu\n", (unsigned long long)bytes, (unsigned long long)(now - begin));
	return 0;
}
