#include "reply.h"

#include <stdio.h>
#include <string.h>

#include "../secret.h"
#include "../utf8.h"
#include "message.h"

static void note(struct reply *r, int rc)
{
	if (rc < 0 && r->rc == 0)
		r->rc = rc;
}

void reply_start(struct reply *r, const char *m, const char *tool, const char *path)
{
	*r = (struct reply){ .message = cJSON_CreateObject() };
	if (!r->message)
		r->rc = pa_fail(&r->err, PA_NO_MEMORY, 0, "message");
	reply_str(r, "m", m);
	reply_str(r, "tool", tool);
	reply_str(r, "path", path);
}

void reply_str(struct reply *r, const char *name, const char *value)
{
	bool cut;
	if (!value || r->rc < 0)
		return;
	size_t len = strlen(value);
	if (utf8_bad_byte(value, len, &cut) == len) {
		note(r, json_set_str(r->message, name, value, &r->err));
		return;
	}
	WIPE_AUTO char *copy = wipe_strdup(value);
	if (!copy) {
		note(r, pa_fail(&r->err, PA_NO_MEMORY, 0, "message"));
		return;
	}
	for (size_t at; (at = utf8_bad_byte(copy, len, &cut)) < len;)
		copy[at] = '?';
	note(r, json_set_str(r->message, name, copy, &r->err));
}

void reply_int(struct reply *r, const char *name, int64_t value)
{
	if (r->rc == 0)
		note(r, json_set_int(r->message, name, value, &r->err));
}

void reply_json(struct reply *r, const char *name, cJSON *owned)
{
	if (r->rc == 0)
		note(r, json_set(r->message, name, owned, &r->err));
	else
		cJSON_Delete(owned);
}

void reply_bool(struct reply *r, const char *name, bool value)
{
	reply_json(r, name, cJSON_CreateBool(value));
}

void reply_file(struct reply *r, const struct file *f, bool mode)
{
	char octal[8];
	reply_str(r, "state", file_state_name(f->state));
	if (f->state != FILE_FOUND && *f->reason)
		reply_str(r, "reason", f->reason);
	if (f->state == FILE_CORRUPT && f->offset != FILE_NO_OFFSET)
		reply_int(r, "offset", (int64_t)f->offset);
	if (!mode || !f->st.st_mode)
		return;
	snprintf(octal, sizeof(octal), "%04o", (unsigned)f->st.st_mode & 07777);
	reply_str(r, "mode", octal);
	reply_int(r, "owner", f->st.st_uid);
}

/* Whether it fits into a packet. */
static bool fits(const cJSON *message)
{
	WIPE_AUTO char *text = json_text(message);
	return !text || strlen(text) <= MESSAGE_MAX; /* no memory: sending it will say so */
}

int reply_send(struct reply *r, const struct import_report *to, struct pa_err *err)
{
	int rc = r->rc;
	if (rc == 0 && cJSON_GetObjectItemCaseSensitive(r->message, "entry") && !fits(r->message)) {
		json_drop(r->message, "entry");
		reply_str(r, "refused", "too long");
		rc = r->rc;
	}
	if (rc < 0 && err)
		*err = r->err;
	if (rc == 0)
		rc = to->send(to->arg, r->message, err);
	reply_drop(r);
	return rc;
}

void reply_drop(struct reply *r)
{
	cJSON_Delete(r->message);
	r->message = NULL;
}
