/*
 * target - one thing whose time is measured.
 *
 * A target is named on the command line as NAME=KIND:WHAT:
 *
 *	file:PATH		open, read, read, close: what `cat` does
 *	each:COUNT:PATH		the same, but every % in turn is a number 0 ... COUNT-1
 *	sock:PATH		connect to a unix socket, send a line, read the answer, close
 *	conn:PATH		the same on one connection that stays open
 *	post:PORT:FILE		send the HTTP request in FILE to 127.0.0.1, read the whole answer
 *	fsync:PATH		create PATH, write 4 KiB, fsync, close
 *	exec:COMMAND LINE	start a program (words split at blanks), wait for its success
 *
 * Any failure ends the program with a message: a measurement with errors in it has no meaning.
 */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* Longer than any token or answer that is measured. */
#define TARGET_BUF 16384

struct target {
	const char *name;
	const char *what;
	void (*once)(struct target *t);
	/* each: */
	unsigned int count;
	unsigned int next;
	/* conn, post: */
	int fd;
	int port;
	char *request;
	size_t request_len;
	/* exec: */
	char **argv;
};

/* Takes NAME=KIND:WHAT apart, in place; text must live as long as the target. */
void target_parse(char *text, struct target *ret_t);

/* What one call of t->once() took, in nanoseconds of CLOCK_MONOTONIC. */
uint64_t target_time_ns(struct target *t);

uint64_t now_ns(void);

/* Prints a message and errno's sentence (if err is not 0), ends the program. */
void die(int err, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));

#endif
