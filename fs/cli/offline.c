#include "offline.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "providers.d" beside the configuration file; *ret_fd is -1 where there is none. */
static int open_providers_d(const char *config, int *ret_fd, struct pa_err *err)
{
	const char *slash = strrchr(config, '/');
	char *path;
	int n = slash ? asprintf(&path, "%.*s/providers.d", (int)(slash - config), config)
		      : asprintf(&path, "providers.d");
	if (n < 0)
		return pa_fail(err, PA_NO_MEMORY, 0, "providers.d");
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int errnum = fd < 0 ? errno : 0;
	free(path);
	if (fd < 0 && errnum != ENOENT)
		return pa_fail(err, PA_CONFIG, errnum, "providers.d: %s", strerror(errnum));
	*ret_fd = fd;
	return 0;
}

int offline_tables(struct offline *o, const struct cli_paths *paths, struct pa_err *err)
{
	int dir = -1;
	*o = (struct offline){ 0 };
	int r = config_read(AT_FDCWD, paths->config, &o->config, err);
	if (r == 0)
		r = open_providers_d(paths->config, &dir, err);
	if (r == 0)
		r = provider_table_new(dir, o->config->providers, o->config->text,
			o->config->text_len, &o->providers, err);
	if (dir >= 0)
		close(dir);
	return r;
}

int offline_heap(struct pa_err *err)
{
	struct pa_err why;
	/* Where memory cannot be locked the command goes on; doctor tells. */
	if (secret_heap_init(SECRET_HEAP, NULL, &why) == 0 || why.errnum == EALREADY)
		return 0;
	return pa_fail(err, why.code, why.errnum, "%s", why.detail);
}

int offline_vault(struct offline *o, const struct cli_paths *paths, bool create, struct pa_err *err)
{
	struct vault_options options = {
		.dir = paths->store,
		.key_file = paths->key_file,
		.create = create,
	};
	int r = offline_tables(o, paths, err);
	if (r == 0)
		r = offline_heap(err);
	return r < 0 ? r : vault_open(&options, &o->vault, err);
}

int offline_open(struct offline *o, const struct cli_paths *paths, bool create, struct pa_err *err)
{
	uid_t uid;
	gid_t gid;
	int r = offline_vault(o, paths, create, err);
	if (r == 0)
		r = cli_owner(&uid, &gid, err);
	if (r == 0)
		r = legacy_owner_init(&o->legacy, uid, gid, err);
	if (r < 0)
		return r;
	const struct legacy_spawn legacy = legacy_owner_spawn(&o->legacy);
	struct broker_options options = {
		.vault = o->vault,
		.providers = o->providers,
		.config = o->config,
		.legacy = o->legacy.home ? &legacy : NULL,
	};
	return broker_new(&options, &o->broker, err);
}

void offline_done(struct offline *o)
{
	/* A refresh may be under way that nobody waits for: giving it up could lose a rotated token. */
	if (o->broker)
		broker_free(o->broker, o->config->deadline_s * 1000);
	vault_close(o->vault);
	provider_table_free(o->providers);
	if (o->config)
		config_free(o->config);
	legacy_owner_done(&o->legacy);
	*o = (struct offline){ 0 };
}

bool offline_store_exists(const struct cli_paths *paths)
{
	struct stat st;
	char *path;
	if (asprintf(&path, "%s/keyslots.json", paths->store) < 0)
		return true; /* opening it will say that there is no memory */
	int r = lstat(path, &st);
	int errnum = errno;
	free(path);
	return r == 0 || (errnum != ENOENT && errnum != ENOTDIR);
}

/* The end of one call into the broker. */
struct call {
	bool done;
	int r;
	struct pa_err err;
	struct secret *bytes; /* of a read */
};

static void call_done(void *arg, int r, const struct pa_err *err)
{
	struct call *call = arg;
	call->done = true;
	call->r = r;
	if (r < 0 && err)
		call->err = *err;
}

struct reader {
	struct broker_wait wait; /* first: what done gets is the reader */
	struct call call;
};

static void reader_done(struct broker_wait *w, struct broker_value *v, const struct pa_err *err)
{
	struct call *call = &((struct reader *)w)->call;
	call_done(call, v ? 0 : -err->errnum, err);
	if (v)
		call->bytes = v->bytes;
}

/* Runs the loop until the call has ended. */
static int finish(struct offline *o, struct call *call, struct pa_err *err)
{
	struct pollfd pfd = { .fd = broker_fd(o->broker), .events = POLLIN };
	while (!call->done) {
		if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
			return pa_fail(err, PA_SYSTEM, errno, "poll: %s", strerror(errno));
		broker_dispatch(o->broker);
	}
	if (call->r < 0 && err)
		*err = call->err;
	return call->r;
}

/* The profile is held: profile_drop it. */
static int resolve(struct offline *o, const char *name, struct profile **ret, struct pa_err *err)
{
	if (broker_resolve(o->broker, name, ret) == BROKER_NAME_NONE)
		return pa_fail(err, PA_NO_PROVIDER, 0, "%s", "");
	profile_hold(*ret, 1);
	return 0;
}

int offline_get(struct offline *o, const char *name, struct secret **ret, struct pa_err *err)
{
	struct reader reader = { .wait = { .done = reader_done } };
	struct broker_value value;
	struct profile *p;
	int r = resolve(o, name, &p, err);
	if (r < 0)
		return r;
	r = broker_read(o->broker, p, BROKER_KEY, &reader.wait, &value, err);
	if (r == 0) {
		*ret = value.bytes;
	} else if (r > 0) {
		r = finish(o, &reader.call, err);
		if (r == 0)
			*ret = reader.call.bytes;
		else if (!reader.call.done)
			broker_cancel(o->broker, &reader.wait);
	}
	profile_drop(p, 1);
	return r;
}

int offline_set(struct offline *o, const char *name, enum lane lane, const char *bytes, size_t len,
	struct pa_err *err)
{
	struct broker_input *in;
	struct profile *p;
	int r = resolve(o, name, &p, err);
	if (r < 0)
		return r;
	r = broker_input_new(o->broker, p, lane, &in, err);
	if (r == 0) {
		struct call written = { 0 }, flushed = { 0 };
		broker_input_write(in, bytes, len, call_done, &written);
		r = finish(o, &written, err);
		if (r == 0) {
			broker_input_flush(in, call_done, &flushed);
			r = finish(o, &flushed, err);
		}
		broker_input_free(in);
	}
	profile_drop(p, 1);
	return r;
}

int offline_logout(struct offline *o, const char *name, struct pa_err *err)
{
	struct call call = { 0 };
	struct profile *p;
	int r = resolve(o, name, &p, err);
	if (r < 0)
		return r;
	broker_forget(o->broker, p, LANE_NONE, call_done, &call);
	r = finish(o, &call, err);
	profile_drop(p, 1);
	return r;
}

int offline_migrate(struct offline *o, const char *command, char **ret, struct pa_err *err)
{
	struct call call = { 0 };
	broker_migrate(o->broker, command, strlen(command), call_done, &call);
	int r = finish(o, &call, err);
	*ret = broker_migrate_report(o->broker);
	return r == 0 && !*ret ? pa_fail(err, PA_NO_MEMORY, 0, "report") : r;
}

int offline_status(struct offline *o, const char *name, char **ret, struct pa_err *err)
{
	struct profile *p;
	char *text;
	if (name) {
		int r = resolve(o, name, &p, err);
		if (r < 0)
			return r;
		text = broker_status(o->broker, p);
		profile_drop(p, 1);
	} else {
		text = broker_overview(o->broker);
	}
	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "status");
	*ret = text;
	return 0;
}
