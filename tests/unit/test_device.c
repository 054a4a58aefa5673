/*
 * A libfuse session on one end of a socket pair, in a process that can be killed; the test is the
 * kernel at the other end.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/device.h"

#define RESENT     (UINT64_C(1) << 63)
#define PATIENCE_S 20
#define TOKEN      "canary-token"

/* Where a worker dies, or is told that something failed. */
enum fault {
	FAULT_NONE,
	FAULT_DIES_IN_OPERATION,
	FAULT_DIES_BEFORE_SENDING,
	FAULT_DIES_AFTER_SENDING,
	FAULT_ANSWER_NOT_WANTED, /* ENOENT: who asked is gone */
	FAULT_CANNOT_RESEND,
	FAULT_RESEND_FAILS,
};

/* What worker and test tell each other. */
struct told {
	_Atomic int fault;
	_Atomic unsigned made; /* operations that were begun */
	_Atomic unsigned forgets;
	_Atomic int result; /* of device_adopt */
	_Atomic int code;
	_Atomic bool resent;
	_Atomic unsigned taken;
	bool parks; /* writes are not answered */
	bool notifies;
	uint32_t major; /* that the kernel speaks */
	uint32_t max_write;
};

static struct told *told;
static struct page *page;
static int page_fd, kernel_fd, worker_fd;
static pid_t worker;

static bool is_fault(enum fault fault)
{
	if (!told || atomic_load(&told->fault) != (int)fault)
		return false;
	atomic_store(&told->fault, FAULT_NONE);
	return true;
}

static void die(void)
{
	raise(SIGKILL);
}

ssize_t __real_writev(int fd, const struct iovec *iov, int count);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int count);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int count)
{
	bool dies = is_fault(FAULT_DIES_AFTER_SENDING);
	ssize_t n;

	if (is_fault(FAULT_DIES_BEFORE_SENDING))
		die();
	if (is_fault(FAULT_ANSWER_NOT_WANTED)) {
		errno = ENOENT;
		return -1;
	}
	n = __real_writev(fd, iov, count);
	if (dies)
		die();
	return n;
}

ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	bool notifies = len == sizeof(struct fuse_out_header);

	if (notifies && is_fault(FAULT_CANNOT_RESEND)) {
		errno = EINVAL;
		return -1;
	}
	if (notifies && is_fault(FAULT_RESEND_FAILS)) {
		errno = EIO;
		return -1;
	}
	return __real_write(fd, buf, len);
}

/* ---- the worker ---- */

static struct fuse_session *session;
static fuse_req_t parked;
static bool interrupted;

static void on_interrupt(fuse_req_t req, void *data)
{
	interrupted = true;
}

static void begin(void)
{
	atomic_fetch_add(&told->made, 1);
	if (is_fault(FAULT_DIES_IN_OPERATION))
		die();
}

static void op_init(void *data, struct fuse_conn_info *conn)
{
	if (is_fault(FAULT_DIES_IN_OPERATION))
		die();
	conn->max_write = told->max_write;
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	atomic_fetch_add(&told->forgets, 1);
	fuse_reply_none(req);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
	struct fuse_file_info *fi)
{
	begin();
	if (told->parks) {
		parked = req;
		fuse_req_interrupt_func(req, on_interrupt, NULL);
	} else {
		fuse_reply_write(req, size);
	}
}

static void op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	begin();
	fuse_reply_buf(req, TOKEN, strlen(TOKEN));
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	begin();
	fuse_reply_err(req, EIO);
}

static void op_remove(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	begin();
	fuse_reply_err(req, 0);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	begin();
	if (told->notifies)
		fuse_lowlevel_notify_inval_inode(session, 1, 0, 0);
	fuse_reply_err(req, ENOENT);
}

static const struct fuse_entry_param entry = { .ino = 77, .attr.st_ino = 77 };

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	begin();
	fuse_reply_entry(req, &entry);
}

static void op_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	fi->fh = atomic_load(&told->made);
	begin();
	fuse_reply_create(req, &entry, fi);
}

static void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set, struct fuse_file_info *fi)
{
	begin();
	fuse_reply_attr(req, &entry.attr, 0);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.forget = op_forget,
	.write = op_write,
	.read = op_read,
	.flush = op_flush,
	.unlink = op_remove,
	.rmdir = op_remove,
	.lookup = op_lookup,
	.mkdir = op_mkdir,
	.create = op_create,
	.setattr = op_setattr,
};

static struct fuse_session *new_session(void)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *se = NULL;

	if (fuse_opt_add_arg(&args, "test") == 0)
		se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	fuse_opt_free_args(&args);
	return se;
}

static int work(void)
{
	struct fuse_session *se = new_session();
	struct fuse_buf buf = { 0 };
	struct pa_err err = { 0 };
	struct page *mine;
	bool resent = false;
	int rc, n;

	/* A test that fails ends without having killed it. */
	if (!se || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || page_map(page_fd, &mine, NULL) < 0 ||
		device_attach(se, worker_fd, mine, NULL) < 0)
		return 1;
	session = se;
	close(kernel_fd);
	rc = device_adopt(se, &resent, &err);
	atomic_store(&told->result, rc);
	atomic_store(&told->code, (int)err.code);
	atomic_store(&told->resent, resent);
	if (rc < 0)
		return 2;
	while ((n = fuse_session_receive_buf(se, &buf)) > 0) {
		if (device_take(buf.mem, (size_t)n))
			atomic_fetch_add(&told->taken, 1);
		else
			fuse_session_process_buf(se, &buf);
		if (interrupted)
			fuse_reply_err(parked, EINTR);
		interrupted = false;
	}
	return 3;
}

static void start_worker(void)
{
	worker = fork();
	assert_true(worker >= 0);
	if (worker == 0)
		_exit(work());
}

/* Waits for its end: the signal that killed it, or minus its exit code. */
static int reap(void)
{
	int status;

	assert_int_equal(waitpid(worker, &status, 0), worker);
	worker = 0;
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void kill_worker(void)
{
	kill(worker, SIGKILL);
	assert_int_equal(reap(), SIGKILL);
}

/* ---- the kernel ---- */

union message {
	struct fuse_out_header out;
	uint8_t bytes[4096];
};

static void send_request(uint32_t opcode, uint64_t unique, const void *body, size_t len)
{
	uint8_t buf[1024] = { 0 };
	const struct fuse_in_header in = {
		.len = (uint32_t)(sizeof(in) + len), .opcode = opcode, .unique = unique, .nodeid = 1
	};

	assert_true(in.len <= sizeof(buf));
	memcpy(buf, &in, sizeof(in));
	if (len)
		memcpy(buf + sizeof(in), body, len);
	assert_int_equal(send(kernel_fd, buf, in.len, MSG_NOSIGNAL), in.len);
}

static size_t receive(union message *m)
{
	ssize_t n = recv(kernel_fd, m, sizeof(*m), 0);

	assert_true(n >= (ssize_t)sizeof(m->out));
	assert_int_equal(m->out.len, n);
	return (size_t)n;
}

static size_t receive_answer(uint64_t unique, union message *m)
{
	size_t len = receive(m);

	assert_true(m->out.unique == unique);
	return len;
}

static void expect_nothing(void)
{
	union message m;

	assert_int_equal(recv(kernel_fd, &m, sizeof(m), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void send_init(uint64_t unique)
{
	const struct fuse_init_in init = {
		.major = told->major,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = 131072,
		.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS,
	};

	send_request(FUSE_INIT, unique, &init, sizeof(init));
}

/* A request like any other, to know that the worker is through with those before. */
static void look_up(uint64_t unique)
{
	union message m;

	send_request(FUSE_LOOKUP, unique, "name", 5);
	receive_answer(unique, &m);
	assert_int_equal(m.out.error, -ENOENT);
}

static void write_something(uint64_t unique)
{
	struct {
		struct fuse_write_in in;
		char data[8];
	} body = { .in.size = 8, .data = "written" };

	send_request(FUSE_WRITE, unique, &body, sizeof(body));
}

static void expect_write_answer(uint64_t unique)
{
	const struct fuse_write_out *out;
	union message m;

	assert_int_equal(receive_answer(unique, &m), sizeof(m.out) + sizeof(*out));
	out = (const struct fuse_write_out *)(m.bytes + sizeof(m.out));
	assert_int_equal(m.out.error, 0);
	assert_int_equal(out->size, 8);
}

static size_t rows_in(enum page_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGE_ROWS; i++)
		n += atomic_load(&page->rows[i].state) == state;
	return n;
}

/* A first worker that has answered FUSE_INIT. */
static void mount(void)
{
	union message m;

	start_worker();
	send_init(2);
	receive_answer(2, &m);
	assert_int_equal(m.out.error, 0);
}

static void expect_resend(void)
{
	union message m;

	assert_int_equal(receive_answer(0, &m), sizeof(m.out));
	assert_int_equal(m.out.error, 7);
}

/* It repeats the answer to FUSE_INIT, which a kernel that has it does not take; then it asks. */
static void start_successor(void)
{
	union message m;

	start_worker();
	receive_answer(2, &m);
	assert_int_equal(m.out.len, page->init_reply_len);
	assert_memory_equal(m.bytes, page->init_reply, m.out.len);
	expect_resend();
}

static int setup(void **state)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	int fds[2];

	alarm(3 * PATIENCE_S); /* one that was to end serves on: reap() waits */
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
		return -1;
	kernel_fd = fds[0];
	worker_fd = fds[1];
	told->max_write = 65536;
	told->major = FUSE_KERNEL_VERSION;
	if (setsockopt(kernel_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -1;
	return page_new(&page_fd, &page, NULL);
}

static int teardown(void **state)
{
	if (worker > 0) {
		kill(worker, SIGKILL);
		waitpid(worker, NULL, 0);
	}
	worker = 0;
	close(kernel_fd);
	close(worker_fd);
	page_unmap(page);
	close(page_fd);
	munmap(told, sizeof(*told));
	told = NULL;
	return 0;
}

/* ---- FUSE_INIT ---- */

static void test_first_init_is_noted(void **state)
{
	const struct fuse_in_header *in = (const struct fuse_in_header *)page->init;
	union message m;
	size_t len;

	start_worker();
	send_init(2);
	len = receive_answer(2, &m);
	look_up(4); /* what is counted after the answer went is there */
	assert_int_equal(page->init_reply_len, len);
	assert_memory_equal(page->init_reply, m.bytes, len);
	assert_int_equal(atomic_load(&page->init_len), sizeof(*in) + sizeof(struct fuse_init_in));
	assert_int_equal(in->opcode, FUSE_INIT);
	assert_int_equal(in->unique, 2);
	look_up(6);
	assert_in_range(atomic_load(&page->replies), 2, 3);
	assert_true(atomic_load(&told->resent));
	assert_int_equal(atomic_load(&told->result), 0);
	expect_nothing();
}

static void test_second_init_changes_nothing(void **state)
{
	uint8_t before[PAGE_INIT_MAX];
	union message m;

	mount();
	memcpy(before, page->init_reply, sizeof(before));
	send_init(4);
	receive_answer(4, &m);
	assert_int_equal(m.out.error, -EIO);
	assert_memory_equal(page->init_reply, before, sizeof(before));
	assert_int_equal(((const struct fuse_in_header *)page->init)->unique, 2);
}

static void test_successor_serves(void **state)
{
	mount();
	for (uint64_t i = 1; i <= 5; i++) {
		kill_worker();
		atomic_store(&page->replies, 0);
		start_successor();
		assert_int_equal(atomic_load(&page->replies), 0); /* the kernel asked nothing yet */
		look_up(100 * i);
		look_up(100 * i + 2);
		assert_in_range(atomic_load(&page->replies), 1, 2);
		assert_true(atomic_load(&told->resent));
	}
	expect_nothing();
}

static void test_other_answer_is_refused(void **state)
{
	mount();
	kill_worker();
	told->max_write = 8192;
	start_worker();
	assert_int_equal(reap(), -2);
	assert_int_equal(atomic_load(&told->result), -EPROTO);
	assert_int_equal(atomic_load(&told->code), PA_SYSTEM);
	expect_nothing();
	told->max_write = 65536; /* the old version can still be started again */
	start_successor();
	look_up(4);
}

static void test_unusable_page_is_refused(void **state)
{
	struct fuse_in_header *in = (struct fuse_in_header *)page->init;
	const uint32_t sizes[] = { 0, sizeof(*in) - 1, PAGE_INIT_MAX + 1, UINT32_MAX };
	uint32_t len;

	mount();
	kill_worker();
	len = in->len;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		in->len = sizes[i];
		start_worker();
		assert_int_equal(reap(), -2);
		assert_int_equal(atomic_load(&told->result), -EPROTO);
	}
	in->len = len;
	page->init_reply_len = PAGE_INIT_MAX + 1;
	start_worker();
	assert_int_equal(reap(), -2);
	assert_int_equal(atomic_load(&told->result), -EPROTO);
	expect_nothing();
}

static void test_asked_but_never_answered(void **state)
{
	union message m;

	atomic_store(&told->fault, FAULT_DIES_IN_OPERATION);
	start_worker();
	send_init(2);
	assert_int_equal(reap(), SIGKILL);
	assert_int_equal(atomic_load(&page->init_len), 0);
	start_worker();
	receive_answer(2, &m);
	assert_int_equal(m.out.error, 0);
	look_up(4);
	assert_int_equal(page->init_reply_len, m.out.len);
	expect_nothing();
	kill_worker();
	start_successor();
}

static void test_refused_init_is_not_noted(void **state)
{
	union message m;

	told->major = 6;
	start_worker();
	send_init(2);
	receive_answer(2, &m);
	assert_int_equal(m.out.error, -EPROTO);
	assert_int_equal(atomic_load(&page->init_len), 0);
}

static void test_answer_noted_but_not_sent(void **state)
{
	atomic_store(&told->fault, FAULT_DIES_BEFORE_SENDING);
	start_worker();
	send_init(2);
	assert_int_equal(reap(), SIGKILL);
	expect_nothing();
	assert_true(atomic_load(&page->init_len) > 0);
	start_successor(); /* sees to it that the kernel gets it */
	look_up(4);
}

static void test_kernel_that_cannot_resend(void **state)
{
	union message m;

	mount();
	kill_worker();
	atomic_store(&told->fault, FAULT_CANNOT_RESEND);
	start_worker();
	receive_answer(2, &m);
	look_up(4);
	assert_int_equal(atomic_load(&told->result), 0);
	assert_false(atomic_load(&told->resent));
	kill_worker();
	atomic_store(&told->fault, FAULT_RESEND_FAILS);
	start_worker();
	receive_answer(2, &m);
	assert_int_equal(reap(), -2);
	assert_int_equal(atomic_load(&told->result), -EIO);
}

static void test_no_session_for_no_descriptor(void **state)
{
	struct fuse_session *se = new_session();
	struct pa_err err = { 0 };

	assert_non_null(se);
	assert_int_equal(device_attach(se, -1, page, &err), -EBADF);
	assert_int_equal(err.code, PA_SYSTEM);
	fuse_session_destroy(se);
}

/* ---- changes ---- */

static void test_noted_answer_is_given_again(void **state)
{
	mount();
	atomic_store(&told->fault, FAULT_DIES_BEFORE_SENDING);
	write_something(4);
	assert_int_equal(reap(), SIGKILL);
	expect_nothing();
	assert_int_equal(rows_in(PAGE_ANSWERED), 1);
	start_successor();
	write_something(4 | RESENT);
	expect_write_answer(4 | RESENT);
	look_up(6);
	assert_int_equal(atomic_load(&told->made), 2); /* one write, one look */
	assert_int_equal(atomic_load(&told->taken), 1);
	assert_int_equal(rows_in(PAGE_FREE), PAGE_ROWS);
}

/* The successor dies as well, with the same answer in hand. */
static void test_given_again_by_the_third(void **state)
{
	mount();
	atomic_store(&told->fault, FAULT_DIES_BEFORE_SENDING);
	write_something(4);
	assert_int_equal(reap(), SIGKILL);
	start_successor();
	atomic_store(&told->fault, FAULT_DIES_BEFORE_SENDING);
	write_something(4 | RESENT);
	assert_int_equal(reap(), SIGKILL);
	expect_nothing();
	start_successor();
	write_something(4 | RESENT);
	expect_write_answer(4 | RESENT);
	assert_int_equal(atomic_load(&told->made), 1);
}

static void test_begun_is_made_again(void **state)
{
	mount();
	atomic_store(&told->fault, FAULT_DIES_IN_OPERATION);
	write_something(4);
	assert_int_equal(reap(), SIGKILL);
	assert_int_equal(rows_in(PAGE_BEGUN), 1);
	start_successor();
	write_something(4 | RESENT);
	expect_write_answer(4 | RESENT);
	look_up(6);
	assert_int_equal(atomic_load(&told->made), 3);
	assert_int_equal(rows_in(PAGE_FREE), PAGE_ROWS);
}

/* Its answer is noted under the number without the bit, too. */
static void test_made_again_then_noted(void **state)
{
	mount();
	atomic_store(&told->fault, FAULT_DIES_IN_OPERATION);
	write_something(4);
	assert_int_equal(reap(), SIGKILL);
	start_successor();
	atomic_store(&told->fault, FAULT_DIES_BEFORE_SENDING);
	write_something(4 | RESENT);
	assert_int_equal(reap(), SIGKILL);
	start_successor();
	write_something(4 | RESENT);
	expect_write_answer(4 | RESENT);
	assert_int_equal(atomic_load(&told->made), 2);
}

static void test_death_after_sending_leaves_a_row(void **state)
{
	mount();
	for (uint64_t u = 4; u < 24; u += 2) {
		atomic_store(&told->fault, FAULT_DIES_AFTER_SENDING);
		write_something(u);
		expect_write_answer(u);
		assert_int_equal(reap(), SIGKILL);
		start_successor();
	}
	assert_int_equal(rows_in(PAGE_ANSWERED), 10);
	write_something(100);
	expect_write_answer(100);
	look_up(102);
	assert_int_equal(rows_in(PAGE_ANSWERED), 10);
	assert_int_equal(atomic_load(&told->made), 12);
}

/* libfuse leaves it at that, and so does the page; the worker lives. */
static void test_answer_that_is_not_wanted(void **state)
{
	mount();
	look_up(4);
	atomic_store(&told->fault, FAULT_ANSWER_NOT_WANTED);
	write_something(6);
	look_up(8);
	assert_int_equal(rows_in(PAGE_FREE), PAGE_ROWS);
	expect_nothing();
}

struct kind {
	uint32_t opcode;
	bool once; /* else it is done again when it is asked again */
	const void *body;
	size_t len;
};

static void test_every_kind_of_request(void **state)
{
	static const struct {
		struct fuse_mkdir_in in;
		char name[2];
	} dir = { .name = "d" };
	static const struct {
		struct fuse_create_in in;
		char name[2];
	} file = { .name = "f" };
	static const struct {
		struct fuse_write_in in;
		char data[2];
	} data = { .in.size = 2 };
	static const struct fuse_setattr_in attr;
	static const struct fuse_flush_in flush;
	static const struct fuse_read_in piece = { .size = 100 };
	const struct kind kinds[] = {
		{ FUSE_WRITE, true, &data, offsetof(typeof(data), data) + 2 },
		{ FUSE_UNLINK, true, "f", 2 },
		{ FUSE_RMDIR, true, "d", 2 },
		{ FUSE_MKDIR, true, &dir, offsetof(typeof(dir), name) + 2 },
		{ FUSE_CREATE, true, &file, offsetof(typeof(file), name) + 2 },
		{ FUSE_FLUSH, true, &flush, sizeof(flush) },
		{ FUSE_SETATTR, true, &attr, sizeof(attr) },
		{ FUSE_LOOKUP, false, "f", 2 },
		{ FUSE_READ, false, &piece, sizeof(piece) },
	};

	mount();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct kind *k = &kinds[i];
		uint64_t unique = 100 + 2 * i;
		union message noted = { 0 }, m;
		const struct page_row *row;
		size_t len;

		atomic_store(&told->made, 0);
		atomic_store(&told->fault, FAULT_DIES_BEFORE_SENDING);
		send_request(k->opcode, unique, k->body, k->len);
		assert_int_equal(reap(), SIGKILL);
		assert_int_equal(rows_in(PAGE_ANSWERED), k->once);
		if (k->once) {
			row = page_begin(page, unique);
			assert_non_null(row);
			memcpy(&noted, row->reply, row->len);
			assert_int_equal(noted.out.len, row->len);
			assert_true(noted.out.unique == unique);
		}
		start_successor();
		send_request(k->opcode, unique | RESENT, k->body, k->len);
		len = receive_answer(unique | RESENT, &m);
		assert_int_equal(atomic_load(&told->made), k->once ? 1 : 2);
		if (k->once) {
			noted.out.unique |= RESENT;
			assert_int_equal(len, noted.out.len);
			assert_memory_equal(m.bytes, noted.bytes, len);
		}
	}
}

static void test_nothing_that_was_read_is_kept(void **state)
{
	const struct fuse_read_in piece = { .size = 100 };
	union message m;

	mount();
	atomic_store(&told->fault, FAULT_DIES_AFTER_SENDING);
	send_request(FUSE_READ, 4, &piece, sizeof(piece));
	assert_int_equal(receive_answer(4, &m), sizeof(m.out) + strlen(TOKEN));
	assert_memory_equal(m.bytes + sizeof(m.out), TOKEN, strlen(TOKEN));
	assert_int_equal(reap(), SIGKILL);
	assert_null(memmem(page, sizeof(*page), TOKEN, strlen(TOKEN)));
}

/* ---- what passes through ---- */

static void test_forgets_pass(void **state)
{
	const struct fuse_forget_in forget = { .nlookup = 1 };

	mount();
	send_request(FUSE_FORGET, 4, &forget, sizeof(forget));
	look_up(6);
	assert_int_equal(atomic_load(&told->forgets), 1);
	expect_nothing();
}

static void test_interrupt_of_a_change_that_was_sent_again(void **state)
{
	struct fuse_interrupt_in interrupt = { .unique = 4 };
	union message m;

	mount();
	told->parks = true;
	write_something(4);
	send_request(FUSE_INTERRUPT, 4 | 1, &interrupt, sizeof(interrupt));
	receive_answer(4, &m);
	assert_int_equal(m.out.error, -EINTR);
	write_something(6);
	look_up(8); /* it has it in hand */
	kill_worker();
	start_successor();
	write_something(6 | RESENT);
	interrupt.unique = 6 | RESENT;
	send_request(FUSE_INTERRUPT, 6 | RESENT | 1, &interrupt, sizeof(interrupt));
	receive_answer(6 | RESENT, &m);
	assert_int_equal(m.out.error, -EINTR);
	told->parks = false;
	look_up(10);
	assert_int_equal(rows_in(PAGE_FREE), PAGE_ROWS);
}

static void test_notifications_are_no_replies(void **state)
{
	union message m;

	mount();
	told->notifies = true;
	for (uint64_t u = 4; u <= 8; u += 2) {
		send_request(FUSE_LOOKUP, u, "name", 5);
		receive_answer(0, &m);
		assert_int_equal(m.out.error, FUSE_NOTIFY_INVAL_INODE);
		receive_answer(u, &m);
	}
	assert_in_range(atomic_load(&page->replies), 3, 4);
}

static void test_what_is_too_short_is_not_taken(void **state)
{
	static const struct fuse_in_header in = { .opcode = FUSE_WRITE, .unique = 4 };

	assert_false(device_take(&in, sizeof(in) - 1));
	assert_false(device_take(&in, 0));
	assert_int_equal(rows_in(PAGE_FREE), PAGE_ROWS);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_first_init_is_noted),
		CASE(test_second_init_changes_nothing),
		CASE(test_successor_serves),
		CASE(test_other_answer_is_refused),
		CASE(test_unusable_page_is_refused),
		CASE(test_asked_but_never_answered),
		CASE(test_refused_init_is_not_noted),
		CASE(test_answer_noted_but_not_sent),
		CASE(test_kernel_that_cannot_resend),
		CASE(test_no_session_for_no_descriptor),
		CASE(test_noted_answer_is_given_again),
		CASE(test_given_again_by_the_third),
		CASE(test_begun_is_made_again),
		CASE(test_made_again_then_noted),
		CASE(test_death_after_sending_leaves_a_row),
		CASE(test_answer_that_is_not_wanted),
		CASE(test_every_kind_of_request),
		CASE(test_nothing_that_was_read_is_kept),
		CASE(test_forgets_pass),
		CASE(test_interrupt_of_a_change_that_was_sent_again),
		CASE(test_notifications_are_no_replies),
		CASE(test_what_is_too_short_is_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
