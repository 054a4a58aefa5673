#include "page.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Rows and files count by their state; all that a successor reads of them is written before it. */
#define GET(p)     atomic_load_explicit(p, memory_order_acquire)
#define SET(p, to) atomic_store_explicit(p, to, memory_order_release)

static int map(int fd, struct page **ret, struct pa_err *err)
{
	struct page *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return pa_fail(err, PA_SYSTEM, errno, "mapping the page: %s", strerror(errno));
	*ret = p;
	return 0;
}

int page_new(int *ret_fd, struct page **ret, struct pa_err *err)
{
	int fd = memfd_create("piauth-page", MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;
	struct page *p;

	if (fd < 0)
		return pa_fail(err, PA_SYSTEM, errno, "making the page: %s", strerror(errno));
	/* A worker could else make it shorter, and the holder die of reading the clock. */
	if (ftruncate(fd, sizeof(*p)) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		rc = pa_fail(err, PA_SYSTEM, errno, "making the page: %s", strerror(errno));
	else
		rc = map(fd, &p, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	p->version = PAGE_VERSION;
	p->size = sizeof(*p);
	*ret_fd = fd;
	*ret = p;
	return 0;
}

int page_map(int fd, struct page **ret, struct pa_err *err)
{
	struct page *p;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return pa_fail(err, PA_SYSTEM, errno, "the page: %s", strerror(errno));
	if (st.st_size != sizeof(*p))
		return pa_fail(err, PA_SYSTEM, EPROTO, "the page has %lld bytes, not %zu",
			(long long)st.st_size, sizeof(*p));
	if ((rc = map(fd, &p, err)) < 0)
		return rc;
	if (p->version != PAGE_VERSION || p->size != sizeof(*p)) {
		rc = pa_fail(err, PA_SYSTEM, EPROTO, "the page has version %u, not %d", p->version,
			PAGE_VERSION);
		page_unmap(p);
		return rc;
	}
	*ret = p;
	return 0;
}

void page_unmap(struct page *p)
{
	if (p)
		munmap(p, sizeof(*p));
}

/* ---- changes under way ---- */

/*
 * Rows are taken from the front, and one that was ever used has a sequence: behind the first
 * without there are none. That keeps what every reply pays for at a row or two.
 */
static bool was_used(const struct page *p, size_t i)
{
	return i < PAGE_ROWS && p->rows[i].sequence;
}

static struct page_row *row_find(struct page *p, uint64_t unique)
{
	for (size_t i = 0; was_used(p, i); i++)
		if (p->rows[i].unique == unique && GET(&p->rows[i].state) != PAGE_FREE)
			return &p->rows[i];
	return NULL;
}

/*
 * A free row, or the one that is missed least: answers whose request never came again (their worker
 * died after the kernel had them), then what began first.
 */
static struct page_row *row_take(struct page *p)
{
	struct page_row *oldest[PAGE_ANSWERED + 1] = { NULL };

	for (size_t i = 0; i < PAGE_ROWS; i++) {
		struct page_row *r = &p->rows[i];
		uint32_t state = GET(&r->state);

		if (state != PAGE_BEGUN && state != PAGE_ANSWERED)
			return r;
		if (!oldest[state] || r->sequence < oldest[state]->sequence)
			oldest[state] = r;
	}
	return oldest[PAGE_ANSWERED] ? oldest[PAGE_ANSWERED] : oldest[PAGE_BEGUN];
}

bool page_is_begun(struct page *p, uint64_t unique)
{
	const struct page_row *r = row_find(p, unique);

	return r && GET(&r->state) == PAGE_BEGUN;
}

const struct page_row *page_begin(struct page *p, uint64_t unique)
{
	struct page_row *r = row_find(p, unique);

	if (r && GET(&r->state) == PAGE_ANSWERED)
		return r;
	if (!r) {
		r = row_take(p);
		/* From here until it is filled it is nobody's. */
		SET(&r->state, PAGE_FREE);
		atomic_thread_fence(memory_order_release);
		r->unique = unique;
		r->len = 0;
	}
	/* One that a dead worker began is as young as the rest from now on. */
	r->sequence = ++p->sequence;
	SET(&r->state, PAGE_BEGUN);
	return NULL;
}

void page_answer(struct page *p, uint64_t unique, const void *reply, size_t len)
{
	struct page_row *r = len <= PAGE_REPLY_MAX ? row_find(p, unique) : NULL;

	/* What was answered once stays answered so. */
	if (!r || GET(&r->state) != PAGE_BEGUN)
		return;
	memcpy(r->reply, reply, len);
	r->len = (uint32_t)len;
	SET(&r->state, PAGE_ANSWERED);
}

void page_end(struct page *p, uint64_t unique)
{
	struct page_row *r = row_find(p, unique);

	if (r)
		SET(&r->state, PAGE_FREE);
}

/* ---- open files ---- */

static struct page_open *open_find(struct page *p, uint64_t fh, uint64_t ino)
{
	for (size_t i = 0; p && i < PAGE_OPENS; i++)
		if (GET(&p->opens[i].kind) && p->opens[i].fh == fh && p->opens[i].ino == ino)
			return &p->opens[i];
	return NULL;
}

/* Nobody's until its kind is set again; NULL: there is no room, and no page perhaps. */
static struct page_open *open_take(struct page *p, uint64_t fh, uint64_t ino)
{
	struct page_open *o = open_find(p, fh, ino);

	for (size_t i = 0; p && !o && i < PAGE_OPENS; i++)
		if (!GET(&p->opens[i].kind))
			o = &p->opens[i];
	if (!o)
		return NULL;
	SET(&o->kind, PAGE_NONE);
	atomic_thread_fence(memory_order_release);
	o->fh = fh;
	o->ino = ino;
	return o;
}

void page_open_add(struct page *p, uint64_t fh, uint64_t ino)
{
	struct page_open *o = open_take(p, fh, ino);

	if (!o)
		return;
	o->len = 0;
	SET(&o->kind, PAGE_INPUT);
}

void page_open_sent(struct page *p, uint64_t fh, uint64_t ino, uint64_t sent)
{
	struct page_open *o = open_find(p, fh, ino);

	if (o)
		o->len = sent;
}

void page_open_reread(struct page *p, uint64_t fh, uint64_t ino, uint32_t generation, uint64_t len)
{
	struct page_open *o = open_take(p, fh, ino);

	if (!o)
		return;
	o->generation = generation;
	o->len = len;
	SET(&o->kind, PAGE_REREAD);
}

bool page_open_was_reread(
	struct page *p, uint64_t fh, uint64_t ino, uint32_t *ret_generation, uint64_t *ret_len)
{
	const struct page_open *o = open_find(p, fh, ino);

	if (!o || GET(&o->kind) != PAGE_REREAD)
		return false;
	*ret_generation = o->generation;
	*ret_len = o->len;
	return true;
}

void page_open_drop(struct page *p, uint64_t fh, uint64_t ino)
{
	struct page_open *o = open_find(p, fh, ino);

	if (o)
		SET(&o->kind, PAGE_NONE);
}
