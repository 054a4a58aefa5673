/*
 * probe_wait - a reader that is interrupted while it waits.
 *
 *	probe_wait [-k] [-r] [-h SIGNUM]... PATH
 *
 * Opens PATH, reads it to its end and prints `ERRNO HANDLED`, then the content in a line of its own:
 * ERRNO is 0 or what open or read failed with, HANDLED how many signals its handlers saw. -h: a handler
 * for the signal is installed; -r: with SA_RESTART. The call is not repeated after EINTR: a program that
 * does not expect one would fail. -k: the descriptor is kept; for each byte on standard input the file is
 * read once more from its start, and what the last time brought is printed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t handled;

static void count(int sig)
{
	(void)sig;
	handled++;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = count };
	char content[16 * 1024];
	size_t len = 0;
	ssize_t n = 0;
	int opt, fd, errnum = 0;
	bool keep = false;
	char byte;

	while ((opt = getopt(argc, argv, "krh:")) != -1) {
		if (opt == 'k')
			keep = true;
		else if (opt == 'r')
			action.sa_flags = SA_RESTART;
		else if (opt == 'h' && sigaction((int)strtol(optarg, NULL, 10), &action, NULL) == 0)
			continue;
		else
			return 2;
	}
	if (optind != argc - 1) {
		fprintf(stderr, "usage: probe_wait [-k] [-r] [-h SIGNUM]... PATH\n");
		return 2;
	}
	fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		errnum = errno;
	do {
		len = 0;
		while (!errnum &&
			(n = pread(fd, content + len, sizeof(content) - len, (off_t)len)) > 0)
			len += (size_t)n;
		if (!errnum && n < 0)
			errnum = errno;
	} while (!errnum && keep && read(STDIN_FILENO, &byte, 1) == 1);
	printf("%d %d\n%.*s\n", errnum, (int)handled, (int)len, content);
	return errnum != 0;
}
