/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that stay open, both of whose ends are here.
 *
 *	hold ADDRESS PORT COUNT
 *
 * A process may have few file descriptors, so several share the connections: the n-th listens on PORT + n.
 * Prints "ready" when all are open. Then, for each line with a number that it reads, that many connections
 * send one byte, others each time, and it prints "sent". It ends with its input.
 */
#include "load.h"
#include <sys/wait.h>

#define EACH 8000

struct share {
	int pipe;	/* the parent's end */
	int listener;
	int count;
};

static void hold(int pipe, int from, struct sockaddr_in at, int count)
{
	int *client = calloc(count, sizeof(int)), *server = calloc(count, sizeof(int));
	int next = 0, n;
	char byte = 0;

	for (int i = 0; i < count; i++) {
		client[i] = tcp_socket();
		if (connect(client[i], (struct sockaddr *)&at, sizeof(at)))
			die("connect");
		server[i] = accept(from, NULL, NULL);
		if (server[i] < 0)
			die("accept");
	}
	write_all(pipe, &byte, 1);
	while (read_all(pipe, (char *)&n, sizeof(n))) {
		for (; n > 0; n--, next = (next + 1) % count) {
			write_all(client[next], &byte, 1);
			read_all(server[next], &byte, 1);
		}
		write_all(pipe, &byte, 1);
	}
	exit(0);
}

static void wait_for(struct share *shares, int n)
{
	char byte;

	for (int i = 0; i < n; i++)
		if (!read_all(shares[i].pipe, &byte, 1))
			die("a process ended");
}

int main(int argc, char **argv)
{
	int count, shares = 0, active;
	struct share share[64];

	if (argc != 4) {
		fprintf(stderr, "usage: hold ADDRESS PORT COUNT\n");
		return 2;
	}
	/* All listen before the first connects: a client's own port may be one of these. */
	for (count = atoi(argv[3]); count > 0 && shares < 64; shares++) {
		share[shares].count = count < EACH ? count : EACH;
		share[shares].listener = listener(address(argv[1], atoi(argv[2]) + shares));
		count -= share[shares].count;
	}
	for (int n = 0; n < shares; n++) {
		int ends[2];

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
			die("socketpair");
		switch (fork()) {
		case -1:
			die("fork");
			break;
		case 0:
			/* Or a process would not see the end of its own input. */
			for (int i = 0; i < n; i++)
				close(share[i].pipe);
			close(ends[0]);
			hold(ends[1], share[n].listener, address(argv[1], atoi(argv[2]) + n), share[n].count);
		}
		close(ends[1]);
		close(share[n].listener);
		share[n].pipe = ends[0];
	}
	wait_for(share, shares);
	puts("ready");
	fflush(stdout);
	while (scanf("%d", &active) == 1) {
		int of = atoi(argv[3]);

		for (int i = 0; i < shares; i++) {
			int n = (long)active * share[i].count / of;

			write_all(share[i].pipe, (char *)&n, sizeof(n));
		}
		wait_for(share, shares);
		puts("sent");
		fflush(stdout);
	}
	for (int i = 0; i < shares; i++)
		close(share[i].pipe);
	while (wait(NULL) > 0)
		;
	return 0;
}
