/* What follows from a record, without its secrets. */
#include <stdlib.h>

#include "broker_i.h"
#include "link.h"

void facts_done(struct facts *f)
{
	free(f->account);
	free(f->base_url);
	wipe_free(f->links_text);
	*f = (struct facts){ 0 };
}

int profile_open(const struct profile *p, struct record *ret, struct pa_err *err)
{
	WIPE_AUTO char *text = NULL;
	size_t len;
	int rc;

	if (!p->sealed.bytes)
		return record_new(p->name, ret, err);
	if ((rc = vault_unseal(p->b->vault, &p->sealed, &text, &len, NULL, err)) < 0)
		return rc;
	return record_parse(text, len, p->name, ret, err);
}

char *account_as(enum account_kind kind, const struct provider *provider, const cJSON *entry)
{
	const struct oauth_desc *d = provider->oauth;
	const char *account = NULL, *access = json_str(entry, "access");
	JSON_AUTO cJSON *claims = NULL;
	const cJSON *claim;

	switch (kind) {
	case ACCOUNT_MEMBER:
		account = d && d->account_member ? json_str(entry, d->account_member) : NULL;
		break;
	case ACCOUNT_CLAIM:
		if (!d || !d->account_claim || !access)
			break;
		claims = token_jwt_payload(access, strlen(access));
		claim = claims ? json_at(claims, d->account_claim) : NULL;
		account = cJSON_IsString(claim) ? claim->valuestring : NULL;
		break;
	case ACCOUNT_EMAIL:
		account = json_str(entry, "email");
		break;
	}
	return account ? strdup(account) : NULL;
}

char *account_of(const struct provider *provider, const cJSON *entry)
{
	char *account = NULL;

	for (int kind = 0; !account && kind < ACCOUNT_KINDS; kind++)
		account = account_as((enum account_kind)kind, provider, entry);
	return account;
}

static void facts_of_oauth(
	const struct profile *p, const struct record *r, const cJSON *entry, struct facts *f)
{
	const struct oauth_desc *d = p->provider->oauth;
	const char *access = json_str(entry, "access");
	int64_t n;

	f->lane = LANE_OAUTH;
	f->value_len = access ? strlen(access) : 0;
	f->can_refresh = d && token_can_refresh(d, entry);
	/* 0 in an entry is the epoch, long ago; in facts it is "never". */
	if (json_int(entry, "expires", &n))
		f->expires_ms = n > 0 ? n : 1;
	/* pi writes 2^53-1 for a key that never expires. */
	if ((double)f->expires_ms >= JSON_INT_MAX)
		f->expires_ms = 0;
	if (f->value_len == 0)
		f->expires_ms = 1;
	if (json_int(entry, "refreshed", &n))
		f->refreshed_ms = n;
	/* Only a refresh token can be spent twice; client credentials cannot. */
	f->foreign = f->can_refresh && d->rotates && json_str(entry, "refresh") &&
		     *json_str(entry, "refresh") && record_machine(r)[0] &&
		     strcmp(record_machine(r), vault_machine_id(p->b->vault));
	f->moved = record_moved(r);
	f->dead = record_dead(r, &f->dead_why, &f->dead_ms);
	f->account = account_of(p->provider, entry);
}

/* What status tells about the links: their proofs are nobody's business. */
static int facts_of_links(const struct record *r, struct facts *f, struct pa_err *err)
{
	JSON_AUTO cJSON *array = NULL;
	struct link l;

	f->adopted = f->has_oauth && link_kept(r);
	for (size_t i = 0; link_at(r, i, &l); i++) {
		cJSON *o = cJSON_CreateObject();

		if (!array && !(array = cJSON_CreateArray()))
			return cJSON_Delete(o), pa_fail(err, PA_NO_MEMORY, 0, "links");
		cJSON_AddItemToArray(array, o);
		if (!cJSON_AddStringToObject(o, "tool", l.tool) ||
			!cJSON_AddStringToObject(o, "path", l.path) ||
			!cJSON_AddStringToObject(o, "name", l.name) ||
			!cJSON_AddStringToObject(o, "lane", lane_name(l.lane)) ||
			!cJSON_AddStringToObject(o, "state", link_state_name(l.state)) ||
			!cJSON_AddStringToObject(o, "note", l.note))
			return pa_fail(err, PA_NO_MEMORY, 0, "links");
		f->links += f->has_oauth && l.lane == LANE_OAUTH && l.state == LINK_ON;
	}
	if (array && !(f->links_text = json_text(array)))
		return pa_fail(err, PA_NO_MEMORY, 0, "links");
	return 0;
}

static enum lane lane_by_mode(const struct record *r, enum mode mode)
{
	switch (mode) {
	case MODE_AUTO:
		return record_last(r);
	case MODE_OAUTH:
		return record_lane(r, LANE_OAUTH) ? LANE_OAUTH : LANE_NONE;
	case MODE_API_KEY:
		return record_lane(r, LANE_API_KEY) ? LANE_API_KEY : LANE_NONE;
	case MODE_ENV:
		return LANE_NONE;
	}
	return LANE_NONE;
}

int facts_of(const struct profile *p, const struct record *r, struct facts *ret, struct pa_err *err)
{
	struct facts f = { 0 };
	const char *url = record_base_url(r);
	const cJSON *entry;
	int rc = 0;

	f.mode = record_mode(r);
	f.has_api_key = record_lane(r, LANE_API_KEY) != NULL;
	f.has_oauth = record_lane(r, LANE_OAUTH) != NULL;
	f.stored = f.has_api_key || f.has_oauth;
	f.generation = record_generation(r);
	f.changed_ms = record_changed_ms(r);
	f.incarnation = record_incarnation(r);
	switch (lane_by_mode(r, f.mode)) {
	case LANE_OAUTH:
		entry = record_lane(r, LANE_OAUTH);
		facts_of_oauth(p, r, entry, &f);
		break;
	case LANE_API_KEY:
		entry = record_lane(r, LANE_API_KEY);
		f.lane = LANE_API_KEY;
		f.value_len = strlen(json_str(entry, "key"));
		break;
	case LANE_NONE:
	case LANE_ENV:
		break;
	}
	if (url && !(f.base_url = strdup(url)))
		rc = pa_fail(err, PA_NO_MEMORY, 0, "%s", p->name);
	if (rc == 0)
		rc = facts_of_links(r, &f, err);
	if (rc < 0) {
		facts_done(&f);
		return rc;
	}
	*ret = f;
	return 0;
}
