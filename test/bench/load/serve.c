/* SPDX-License-Identifier: Apache-2.0 */
/* The server of every load: one process, blocking.
 *
 *	serve answer PORT	per connection one request, one response, close
 *	serve echo PORT		a response to each request of one connection at a time
 *	serve sink PORT		takes what comes over one connection at a time
 *
 * Prints "ready" when it listens, on every address.
 */
#include "load.h"

static char buffer[1 << 18];

static void answer(int fd)
{
	if (read_all(fd, buffer, REQUEST))
		write_all(fd, buffer, RESPONSE);
}

static void echo(int fd)
{
	while (read_all(fd, buffer, REQUEST))
		write_all(fd, buffer, RESPONSE);
}

static void sink(int fd)
{
	while (read(fd, buffer, sizeof(buffer)) > 0)
		;
}

int main(int argc, char **argv)
{
	void (*serve)(int);
	int at;

	if (argc != 3) {
		fprintf(stderr, "usage: serve answer|echo|sink PORT\n");
		return 2;
	}
	serve = !strcmp(argv[1], "answer") ? answer : !strcmp(argv[1], "echo") ? echo : sink;
	at = listener(address("0.0.0.0", atoi(argv[2])));
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = accept(at, NULL, NULL);

		if (fd < 0)
			die("accept");
		serve(fd);
		close(fd);
	}
}
