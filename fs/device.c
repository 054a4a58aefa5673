#include "device.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "store/secret.h"

/* Linux 6.9. */
#define RESENT        (UINT64_C(1) << 63) /* FUSE_UNIQUE_RESEND */
#define NOTIFY_RESEND 7                   /* FUSE_NOTIFY_RESEND */

/* Of the one session: libfuse gives its callbacks nothing of ours. */
static struct {
	struct page *page;
	int fd;
	uint64_t init; /* unique of the FUSE_INIT that has to be answered; 0: none */
	bool adopting; /* its answer is compared, not sent */
	bool again;    /* the request under way may have been made */
	bool same;     /* it was the one that the page has */
} device;

/* ---- answers ---- */

static size_t length_of(const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	return len;
}

/* The pieces of a message in one; 0: more than size, and nothing was copied. */
static size_t gather(const struct iovec *iov, int count, uint8_t *buf, size_t size)
{
	size_t len = length_of(iov, count);

	if (len > size)
		return 0;
	for (int i = 0; i < count; i++) {
		memcpy(buf, iov[i].iov_base, iov[i].iov_len);
		buf += iov[i].iov_len;
	}
	return len;
}

/* The kernel takes an answer; or does not miss it any more (ENOENT). Then neither do we. */
static ssize_t send_answer(int fd, const struct iovec *iov, int count, uint64_t unique)
{
	ssize_t n = writev(fd, iov, count);
	int errnum = errno;

	if (n >= 0 || errnum == ENOENT) {
		atomic_fetch_add_explicit(&device.page->replies, 1, memory_order_relaxed);
		page_end(device.page, unique & ~RESENT);
	}
	errno = errnum;
	return n;
}

/* Noted before it is sent: a successor must be able to give the same. */
static void note_init_answer(const struct iovec *iov, int count)
{
	struct page *p = device.page;
	size_t len = gather(iov, count, p->init_reply, sizeof(p->init_reply));
	const struct fuse_out_header *out = (const struct fuse_out_header *)p->init_reply;

	/* After a refusal there is nothing to take over. */
	if (!len || out->error)
		return;
	p->init_reply_len = (uint32_t)len;
	atomic_store_explicit(
		&p->init_len, ((const struct fuse_in_header *)p->init)->len, memory_order_release);
}

static void compare_init_answer(const struct iovec *iov, int count)
{
	uint8_t reply[PAGE_INIT_MAX];
	size_t len = gather(iov, count, reply, sizeof(reply));

	device.same = len == device.page->init_reply_len &&
		      memcmp(reply, device.page->init_reply, len) == 0;
}

static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	uint8_t reply[PAGE_REPLY_MAX];
	size_t len;

	(void)userdata;
	if (device.adopting) {
		compare_init_answer(iov, count);
		return (ssize_t)length_of(iov, count);
	}
	if (!out->unique)
		return writev(fd, iov, count);
	if (out->unique == device.init) {
		device.init = 0;
		note_init_answer(iov, count);
	} else if ((len = gather(iov, count, reply, sizeof(reply)))) {
		page_answer(device.page, out->unique & ~RESENT, reply, len);
		secret_wipe(reply, len); /* a short token, read */
	}
	return send_answer(fd, iov, count, out->unique);
}

static ssize_t device_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

int device_attach(struct fuse_session *se, int fd, struct page *page, struct pa_err *err)
{
	static const struct fuse_custom_io io = { .writev = device_writev, .read = device_read };
	int rc = fuse_session_custom_io(se, &io, fd);

	if (rc < 0)
		return pa_fail(err, PA_SYSTEM, -rc, "the FUSE session: %s", strerror(-rc));
	device.page = page;
	device.fd = fd;
	device.init = 0;
	device.adopting = false;
	return 0;
}

/* ---- requests ---- */

/*
 * The page's copy of FUSE_INIT counts as soon as it has a length, which is the first thing in it
 * and written last: the kernel asks only once, even if whom it asked dies before it answers.
 */
static void note_init(const struct fuse_in_header *in, size_t len)
{
	struct page *p = device.page;
	const size_t first = sizeof(in->len);

	/* Longer than any kernel's: served, not to be taken over. libfuse refuses a second one. */
	if (len > sizeof(p->init) || in->len != len || atomic_load(&p->init_len))
		return;
	memcpy(p->init + first, (const uint8_t *)in + first, len - first);
	atomic_thread_fence(memory_order_release);
	memcpy(p->init, in, first);
	device.init = in->unique;
}

/* true: it was made already, and whoever asked has the answer now. */
static bool is_answered(uint64_t unique)
{
	const struct page_row *row;
	uint8_t reply[PAGE_REPLY_MAX];
	struct iovec iov = { .iov_base = reply };

	device.again = (unique & RESENT) && page_is_begun(device.page, unique & ~RESENT);
	if (!(row = page_begin(device.page, unique & ~RESENT)))
		return false;
	iov.iov_len = row->len;
	memcpy(reply, row->reply, row->len);
	/* The kernel knows it by the number that it has now. */
	memcpy(reply + offsetof(struct fuse_out_header, unique), &unique, sizeof(unique));
	if (send_answer(device.fd, &iov, 1, unique) < 0 && errno != ENOENT)
		fuse_log(FUSE_LOG_ERR, "an answer from the page: %s\n", strerror(errno));
	return true;
}

bool device_take(const void *request, size_t len)
{
	const struct fuse_in_header *in = request;

	device.again = false;
	if (len < sizeof(*in))
		return false;
	switch (in->opcode) {
	case FUSE_INIT:
		note_init(in, len);
		return false;
	case FUSE_WRITE:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_MKDIR:
	case FUSE_CREATE:
	case FUSE_FLUSH:
	case FUSE_SETATTR:
		return is_answered(in->unique);
	default:
		return false;
	}
}

bool device_is_again(void)
{
	return device.again;
}

/* ---- taking over ---- */

/* The page's FUSE_INIT goes to libfuse as if the kernel had sent it. */
static void feed_init(struct fuse_session *se)
{
	const struct fuse_in_header *in = (const struct fuse_in_header *)device.page->init;
	const struct fuse_buf buf = { .mem = device.page->init, .size = in->len };

	fuse_session_process_buf(se, &buf);
}

static bool has_init(const struct page *p)
{
	const struct fuse_in_header *in = (const struct fuse_in_header *)p->init;

	return in->opcode == FUSE_INIT && in->len >= sizeof(*in) && in->len <= sizeof(p->init);
}

/* A predecessor may have died between noting its answer and sending it. ENOENT: it had not. */
static int send_init_answer(struct pa_err *err)
{
	const struct page *p = device.page;

	if (write(device.fd, p->init_reply, p->init_reply_len) < 0 && errno != ENOENT)
		return pa_fail(err, PA_SYSTEM, errno, "taking over the mount: %s", strerror(errno));
	return 0;
}

static int ask_again(bool *ret_resent, struct pa_err *err)
{
	const struct fuse_out_header ask = { .len = sizeof(ask), .error = NOTIFY_RESEND };
	bool resent = write(device.fd, &ask, sizeof(ask)) >= 0;

	if (!resent && errno != EINVAL) /* which says that there is no such notification */
		return pa_fail(err, PA_SYSTEM, errno, "taking over the mount: %s", strerror(errno));
	*ret_resent = resent;
	return 0;
}

int device_adopt(struct fuse_session *se, bool *ret_resent, struct pa_err *err)
{
	struct page *p = device.page;
	int rc;

	if (!atomic_load_explicit(&p->init_len, memory_order_acquire)) {
		if (has_init(p)) { /* asked, and died before it was answered: answer it now */
			device.init = ((const struct fuse_in_header *)p->init)->unique;
			feed_init(se);
		}
		*ret_resent = true; /* the kernel sends nothing else before it has that answer */
		return 0;
	}
	if (!has_init(p))
		return pa_fail(err, PA_SYSTEM, EPROTO, "the page has no usable FUSE_INIT");
	device.same = false;
	device.adopting = true;
	feed_init(se);
	device.adopting = false;
	if (!device.same)
		return pa_fail(err, PA_SYSTEM, EPROTO,
			"this version would speak to the kernel otherwise than the one that "
			"mounted: unmount and mount again");
	if ((rc = send_init_answer(err)) < 0)
		return rc;
	return ask_again(ret_resent, err);
}
