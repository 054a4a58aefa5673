/* probe_kill_clients - what the clients of probe_kill do, and what they must find. */
#define _GNU_SOURCE 1 /* built by itself, not by meson */

#include "probe_kill.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COMPLAINTS_MAX 4 /* of one client */

const char *const role_names[ROLES] = { "read", "keep", "write", "change", "walk" };

void die(const char *what)
{
	fprintf(stderr, "probe_kill: %s: %s\n", what, strerror(errno));
	exit(2);
}

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void complain(struct client *c, const char *fmt, ...)
{
	char text[400];
	va_list args;

	if (atomic_fetch_add(&c->complaints, 1) >= COMPLAINTS_MAX)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	dprintf(STDERR_FILENO, "%s %d, epoch %u, after %lld ms: %s\n", role_names[c->role],
		c->number, atomic_load(&shared->epoch),
		(long long)(now_ns() - atomic_load(&c->began_ns)) / 1000000, text);
}

static void fails(struct client *c, const char *what, const char *path)
{
	int errnum = errno;

	atomic_fetch_add(&c->failed, 1);
	complain(c, "%s %s: %s", what, path, strerror(errnum));
}

/* ---- one operation ---- */

static uint32_t begin(struct client *c)
{
	uint32_t epoch = atomic_load(&shared->epoch);

	atomic_store(&c->began_ns, now_ns());
	return epoch;
}

/* An operation that began before the kill tells nothing about what came after it. */
static void end(struct client *c, uint32_t epoch)
{
	const uint64_t one = 1;

	if (c->role == READ) {
		uint32_t phase = atomic_load(&shared->phase);
		size_t i = atomic_fetch_add(&shared->count[phase], 1);

		if (i < SAMPLES_MAX)
			shared->us[phase][i] = (uint32_t)((now_ns() - c->began_ns) / 1000);
	}
	atomic_fetch_add(&c->done, 1);
	if (epoch != atomic_load(&shared->epoch) || epoch == atomic_load(&c->epoch))
		return;
	atomic_store(&c->epoch, epoch);
	if (write(got_on, &one, sizeof(one)) != sizeof(one))
		_exit(3);
}

static bool goes_on(void)
{
	return !atomic_load(&shared->stop);
}

/* ---- what must be in a file ---- */

/* The n-th value of a writer: its length and its letters follow from its number. */
static size_t make_value(char *text, int writer, uint64_t n)
{
	size_t len = (size_t)snprintf(
		text, TEXT_MAX, "%s-w%d-%llu-", value_prefix, writer, (unsigned long long)n);
	size_t filler = 20 + (size_t)(n * 37 % 1500);

	for (size_t i = 0; i < filler; i++)
		text[len++] = (char)('a' + (n + i) % 26);
	text[len] = '\0';
	return len;
}

static bool parse_value(const char *text, int *ret_writer, uint64_t *ret_n)
{
	size_t len = strlen(value_prefix);
	unsigned long long n;

	if (strncmp(text, value_prefix, len) != 0 ||
		sscanf(text + len, "-w%d-%llu-", ret_writer, &n) != 2)
		return false;
	*ret_n = n;
	return true;
}

/* HEAD-at-ACCOUNT-GENERATION-HEX */
static bool parse_token(const char *text, uint64_t *ret_n)
{
	const char *at = strstr(text, "-at-"), *hex = strrchr(text, '-'), *digit;

	if (!at || !hex || hex - at < 4)
		return false;
	for (digit = hex; digit > at && isdigit((unsigned char)digit[-1]); digit--)
		;
	if (digit == hex || digit[-1] != '-' || strspn(hex + 1, "0123456789abcdef") < 16)
		return false;
	*ret_n = strtoull(digit, NULL, 10);
	return hex[1 + strspn(hex + 1, "0123456789abcdef")] == '\0';
}

/* Everybody must have seen the same text for a generation. */
static bool is_that_token(uint64_t n, const char *text)
{
	struct token *t = &shared->tokens[n % GENERATIONS];
	uint32_t empty = 0;

	if (strlen(text) >= TOKEN_MAX)
		return false;
	if (atomic_compare_exchange_strong(&t->state, &empty, 1)) {
		memcpy(t->text, text, strlen(text) + 1);
		atomic_store(&t->state, 2);
		return true;
	}
	while (atomic_load(&t->state) != 2)
		;
	return strcmp(t->text, text) == 0;
}

static enum kind kind_of(const char *text)
{
	uint64_t n;
	int writer;

	if (parse_value(text, &writer, &n))
		return WRITTEN;
	return parse_token(text, &n) ? TOKEN : FIXED;
}

static void judge(struct client *c, struct file *f, const char *text)
{
	char wanted[TEXT_MAX];
	uint64_t n = 0;
	int writer;
	bool good = false;

	switch (f->kind) {
	case FIXED:
		good = strcmp(text, f->text) == 0;
		break;
	case TOKEN:
		good = parse_token(text, &n) && is_that_token(n, text);
		break;
	case WRITTEN:
		if ((good = parse_value(text, &writer, &n))) {
			make_value(wanted, writer, n);
			good = strcmp(text, wanted) == 0;
		}
		break;
	}
	if (!good) {
		atomic_fetch_add(&c->torn, 1);
		complain(c, "%s: %zu bytes that nobody wrote: %.120s", f->path, strlen(text), text);
	} else if (n < f->newest) {
		atomic_fetch_add(&c->lost, 1);
		complain(c, "%s: number %llu after %llu", f->path, (unsigned long long)n,
			(unsigned long long)f->newest);
	} else {
		f->newest = n;
	}
}

/* A token that could not be had. */
static bool is_excepted(const struct file *f, int errnum)
{
	return f->kind == TOKEN && (errnum == EKEYEXPIRED || errnum == EKEYREVOKED ||
					   errnum == EKEYREJECTED || errnum == ETIMEDOUT);
}

static void cannot_read(struct client *c, struct file *f, const char *what)
{
	if (is_excepted(f, errno)) {
		atomic_fetch_add(&c->excepted, 1);
		complain(c, "excepted: %s %s: %s", what, f->path, strerror(errno));
	} else {
		fails(c, what, f->path);
	}
}

/* The whole file; -1 with errno. */
static ssize_t slurp(const char *path, char *text, const char **ret_what)
{
	size_t len = 0;
	ssize_t n;
	int fd;

	*ret_what = "open";
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return -1;
	*ret_what = "read";
	while ((n = read(fd, text + len, TEXT_MAX - 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0) {
		int errnum = errno;

		close(fd);
		errno = errnum;
		return -1;
	}
	text[len] = '\0';
	*ret_what = "close";
	return close(fd) < 0 ? -1 : (ssize_t)len;
}

/* ---- the clients ---- */

static void run_read(struct client *c)
{
	char text[TEXT_MAX];
	const char *what;

	for (size_t i = 0; goes_on(); i = (i + 1) % c->nfiles) {
		struct file *f = &c->files[i];
		uint32_t epoch = begin(c);

		if (slurp(f->path, text, &what) < 0)
			cannot_read(c, f, what);
		else
			judge(c, f, text);
		end(c, epoch);
	}
}

static void run_keep(struct client *c)
{
	char whole[TEXT_MAX], piece[TEXT_MAX];
	struct file *f = &c->files[0];
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		fails(c, "open", f->path);
		return;
	}
	while (goes_on()) {
		uint32_t epoch = begin(c);
		ssize_t len = pread(fd, whole, sizeof(whole) - 1, 0), n;

		if (len <= 0) {
			if (len == 0)
				errno = ENODATA;
			cannot_read(c, f, "pread from the start");
			end(c, epoch);
			continue;
		}
		whole[len] = '\0';
		judge(c, f, whole);
		end(c, epoch);
		/* For as long as it lasts: the pieces of what has just been read. */
		for (unsigned i = 1; i < 40 && goes_on(); i++) {
			off_t off = 1 + (off_t)(i * 7919 % (unsigned)len);

			epoch = begin(c);
			n = pread(fd, piece, 1 + i % 30, off);
			if (n < 0 && errno == ESTALE && f->kind != FIXED) {
				atomic_fetch_add(&c->stale, 1);
				i = 40;
			} else if (n < 0) {
				fails(c, "pread", f->path);
			} else if (memcmp(piece, whole + off, (size_t)n) != 0 ||
				   (n == 0) != (off >= len)) {
				atomic_fetch_add(&c->torn, 1);
				complain(c, "%s: %zd of %zd bytes at %lld are another value's",
					f->path, n, len, (long long)off);
			}
			end(c, epoch);
		}
	}
	close(fd);
}

/* What bash does for `printf ... > FILE`: the first flush comes before the write. */
static int store(const char *path, int flags, const char *text, size_t len, const char **ret_what)
{
	char line[TEXT_MAX + 1];
	int fd, copy, errnum = 0;

	memcpy(line, text, len);
	line[len] = '\n';
	*ret_what = "open for writing";
	if ((fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666)) < 0)
		return -1;
	*ret_what = "dup";
	if ((copy = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
		die("dup");
	*ret_what = "flush before the write";
	if (close(fd) < 0)
		errnum = errno;
	if (!errnum) {
		*ret_what = "write";
		if (write(copy, line, len + 1) != (ssize_t)len + 1)
			errnum = errno;
	}
	if (close(copy) < 0 && !errnum) {
		*ret_what = "flush";
		errnum = errno;
	}
	errno = errnum;
	return errnum ? -1 : 0;
}

static void run_write(struct client *c)
{
	char api_key[500], key[500], value[TEXT_MAX], text[TEXT_MAX];
	const char *what;

	snprintf(api_key, sizeof(api_key), "%s/api-key", c->files[0].path);
	snprintf(key, sizeof(key), "%s/key", c->files[0].path);
	for (uint64_t n = 1; goes_on(); n++) {
		uint32_t epoch = begin(c);
		size_t len = make_value(value, c->number, n);

		if (store(api_key, O_TRUNC, value, len, &what) < 0) {
			fails(c, what, api_key);
			end(c, epoch);
			continue;
		}
		memcpy(c->value, value, len + 1);
		end(c, epoch);
		epoch = begin(c);
		if (slurp(key, text, &what) < 0) {
			fails(c, what, key);
		} else if (strcmp(text, value) != 0) {
			uint64_t found = 0;
			int writer;
			bool old = parse_value(text, &writer, &found) && found < n;

			atomic_fetch_add(old ? &c->lost : &c->torn, 1);
			complain(c, "%s: wrote number %llu, read %llu: %.100s", key,
				(unsigned long long)n, (unsigned long long)found, text);
		}
		end(c, epoch);
	}
}

static void run_change(struct client *c)
{
	char dir[500], api_key[520], key[520], value[TEXT_MAX], text[TEXT_MAX];
	const char *what;

	snprintf(dir, sizeof(dir), "%s/own%d", c->files[0].path, c->number);
	snprintf(api_key, sizeof(api_key), "%s/api-key", dir);
	snprintf(key, sizeof(key), "%s/key", dir);
	for (uint64_t n = 1; goes_on(); n++) {
		size_t len = make_value(value, c->number, n);
		uint32_t epoch = begin(c);

		if (mkdir(dir, 0700) < 0)
			fails(c, "mkdir", dir);
		end(c, epoch);
		epoch = begin(c);
		if (store(api_key, O_EXCL, value, len, &what) < 0)
			fails(c, what, api_key);
		else if (slurp(key, text, &what) < 0)
			fails(c, what, key);
		else if (strcmp(text, value) != 0) {
			atomic_fetch_add(&c->torn, 1);
			complain(c, "%s: not what was stored: %.100s", key, text);
		}
		end(c, epoch);
		epoch = begin(c);
		if (unlink(n % 2 ? api_key : key) < 0)
			fails(c, "unlink", n % 2 ? api_key : key);
		end(c, epoch);
		epoch = begin(c);
		if (rmdir(dir) < 0)
			fails(c, "rmdir", dir);
		end(c, epoch);
	}
}

/* How many names are in a directory and below; what the changers make is not counted. */
static unsigned walk(struct client *c, const char *path, unsigned depth)
{
	unsigned count = 0;
	struct dirent *e;
	DIR *dir;

	if (!(dir = opendir(path))) {
		fails(c, "opendir", path);
		return 0;
	}
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		char sub[1000], text[TEXT_MAX];
		const char *what;
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			strncmp(e->d_name, "own", 3) == 0)
			continue;
		count++;
		snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
		if (lstat(sub, &st) < 0)
			fails(c, "lstat", sub);
		else if (S_ISDIR(st.st_mode) && depth < 4)
			count += walk(c, sub, depth + 1);
		else if (strcmp(e->d_name, "generation") == 0 && slurp(sub, text, &what) < 0)
			fails(c, what, sub);
	}
	if (errno)
		fails(c, "readdir", path);
	if (closedir(dir) < 0)
		fails(c, "closedir", path);
	return count;
}

static void run_walk(struct client *c)
{
	unsigned wanted = 0;

	while (goes_on()) {
		uint32_t epoch = begin(c);
		uint64_t failed = atomic_load(&c->failed);
		unsigned count = walk(c, c->files[0].path, 0);

		if (failed == atomic_load(&c->failed) && wanted && count != wanted) {
			atomic_fetch_add(&c->torn, 1);
			complain(c, "%u names, not %u", count, wanted);
		}
		if (!wanted)
			wanted = count;
		end(c, epoch);
	}
}

void client_run(struct client *c)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	switch (c->role) {
	case READ:
		run_read(c);
		break;
	case KEEP:
		run_keep(c);
		break;
	case WRITE:
		run_write(c);
		break;
	case CHANGE:
		run_change(c);
		break;
	case WALK:
		run_walk(c);
		break;
	case ROLES:
		break;
	}
	_exit(0);
}

/* ---- before they run ---- */

void client_prepare(struct client *c)
{
	char text[TEXT_MAX], path[500];
	const char *what;

	if (c->role == WRITE) {
		snprintf(path, sizeof(path), "%s/api-key", c->files[0].path);
		size_t len = make_value(text, c->number, 0);

		if (store(path, O_TRUNC, text, len, &what) < 0)
			die(path);
		memcpy(c->value, text, len + 1);
	}
}

void client_look(struct client *c)
{
	const char *what;

	if (c->role != READ && c->role != KEEP)
		return;
	for (size_t i = 0; i < c->nfiles; i++) {
		struct file *f = &c->files[i];
		ssize_t n = slurp(f->path, f->text, &what);

		if (n <= 0)
			die(f->path);
		f->len = (size_t)n;
		f->kind = kind_of(f->text);
	}
}
