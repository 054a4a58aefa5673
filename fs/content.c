#include "content.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char *PA_PRINTF(1, 2) text_of(const char *fmt, ...)
{
	va_list args, again;
	char *text;
	int len;

	va_start(args, fmt);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, args);
	text = len < 0 ? NULL : wipe_malloc((size_t)len + 1);
	if (text)
		vsnprintf(text, (size_t)len + 1, fmt, again);
	va_end(again);
	va_end(args);
	return text;
}

/* text with a newline at its end; takes it. */
static char *as_lines(char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (!text || (len && text[len - 1] == '\n'))
		return text;
	char *longer = wipe_realloc(text, len + 2);
	if (!longer) {
		wipe_free(text);
		return NULL;
	}
	longer[len] = '\n';
	longer[len + 1] = '\0';
	return longer;
}

/* The broker's metrics, and what only the mount knows. */
static char *metrics_text(struct server *s)
{
	WIPE_AUTO char *broker = broker_metrics(s->broker);

	if (!broker)
		return NULL;
	return text_of("%s"
		       "# HELP piauth_server_info The process that holds this mount.\n"
		       "# TYPE piauth_server_info gauge\n"
		       "piauth_server_info{pid=\"%d\",version=\"" PIAUTH_VERSION "\"} 1\n"
		       "# HELP piauth_open_files Files and directories that are open.\n"
		       "# TYPE piauth_open_files gauge\n"
		       "piauth_open_files %u\n"
		       "# HELP piauth_workers_total Processes that have served this mount one "
		       "after the other.\n"
		       "# TYPE piauth_workers_total counter\n"
		       "piauth_workers_total %" PRIu64 "\n",
		broker, (int)s->pid, s->handles.count,
		s->page ? (uint64_t)atomic_load(&s->page->workers) : 1);
}

static char *make_text(struct server *s, const struct node *n, struct profile *p)
{
	struct profile_facts f = { 0 };

	if (p)
		broker_facts(s->broker, p, &f);
	switch (n->text) {
	case NODE_TEXT_NONE:
		break;
	case NODE_TEXT_STATUS:
		return as_lines(broker_status(s->broker, p));
	case NODE_TEXT_MODE:
		return text_of("%s\n", mode_name(f.mode));
	case NODE_TEXT_ACCOUNT:
		return text_of("%s%s", f.account ? f.account : "", f.account ? "\n" : "");
	case NODE_TEXT_BASE_URL:
		return text_of("%s%s", f.base_url ? f.base_url : "", f.base_url ? "\n" : "");
	case NODE_TEXT_EXPIRES:
		return text_of("%" PRId64 "\n", f.expires_wall_ms);
	case NODE_TEXT_GENERATION:
		return text_of("%" PRIu64 "\n", f.generation);
	case NODE_TEXT_OVERVIEW:
		return as_lines(broker_overview(s->broker));
	case NODE_TEXT_VERSION:
		return text_of("%s\n", PIAUTH_VERSION);
	case NODE_TEXT_METRICS:
		return metrics_text(s);
	case NODE_TEXT_PROVIDERS:
		return as_lines(provider_table_json(s->providers));
	case NODE_TEXT_MIGRATE:
		return as_lines(broker_migrate_report(s->broker));
	}
	return NULL;
}

int content_text(struct server *s, const struct node *n, struct profile *p, char **ret,
	size_t *ret_len, struct pa_err *err)
{
	char *text = make_text(s, n, p);

	if (!text)
		return pa_fail(err, PA_NO_MEMORY, 0, "%s", n->name);
	*ret = text;
	*ret_len = strlen(text);
	return 0;
}

const struct eventlog *content_log(struct server *s, const struct node *n)
{
	return n->id == NODE_AUDIT ? audit_log(s->audit) : broker_events(s->broker);
}

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec;
}

/*
 * The two long texts are not made again for every stat: the table of providers is constant, and the overview
 * changes with events; what changes without one (a refresh that begins) shows in its size a second later. Who
 * has it open sees the exact size of what was opened.
 */
static bool known_size(struct server *s, const struct node *n, size_t *ret)
{
	if (n->text == NODE_TEXT_PROVIDERS)
		*ret = s->providers_len;
	else if (n->text == NODE_TEXT_OVERVIEW && s->overview.made == now_s() &&
		 s->overview.events_len == broker_events(s->broker)->len)
		*ret = s->overview.len;
	else
		*ret = 0;
	return *ret > 0;
}

static void remember_size(struct server *s, const struct node *n, size_t len)
{
	if (n->text == NODE_TEXT_PROVIDERS) {
		s->providers_len = len;
	} else if (n->text == NODE_TEXT_OVERVIEW) {
		s->overview.len = len;
		s->overview.events_len = broker_events(s->broker)->len;
		s->overview.made = now_s();
	}
}

static size_t text_size(struct server *s, const struct node *n, struct profile *p)
{
	size_t len;

	if (known_size(s, n, &len))
		return len;
	WIPE_AUTO char *text = make_text(s, n, p);
	len = text ? strlen(text) : 0;
	remember_size(s, n, len);
	return len;
}

size_t content_size(struct server *s, const struct node *n, struct profile *p)
{
	switch (n->read) {
	case NODE_READ_NONE:
		break;
	case NODE_READ_VALUE:
		return broker_size(s->broker, p, n->what);
	case NODE_READ_TEXT:
		return text_size(s, n, p);
	case NODE_READ_LOG:
		return content_log(s, n)->len;
	}
	return 0;
}
